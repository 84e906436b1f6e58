"""Signal handlers of a loop, told by the interpreter's wake-up descriptor.

asyncio's own code checks the arguments and keeps the handlers. The interpreter writes the number of each signal to a
socket of the loop's, which ends its sleep wherever the signal was delivered. A loop that is busy does not look at that
socket, so that its turns stay free of system calls: a small handler in the main thread has it look.

A program may have a wake-up descriptor of its own (`signal.set_wakeup_fd`). One that was there before the first handler
is put back after the last; one that is set later keeps what it gets, and the loop learns of signals from the handler.
Part of `EventLoop`; all of it runs in the main thread.
"""

import contextlib
import socket
import weakref
from asyncio import events, unix_events
from collections.abc import Callable
from typing import Any

# asyncio.SelectorEventLoop, under the name that nobody swaps.
_UnixEventLoop: Any = vars(unix_events)["_UnixSelectorEventLoop"]


def _signal() -> Any:
    """Return the module that asyncio's own code uses."""
    return vars(unix_events)["signal"]


class SignalHandling(_UnixEventLoop):  # type: ignore[misc]  # the stock loop is untyped here
    """The stock loop, with a wake-up socket made when the first signal handler needs it."""

    def __init__(self, selector: object) -> None:
        """Make a loop without a wake-up socket."""
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None
        # The number of that socket, which `close()` closes before it removes the handlers, and what was there before.
        self._own_wakeup_fd = self._foreign_wakeup_fd = -1
        # Signals whose handler was called, and whose byte is still to be read.
        self._announced_signals: set[int] = set()
        # Signals that were acted upon without a byte, which may yet come.
        self._owed_signals: set[int] = set()
        super().__init__(selector)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) in the loop whenever the process gets the signal."""
        if self._csock is None and not self.is_closed():
            self._open_self_pipe()
        previous = None if self._signal_handlers else self._swap_wakeup_fd(self._csock)
        super().add_signal_handler(sig, callback, *args)
        if previous is not None:
            self._foreign_wakeup_fd = previous
        # In place of a handler that does nothing.
        _signal().signal(sig, _Notice(self))
        _signal().siginterrupt(sig, False)

    def remove_signal_handler(self, sig: int) -> bool:
        """Stop handling the signal; return whether there was a handler."""
        last = list(self._signal_handlers) == [sig]
        current = self._swap_wakeup_fd(None) if last else None
        removed = bool(super().remove_signal_handler(sig))
        if current is not None:
            theirs = self._foreign_wakeup_fd if current == self._own_wakeup_fd else current
            with contextlib.suppress(ValueError, OSError):  # they may have closed it meanwhile
                _signal().set_wakeup_fd(theirs)
        return removed

    def _swap_wakeup_fd(self, own: socket.socket | None) -> int | None:
        """Set the descriptor, return the one before; None where that cannot be done, of which asyncio then tells."""
        try:
            previous = _signal().set_wakeup_fd(-1 if own is None else own.fileno())
        except (ValueError, OSError):
            return None
        return previous if isinstance(previous, int) else None

    def _signal_came(self, sig: int) -> None:
        """Look for the signal's byte soon, in the main thread between two callbacks."""
        self._announced_signals.add(sig)
        self._add_callback_signalsafe(events.Handle(self._read_signals, (), self))

    def _read_signals(self) -> None:
        self._read_from_self()
        while self._announced_signals:
            # No byte: another descriptor got it.
            sig = self._announced_signals.pop()
            self._owed_signals.add(sig)
            super()._handle_signal(sig)

    def _handle_signal(self, sig: int) -> None:
        if sig in self._announced_signals:
            self._announced_signals.discard(sig)
        elif sig in self._owed_signals:
            self._owed_signals.discard(sig)
            return
        super()._handle_signal(sig)

    def _make_self_pipe(self) -> None:
        """Do nothing, when the stock constructor asks: other threads wake the loop without a socket."""

    def _open_self_pipe(self) -> None:
        """Make the socket into which the interpreter writes the numbers of signals."""
        super()._make_self_pipe()
        assert self._ssock is not None
        assert self._csock is not None
        self._own_wakeup_fd = self._csock.fileno()
        self._watch_in_background(self._ssock.fileno())

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()


class _Notice:
    """The handler in the main thread of a signal that a loop handles."""

    def __init__(self, loop: SignalHandling) -> None:
        self._loop = weakref.ref(loop)

    def __call__(self, signum: int, frame: object) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop._signal_came(signum)
