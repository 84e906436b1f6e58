"""What programs do to the transport, server and TLS objects themselves: of every kind, on asyncio and on Tulipa."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import tulipa

from .loops import LOOPS, run

Make = Callable[[Path], contextlib.AbstractAsyncContextManager[Any]]

pytestmark = pytest.mark.parametrize("new_loop", LOOPS)


@contextlib.asynccontextmanager
async def tcp(folder: Path) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        yield transport
        transport.close()


@contextlib.asynccontextmanager
async def unix(folder: Path) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    async with await loop.create_unix_server(asyncio.Protocol, folder / "socket"):
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, str(folder / "socket"))
        yield transport
        transport.close()


@contextlib.asynccontextmanager
async def tls(folder: Path) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    theirs, ours = contexts()
    async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=theirs) as server:
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, *address, ssl=ours)
        yield transport
        transport.close()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's, which need no certificate: the two agree on an anonymous cipher."""
    both = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for context in both:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
    return both


@contextlib.asynccontextmanager
async def datagram(folder: Path) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    yield transport
    transport.close()


@contextlib.asynccontextmanager
async def read_pipe(folder: Path) -> AsyncIterator[Any]:
    readable, writable = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        asyncio.Protocol, os.fdopen(readable, "rb", 0)
    )
    yield transport
    transport.close()
    os.close(writable)


@contextlib.asynccontextmanager
async def write_pipe(folder: Path) -> AsyncIterator[Any]:
    readable, writable = os.pipe()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(writable, "wb", 0)
    )
    yield transport
    transport.close()
    os.close(readable)


@contextlib.asynccontextmanager
async def process(folder: Path) -> AsyncIterator[Any]:
    transport, _ = await asyncio.get_running_loop().subprocess_exec(
        asyncio.SubprocessProtocol, sys.executable, "-c", "input()"
    )
    yield transport
    transport.kill()
    await transport._wait()
    transport.close()


KINDS: dict[Make, tuple[type, str]] = {
    tcp: (asyncio.Transport, "write"),
    unix: (asyncio.Transport, "write"),
    tls: (asyncio.Transport, "write"),
    datagram: (asyncio.DatagramTransport, "sendto"),
    read_pipe: (asyncio.ReadTransport, "pause_reading"),
    write_pipe: (asyncio.WriteTransport, "write"),
    process: (asyncio.SubprocessTransport, "send_signal"),
}
"""How a transport of each kind is made, which of asyncio's classes it is, and one of its methods."""


@pytest.mark.parametrize("make", KINDS)
def test_transports_are_asyncios_and_can_be_changed_referred_to_and_watched(
    new_loop: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, method = KINDS[make]

    async def main() -> None:
        async with make(tmp_path) as transport:
            # asyncio's own transport of datagrams is none by its class before 3.12.
            if sys.version_info >= (3, 12) or make is not datagram or new_loop is tulipa.EventLoop:
                assert isinstance(transport, kind)
            assert weakref.ref(transport)() is transport
            transport.colour = "red"
            assert vars(transport)["colour"] == "red"
            calls: list[Any] = []
            setattr(transport, method, calls.append)
            getattr(transport, method)("intercepted")
            delattr(transport, method)
            assert calls == ["intercepted"]
            assert callable(getattr(transport, method))

    run(new_loop, main)


@pytest.mark.parametrize("make", KINDS)
def test_extra_information_is_asked_of_asyncios_base_class(
    new_loop: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get_extra_info(self: Any, name: str, default: Any = None) -> Any:
        asked.append(name)
        return "patched"

    async def main() -> None:
        async with make(tmp_path) as transport:
            if make is tls:  # whose class has one of its own, to answer for the TLS object
                assert transport.get_extra_info("ssl_object").version() == "TLSv1.2"
                return
            monkeypatch.setattr(asyncio.BaseTransport, "get_extra_info", get_extra_info)
            assert transport.get_extra_info("anything") == "patched"
            monkeypatch.undo()
            assert asked == ["anything"]

    run(new_loop, main)


def test_a_tls_transport_shows_its_protocol_and_context(new_loop: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with tls(tmp_path) as transport:
            assert transport._ssl_protocol._sslcontext is transport.get_extra_info("sslcontext")
            assert transport.get_extra_info("cipher") == transport.get_extra_info("ssl_object").cipher()
            assert transport.get_extra_info("peername")[0] == "127.0.0.1"

    run(new_loop, main)


def test_a_server_shows_its_context_and_its_sockets_until_it_is_closed(new_loop: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        theirs, _ = contexts()
        listener = socket.create_server(("127.0.0.1", 0))
        server: Any = await loop.create_server(asyncio.Protocol, sock=listener, ssl=theirs)
        assert isinstance(server, asyncio.AbstractServer)
        assert server._ssl_context is theirs
        (shown,) = server.sockets
        assert isinstance(shown, asyncio.trsock.TransportSocket)
        assert shown.getsockname() == listener.getsockname()
        assert weakref.ref(server)() is server
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert server.sockets == ()

    run(new_loop, main)


def test_a_tls_handshake_that_meets_garbage_names_the_cause(new_loop: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, ours = contexts()

        class Garbage(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.write(b"this is no TLS at all\r\n" * 10)

        async with await loop.create_server(Garbage, "127.0.0.1", 0) as server:
            with pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|RECORD_LAYER"):
                await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname(), ssl=ours)

    run(new_loop, main)


def test_sock_methods_use_a_socket_class_through_its_own_methods(new_loop: Any) -> None:
    class Shouting(socket.socket):
        def recv(self, *args: Any) -> bytes:
            return super().recv(*args).upper()

        def send(self, data: Any, *args: Any) -> int:
            return super().send(bytes(data).upper(), *args)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = socket.socketpair()
        shouting = Shouting(first.family, first.type, first.proto, first.detach())
        with shouting, second:
            shouting.setblocking(False)
            second.setblocking(False)
            reading = asyncio.ensure_future(loop.sock_recv(shouting, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(second, b"whisper")
            assert await reading == b"WHISPER"
            await loop.sock_sendall(shouting, b"whisper")
            assert await loop.sock_recv(second, 100) == b"WHISPER"

    run(new_loop, main)
