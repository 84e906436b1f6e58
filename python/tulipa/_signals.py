"""Signal handlers of a loop, told by the interpreter's wake-up descriptor.

The handlers are kept as asyncio keeps them. The interpreter writes the number of each signal to a socket of the loop's,
which ends its sleep wherever the signal was delivered. A loop that is busy does not look at that socket, so that its
turns stay free of system calls: a small handler in the main thread has it look.

A program may have a wake-up descriptor of its own (`signal.set_wakeup_fd`). One that was there before the first handler
is put back after the last; one that is set later keeps what it gets, and the loop learns of signals from the handler.
Part of `EventLoop`; all of it runs in the main thread.
"""

import errno
import socket
import weakref
from asyncio import coroutines, events, unix_events
from typing import Any

# Where asyncio looks for the signal module.
_stock: Any = unix_events
# asyncio.SelectorEventLoop, under the name that nobody swaps.
_UnixEventLoop: Any = vars(unix_events)["_UnixSelectorEventLoop"]
# From 3.14 on the public one is deprecated.
_iscoroutinefunction: Any = vars(coroutines).get(
    "_iscoroutinefunction", vars(coroutines)["iscoroutinefunction"]
)


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

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Call callback(*args) in the loop whenever the process gets the signal."""
        if coroutines.iscoroutine(callback) or _iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        self._listen_for_signals()
        self._signal_handlers[sig] = events.Handle(callback, args, self, None)
        try:
            _stock.signal.signal(sig, _Notice(self))
            # Calls of the system by code that is not Python's are restarted, not interrupted.
            _stock.signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._stop_listening()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught")  # noqa: B904  # no cause, as in asyncio
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Stop handling the signal; return whether there was a handler."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        module = _stock.signal
        try:
            module.signal(sig, module.default_int_handler if sig == module.SIGINT else module.SIG_DFL)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught")  # noqa: B904  # no cause, as in asyncio
            raise
        self._stop_listening()
        return True

    def _listen_for_signals(self) -> None:
        """Have the interpreter write the numbers of signals to the loop's socket."""
        if self._csock is None:
            self._open_self_pipe()
        try:
            before = _stock.signal.set_wakeup_fd(self._own_wakeup_fd)
        except (ValueError, OSError) as error:
            # Not the main thread.
            raise RuntimeError(str(error))  # noqa: B904  # as above
        if isinstance(before, int) and before != self._own_wakeup_fd:
            self._foreign_wakeup_fd = before

    def _stop_listening(self) -> None:
        """After the last handler: the descriptor of the program's own, if it has one, is put back or left."""
        if self._signal_handlers:
            return
        try:
            before = _stock.signal.set_wakeup_fd(-1)
            if before == self._own_wakeup_fd:
                before = self._foreign_wakeup_fd
            if isinstance(before, int) and before != -1:
                _stock.signal.set_wakeup_fd(before)
        except (ValueError, OSError) as error:
            _stock.logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _look_for_signals(self) -> None:
        """Look for signals' bytes soon, in the main thread between two callbacks."""
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
        if loop is None or loop.is_closed():
            return
        if frame is not None:
            loop._announced_signals.add(signum)
        # Else the program has called this itself, which does nothing in asyncio: only a byte says that a signal came.
        loop._look_for_signals()
