"""TLS, as the event loop sets it up: `ssl=` of a connection, and `start_tls()`.

The sessions themselves are native (`_tulipa.SSLProtocol`, `_tulipa.SSLTransport`), over an `ssl.SSLContext` of the
program's. Arguments, defaults and texts of errors are asyncio's.
"""

from asyncio import base_events, sslproto, streams
from typing import Any

from ._tulipa import StreamReaderProtocol

# Asked of asyncio itself: point releases differ.
_MOVES_WHAT_STREAMS_HOLD = "_stream_reader" in base_events.BaseEventLoop.start_tls.__code__.co_consts


class TlsConnections:
    """What an event loop needs to make TLS connections."""

    __slots__ = ()

    def _make_ssl_transport(
        self: Any,
        rawsock: Any,
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
        self: Any,
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


def _move_stream_data(protocol: Any, ssl_protocol: Any) -> None:
    """Give TLS the beginning of the handshake that a stream reader has received already, as asyncio does."""
    is_stream = isinstance(protocol, streams.StreamReaderProtocol | StreamReaderProtocol)
    reader = getattr(protocol, "_stream_reader", None) if is_stream else None
    if reader is not None and reader._buffer:
        ssl_protocol._incoming.write(reader._buffer)
        reader._buffer.clear()
