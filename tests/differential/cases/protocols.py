"""The life of a connection as its protocol sees it: made, data, end of file, lost, and how each ending looks."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from ..log import Log


class Traced(asyncio.Protocol):
    """Records every call on a channel of its own, data joined, as its division is the kernel's."""

    def __init__(
        self, log: Log, *, keep_open: bool | None = None, on_made: Callable[[Any], None] | None = None
    ) -> None:
        self.log, self.keep_open, self.on_made = log, keep_open, on_made
        self.transport: Any = None
        self.received = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.eof: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.log("connection_made", isinstance(transport, asyncio.Transport))
        if self.on_made:
            self.on_made(transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.data.done():
            self.data.set_result(None)

    def eof_received(self) -> bool | None:
        self.log("eof_received", bytes(self.received))
        if not self.eof.done():
            self.eof.set_result(None)
        return self.keep_open

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error, bytes(self.received))
        self.lost.set_result(None)


async def connected(
    log: Log, server_options: dict[str, Any] | None = None, client_options: dict[str, Any] | None = None
) -> tuple[asyncio.AbstractServer, Traced, Traced]:
    """A server and a client, connected: (server, its protocol, the client's protocol)."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Traced] = loop.create_future()

    def factory() -> Traced:
        protocol = Traced(log.channel("server"), **(server_options or {}))
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(factory, "127.0.0.1", 0)
    _, client = await loop.create_connection(
        lambda: Traced(log.channel("client"), **(client_options or {})), *server.sockets[0].getsockname()
    )
    served = await accepted
    while served.transport is None:
        await asyncio.sleep(0)
    return server, served, client


async def ended(*protocols: Traced) -> None:
    """Wait until the connections of these are lost."""
    await asyncio.wait_for(asyncio.gather(*(protocol.lost for protocol in protocols)), 10)


def case_client_closes(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        client.transport.write(b"hello")
        client.transport.close()
        log(client.transport.is_closing())
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_server_closes_after_an_answer(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        client.transport.write(b"question")
        await served.data
        served.transport.write(b"answer")
        served.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_abort(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        client.transport.abort()
        log(client.transport.is_closing())
        client.transport.abort()
        client.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_reset_by_the_peer(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        # Linger of no time: closing sends RST instead of FIN.
        sock = client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_half_close_kept_open(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log, {"keep_open": True})
        client.transport.write(b"last words")
        client.transport.write_eof()
        client.transport.write_eof()
        await served.eof
        served.transport.write(b"answer after the end")
        served.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_half_close_not_kept_open(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log, {"keep_open": False})
        client.transport.write_eof()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_write_after_eof_and_after_close(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        log(client.transport.can_write_eof())
        client.transport.write_eof()
        log.attempt("write after write_eof", client.transport.write, b"x")
        log.attempt("writelines after write_eof", client.transport.writelines, [b"x"])
        client.transport.close()
        log.attempt("write after close", client.transport.write, b"x")
        await ended(served, client)
        log.attempt("write when lost", client.transport.write, b"x")
        log.attempt("write_eof when lost", client.transport.write_eof)
        log.attempt("close when lost", client.transport.close)
        log.attempt("abort when lost", client.transport.abort)
        server.close()

    asyncio.run(main())


def case_many_writes_to_a_lost_connection(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        client.transport.abort()
        await ended(client)
        for _ in range(8):
            client.transport.write(b"x")
        await ended(served)
        server.close()

    asyncio.run(main())


def case_write_arguments(log: Log) -> None:
    import array

    async def main() -> None:
        server, served, client = await connected(log)
        write = client.transport.write
        for wrong in ("text", 42, None, [1, 2], {"a": 1}):
            log.attempt(f"write {wrong!r}", write, wrong)
        log.attempt("writelines text", client.transport.writelines, ["text"])
        log.attempt("writelines number", client.transport.writelines, 42)
        for right in (
            b"bytes ",
            bytearray(b"bytearray "),
            memoryview(b"memoryview "),
            b"",
            memoryview(array.array("H", [0x2121])),
        ):
            log.attempt(f"write {type(right).__name__}", write, right)
        log.attempt(
            "writelines",
            client.transport.writelines,
            # No empty item: from 3.12 on asyncio's transport never gets past one.
            [b" one", bytearray(b" two"), memoryview(b" three")],
        )
        client.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_buffers_are_copied_or_kept_until_sent(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        buffer = bytearray(b"original")
        client.transport.write(buffer)
        buffer[:] = b"OVERWRIT"
        client.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_large_transfer(log: Log) -> None:
    import hashlib

    async def main() -> None:
        server, served, client = await connected(log)
        payload = bytes(range(256)) * 20_000
        served.log = log.channel("quiet")
        client.log = log.channel("quiet")

        def lost(protocol: Traced, error: Exception | None) -> None:
            log(error, len(protocol.received), hashlib.sha256(protocol.received).hexdigest())
            protocol.lost.set_result(None)

        served.connection_lost = lambda error: lost(served, error)
        served.eof_received = lambda: None
        client.connection_lost = lambda error: client.lost.set_result(None)
        for start in range(0, len(payload), 333_333):
            client.transport.write(payload[start : start + 333_333])
        client.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_pause_and_resume_reading(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        transport = served.transport
        log(transport.is_reading())
        for name in ("pause_reading", "pause_reading", "resume_reading", "resume_reading"):
            getattr(transport, name)()
            log(name, transport.is_reading())
        transport.pause_reading()
        client.transport.write(b"while paused")
        await asyncio.sleep(0.02)
        log(bytes(served.received))
        transport.resume_reading()
        await served.data
        log(bytes(served.received))
        transport.pause_reading()
        client.transport.close()
        await asyncio.sleep(0.02)
        log("nothing heard of the end", served.lost.done())
        transport.resume_reading()
        await ended(served, client)
        transport.pause_reading()
        transport.resume_reading()
        log(transport.is_reading())
        server.close()

    asyncio.run(main())


def case_extra_info(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        for protocol in (served, client):
            info = protocol.transport.get_extra_info
            log(
                info("peername")[0],
                info("sockname")[0],
                info("nothing"),
                info("nothing", "default"),
                info("sslcontext"),
            )
            sock = info("socket")
            log(
                type(sock).__name__,
                sock.family,
                sock.type,
                sock.gettimeout(),
                sock.getpeername() == info("peername"),
            )
            log(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        log(client.transport.get_extra_info("peername") == served.transport.get_extra_info("sockname"))
        client.transport.close()
        await ended(served, client)
        log(
            client.transport.get_extra_info("peername") is not None,
            client.transport.get_extra_info("socket") is not None,
        )
        server.close()

    asyncio.run(main())


def case_protocol_is_replaced(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log)
        other = Traced(log.channel("other"))
        served.transport.set_protocol(other)
        log(served.transport.get_protocol() is other)
        client.transport.write(b"for the other")
        await other.data
        client.transport.close()
        await ended(other, client)
        server.close()

    asyncio.run(main())


def case_close_in_connection_made(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(log, {"on_made": lambda transport: transport.close()})
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_write_in_connection_made(log: Log) -> None:
    async def main() -> None:
        server, served, client = await connected(
            log, {"on_made": lambda transport: transport.write(b"greeting")}
        )
        await client.data
        log(bytes(client.received))
        client.transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


def case_order_of_the_first_calls(log: Log) -> None:
    """connection_made comes before create_connection returns, and before any data."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        right.send(b"early")

        class Ordered(Traced):
            def data_received(self, data: bytes) -> None:
                log("data_received", data)
                super().data_received(data)

        loop.call_soon(log, "a callback scheduled before")
        _, protocol = await loop.create_connection(lambda: Ordered(log), sock=left)
        log("create_connection returned")
        await protocol.data
        right.close()
        await ended(protocol)

    asyncio.run(main())


def case_unclosed_transport(log: Log) -> None:
    import gc

    async def main() -> None:
        left, right = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=left)
        right.close()
        log(type(protocol).__name__, transport.is_closing())
        transport.abort()
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    log("collected")


def case_transport_attributes(log: Log) -> None:
    """Libraries patch transports and keep them in weak dictionaries."""
    import weakref

    async def main() -> None:
        server, served, client = await connected(log)
        transport = client.transport
        transport.label = "mine"
        log(transport.label, weakref.ref(transport)() is transport)
        sent: list[bytes] = []
        transport.write = sent.append
        transport.write(b"patched")
        log(sent)
        transport.close()
        await ended(served, client)
        server.close()

    asyncio.run(main())


class Buffered(asyncio.BufferedProtocol):
    """Gives a small buffer and records what is filled in."""

    def __init__(self, log: Log, size: int) -> None:
        self.log, self.buffer = log, bytearray(size)
        self.received = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log("connection_made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.log("at most the buffer", nbytes <= len(self.buffer))
        self.received += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.log("eof_received", bytes(self.received))

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error)
        self.lost.set_result(None)


def case_buffered_protocol(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.send(b"0123456789")
        right.close()
        _, protocol = await asyncio.get_running_loop().create_connection(lambda: Buffered(log, 4), sock=left)
        await asyncio.wait_for(protocol.lost, 5)

    asyncio.run(main())


def case_buffered_protocol_misbehaves(log: Log) -> None:
    class Raises(Buffered):
        def get_buffer(self, sizehint: int) -> bytearray:
            raise LookupError("no buffer")

    class Empty(Buffered):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

    class Wrong(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            return "text"

    class ReadOnly(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            return b"read-only"

    class Fails(Buffered):
        def buffer_updated(self, nbytes: int) -> None:
            raise LookupError("after reading")

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def handler(_: object, context: dict[str, Any]) -> None:
            log("handler", sorted(context), context["message"], type(context["exception"]).__name__)

        loop.set_exception_handler(handler)
        for kind in (Raises, Empty, Wrong, ReadOnly, Fails):
            left, right = socket.socketpair()
            right.send(b"data")
            made: Any = await loop.create_connection(lambda: kind(log.channel(kind.__name__), 4), sock=left)  # noqa: B023
            await asyncio.wait_for(made[1].lost, 5)
            right.close()

    asyncio.run(main())
