"""`EventLoop`: the native loop, with asyncio's own set-up code where that differs from Python to Python.

Scheduling, running, timers, descriptors, futures, tasks and stream transports are native (`_tulipa.BaseEventLoop` comes
first among the bases). What opens, resolves and configures is inherited from the running Python's own Unix loop, so
arguments, defaults and texts of errors are that Python's. This module is the seam: it never opens a selector, and
makes a wake-up socket only for signal handlers.
"""

import socket
import weakref
from asyncio import BaseEventLoop, StreamReaderProtocol, events, sslproto, unix_events
from collections.abc import Callable
from typing import Any

from . import _tulipa
from ._selector import SelectorView

# asyncio.SelectorEventLoop, under the name that nobody swaps.
_UnixEventLoop: Any = vars(unix_events)["_UnixSelectorEventLoop"]
_getaddrinfo = socket.getaddrinfo


class EventLoop(_tulipa.BaseEventLoop, _UnixEventLoop):  # type: ignore[misc]  # the stock loop is untyped here
    """An asyncio event loop whose engine, futures and tasks are native."""

    def __init__(self, selector: object = None) -> None:
        """Make a loop. A selector is accepted where the stock loop takes one, and not used."""
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

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Any = None,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = self._make_ssl_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        transport = ssl_protocol._app_transport
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, context=context)
        return transport

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Speak TLS over a transport from now on. Return the transport that the protocol uses from then on."""
        ssl = vars(sslproto)["ssl"]
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        ssl_protocol = self._make_ssl_protocol(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            call_connection_made=False,
        )
        if server_side and _MOVES_WHAT_STREAMS_HOLD:
            _move_stream_data(protocol, ssl_protocol)
        # Ciphertext must not come in before the protocol knows its transport.
        transport.pause_reading()
        transport.set_protocol(ssl_protocol)
        made = self.call_soon(ssl_protocol.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        app_transport = ssl_protocol._app_transport
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resume.cancel()
            raise
        return app_transport

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
        if not _is_plain(sock) or sock.family not in _INTERNET:
            super()._start_serving(
                protocol_factory, sock, sslcontext, server, backlog, *arguments, **keywords
            )
            return
        # The two time limits of TLS, and from 3.15 on a context, come by position or by name.
        names = ("ssl_handshake_timeout", "ssl_shutdown_timeout", "context")
        given = dict(zip(names, arguments, strict=False)) | keywords
        tls = (sslcontext, given.get(names[0]), given.get(names[1])) if sslcontext else None
        self._accept_streams(protocol_factory, sock, server, backlog, given.get("context"), tls)

    def _resume_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        server: Any,
        backlog: int,
        context: Any,
        tls: Any,
    ) -> None:
        """Accept again after a pause, unless the server was closed meanwhile."""
        if sock.fileno() >= 0 and not self.is_closed():
            self._accept_streams(protocol_factory, sock, server, backlog, context, tls)

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        if not isinstance(transp, _tulipa.StreamTransport):
            return int(await super()._sendfile_native(transp, file, offset, count))
        was_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        transp._lend_descriptor()
        try:
            return int(await self.sock_sendfile(transp._sock, file, offset, count, fallback=False))
        finally:
            transp._reset_empty_waiter()
            transp._take_descriptor()
            if was_reading:
                transp.resume_reading()

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        super()._ensure_fd_no_transport(fd)
        number = fd if isinstance(fd, int) else int(fd.fileno())
        transport = self._transport_of(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")


_INTERNET = (socket.AF_INET, socket.AF_INET6)


def _is_plain(sock: socket.socket) -> bool:
    """Return whether the socket's reading and writing are those of the standard library."""
    kind = type(sock)
    return kind is socket.socket or all(
        getattr(kind, name, None) is getattr(socket.socket, name)
        for name in ("recv", "recv_into", "send", "close")
    )


_MOVES_WHAT_STREAMS_HOLD = "_stream_reader" in BaseEventLoop.start_tls.__code__.co_consts


def _move_stream_data(protocol: Any, ssl_protocol: Any) -> None:
    """Give TLS the beginning of the handshake that a stream reader has received already, as asyncio does."""
    reader = getattr(protocol, "_stream_reader", None) if isinstance(protocol, StreamReaderProtocol) else None
    if reader is not None and reader._buffer:
        ssl_protocol._incoming.write(reader._buffer)
        reader._buffer.clear()


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
