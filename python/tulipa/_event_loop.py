"""`EventLoop`: the native loop, with asyncio's own set-up code where that differs from Python to Python.

Scheduling, running, timers, descriptors, futures, tasks and stream transports are native (`_tulipa.BaseEventLoop` comes
first among the bases). What opens, resolves and configures is inherited from the running Python's own Unix loop, so
arguments, defaults and texts of errors are that Python's. This module is the seam: it never opens a selector, and
makes a wake-up socket only for signal handlers.
"""

import socket
import weakref
from asyncio import events, unix_events
from collections.abc import Callable
from typing import Any

from . import _tulipa
from ._selector import SelectorView

# asyncio.SelectorEventLoop, under the name that nobody swaps.
_UnixEventLoop: Any = vars(unix_events)["_UnixSelectorEventLoop"]
_getaddrinfo = socket.getaddrinfo


class EventLoop(_tulipa.BaseEventLoop, _UnixEventLoop):  # type: ignore[misc]  # the stock loop is untyped here
    """An asyncio event loop whose engine, futures and tasks are native."""

    def __init__(self) -> None:
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None
        super().__init__(SelectorView(self))
        # The one descriptor that every loop has of its own: what other threads wake it by.
        self._internal_fds = 1

    def close(self) -> None:
        """Close the loop: nothing can be scheduled any more. Does nothing when it is closed already."""
        super().close()
        if self.is_closed():
            self._internal_fds = 0
            self._release()

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) in the loop whenever the process gets the signal."""
        if self._csock is None and not self.is_closed():
            self._open_self_pipe()
        super().add_signal_handler(sig, callback, *args)
        # By the module that the stock code has just used, in place of a handler that does nothing.
        vars(unix_events)["signal"].signal(sig, _SignalNotice(self))

    def _make_self_pipe(self) -> None:
        """Do nothing, when the stock constructor asks: other threads wake the loop without a socket."""

    def _open_self_pipe(self) -> None:
        """Make the socket into which the interpreter writes the numbers of signals."""
        super()._make_self_pipe()
        assert self._ssock is not None
        self._watch_in_background(self._ssock.fileno())

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve a name in the default executor; an address that is a literal already needs no thread."""
        if socket.getaddrinfo is _getaddrinfo and not self._debug and _is_literal(host, port):
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        answer = await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        return list(answer)

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        super()._ensure_fd_no_transport(fd)
        number = fd if isinstance(fd, int) else int(fd.fileno())
        transport = self._transport_of(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")


class _SignalNotice:
    """The handler in the main thread of a signal that a loop handles: has the loop read its wake-up socket.

    The socket alone wakes a loop that sleeps. One that is busy does not look at it, so that its turns stay free of
    system calls, and learns from this. The signal itself is told by the socket only, hence once.
    """

    def __init__(self, loop: EventLoop) -> None:
        self._loop = weakref.ref(loop)

    def __call__(self, signum: int, frame: object) -> None:
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop._add_callback_signalsafe(events.Handle(loop._read_from_self, (), loop))


def _is_literal(host: object, port: object) -> bool:
    """Return whether resolving can be done without asking anybody."""
    if not isinstance(host, str) or not (port is None or isinstance(port, int)):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
