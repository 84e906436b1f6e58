"""`EventLoop`: the native loop, with asyncio's own set-up code where that differs from Python to Python.

Scheduling, running, timers, descriptors, futures, tasks and stream transports are native (`_tulipa.BaseEventLoop` comes
first among the bases). What opens, resolves and configures is inherited from the running Python's own Unix loop, so
arguments, defaults and texts of errors are that Python's. This module is the seam: it never opens a selector.
"""

import os
import socket
from asyncio import AbstractEventLoop, TimerHandle, base_events, tasks, unix_events
from collections.abc import Callable
from types import FunctionType
from typing import Any

from . import _tulipa
from ._attributes import Attributes
from ._executors import ThreadPool
from ._processes import Children, chosen_by_program
from ._selector import ReadyView, SelectorView
from ._signals import SignalHandling
from ._tls import TlsConnections

# Where asyncio looks for the socket module.
_stock: Any = base_events


def _original(name: str, module: str) -> Any:
    """Return a function of the socket module, unless somebody had put another in its place before this was imported."""
    function = getattr(socket, name)
    return function if function.__module__ == module else None


_getaddrinfo = _original("getaddrinfo", "socket")
_getnameinfo = _original("getnameinfo", "_socket")
_os_sendfile = os.sendfile


# What the stock loop keeps in its instances' dict, but for what is native here.
_STOCK_FIELDS = (
    "_asyncgens",
    "_asyncgens_shutdown_called",
    "_clock_resolution",
    "_coroutine_origin_tracking_enabled",
    "_coroutine_origin_tracking_saved_depth",
    "_csock",
    "_current_handle",
    "_exception_handler",
    "_executor_shutdown_called",
    "_internal_fds",
    "_old_agen_hooks",
    "_ready",
    "_selector",
    "_signal_handlers",
    "_ssock",
    "_timer_cancelled_count",
    "_transports",
    "_unix_server_sockets",
    "_watcher",
    "slow_callback_duration",
)
_NATIVE_FIELDS = ("_closed", "_debug", "_default_executor", "_stopping", "_task_factory", "_thread_id")
# The instances' dict itself, with what a program has put there.
_own_dict: Any = vars(AbstractEventLoop)["__dict__"]


class EventLoop(_tulipa.BaseEventLoop, TlsConnections, SignalHandling):
    """An asyncio event loop whose engine, futures and tasks are native."""

    # Where the interpreter finds no dict of the instance, it finds `loop.call_soon` by a shortcut of its own, which is
    # a tenth of what the call costs. A program that gives a loop attributes does without the shortcut.
    __slots__ = (
        *_STOCK_FIELDS,
        "_announced_signals",
        "_children",
        "_foreign_wakeup_fd",
        "_owed_signals",
        "_own_wakeup_fd",
        "_unclosed",
    )
    slow_callback_duration: float

    def __init__(self, selector: object = None) -> None:
        """Make a loop. A selector is accepted where the stock loop takes one, and not used."""
        # As asyncio's loop is referred to by its own reader: one that nobody closes is left to the collector, which
        # then gives it up with a warning.
        self._unclosed: EventLoop | None = self
        self._children = Children(self)
        super().__init__(SelectorView(self))
        self._ready = ReadyView(self)
        # The one descriptor that every loop has of its own: what other threads wake it by.
        self._internal_fds = 1

    @property
    def __dict__(self) -> Attributes:
        """What asyncio's loop has there, as it is now, and what a program has put there."""
        return Attributes(self, _own_dict.__get__(self), _STOCK_FIELDS + _NATIVE_FIELDS)

    @__dict__.setter
    def __dict__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.replace(attributes)

    @property
    def _scheduled(self) -> list[TimerHandle]:
        """What the pending timers run, as it is now: asyncio's loop has a heap of it."""
        return self._pending_timers()

    @_scheduled.setter
    def _scheduled(self, timers: object) -> None:
        """Do nothing: asyncio's code puts its own heap here, an empty one or what it has left of this."""

    def close(self) -> None:
        """Close the loop: nothing can be scheduled any more. Does nothing when it is closed already."""
        super().close()
        if self.is_closed():
            self._unclosed = None
            self._children.close(self)
            self._internal_fds = 0
            self._release()

    def _make_default_executor(self) -> ThreadPool:
        """Make the executor that stands for None."""
        self._default_executor = executor = ThreadPool()
        return executor

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
        """Resolve a name; a thread of the default executor is used where somebody has to be asked."""
        if _stock.socket.getaddrinfo is _getaddrinfo:
            answer = self._getaddrinfo(host, port, family, type, proto, flags)
            if isinstance(answer, list):
                return answer
            if answer is not None:
                return await answer
        return list(await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """Resolve an address into a host's and a service's name, in the same way."""
        if _stock.socket.getnameinfo is _getnameinfo:
            answer = self._getnameinfo(sockaddr, flags)
            if isinstance(answer, tuple):
                return answer
            if answer is not None:
                return await answer
        names: tuple[str, str] = await super().getnameinfo(sockaddr, flags)
        return names

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        given = (protocol, args, shell, stdin, stdout, stderr, bufsize)
        if chosen_by_program(self):
            return await super()._make_subprocess_transport(*given, extra=extra, **kwargs)
        waiter = self.create_future()
        make = vars(unix_events)["_UnixSubprocessTransport"]
        transport = make(self, *given, waiter=waiter, extra=extra, **kwargs)
        self._children.watch(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await tasks.shield(transport._wait())
            raise
        return transport

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Any = None,
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if not _is_plain(sock):
            # A class of the program's own is used through its own methods, as asyncio does.
            given = {} if context is None else {"context": context}
            return super()._make_socket_transport(sock, protocol, waiter, extra=extra, server=server, **given)
        return self._make_stream_transport(
            sock, protocol, waiter, extra=extra, server=server, context=context
        )

    def _make_datagram_transport(
        self, sock: socket.socket, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if sock.family not in _FAMILIES or not _is_plain(sock, ("recvfrom", "send", "sendto", "close")):
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra)
        return self._open_datagrams(sock, protocol, address, waiter, extra)

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *arguments: Any,
        **keywords: Any,
    ) -> None:
        if not _is_plain(sock) or sock.family not in _FAMILIES:
            super()._start_serving(
                protocol_factory, sock, sslcontext, server, backlog, *arguments, **keywords
            )
            return
        # The two time limits of TLS, and from 3.15 on a context, come by position or by name.
        names = ("ssl_handshake_timeout", "ssl_shutdown_timeout", "context")
        given = dict(zip(names, arguments, strict=False)) | keywords
        tls = (sslcontext, given.get(names[0]), given.get(names[1])) if sslcontext else None
        self._accept_streams(protocol_factory, sock, server, backlog, given.get("context"), tls)

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        if not isinstance(transp, _tulipa.StreamTransport):
            return int(await super()._sendfile_native(transp, file, offset, count))
        was_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            if os.sendfile is _os_sendfile:
                return int(await self.sock_sendfile(transp._sock, file, offset, count, fallback=False))
            # A program's own is called by asyncio's code, which waits by add_writer(): on a descriptor of its own,
            # because the transport goes on watching this one.
            with transp._sock.dup() as sock:
                return int(await self.sock_sendfile(sock, file, offset, count, fallback=False))
        finally:
            transp._reset_empty_waiter()
            if was_reading:
                transp.resume_reading()

    def _sock_sendfile_native_impl(
        self,
        fut: Any,
        registered_fd: int | None,
        sock: socket.socket,
        fileno: int,
        offset: int,
        count: int | None,
        blocksize: int,
        total_sent: int,
    ) -> None:
        if os.sendfile is not _os_sendfile or registered_fd is not None:
            # A program's own sendfile is called, as asyncio does.
            super()._sock_sendfile_native_impl(
                fut, registered_fd, sock, fileno, offset, count, blocksize, total_sent
            )
            return
        self._send_file(fut, sock, fileno, offset, count or None, blocksize)


def _name_methods_as_asyncio_does() -> None:
    """Give methods the names that the methods in whose places they are have in texts of TypeErrors."""
    stock = vars(unix_events)["_UnixSelectorEventLoop"]
    for owner in (EventLoop, SignalHandling, TlsConnections):
        for name, method in vars(owner).items():
            original = getattr(stock, name, None)
            if isinstance(method, FunctionType) and isinstance(original, FunctionType):
                method.__qualname__ = original.__qualname__


_name_methods_as_asyncio_does()

# What asyncio calls its own loop, so that a program which names it gets this one.
SelectorEventLoop = EventLoop

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)

# The class itself: programs put functions and classes of their own in the place of its name.
_SOCKET = socket.socket


def _is_plain(sock: socket.socket, methods: tuple[str, ...] = ("recv", "recv_into", "send", "close")) -> bool:
    """Return whether the socket's reading and writing are those of the standard library."""
    kind = type(sock)
    return kind is _SOCKET or all(getattr(kind, name, None) is getattr(_SOCKET, name) for name in methods)
