"""Write buffers: limits, pause_writing and resume_writing, drain."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from ..log import Log

CHUNK = b"x" * 65536


class Paused(asyncio.Protocol):
    """Records pauses."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.resumed = asyncio.Event()
        self.lost = asyncio.Event()

    def pause_writing(self) -> None:
        self.log("pause_writing")

    def resume_writing(self) -> None:
        self.log("resume_writing")
        self.resumed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error)
        self.lost.set()


async def to_a_slow_reader(log: Log) -> tuple[Any, Paused, socket.socket]:
    """A transport whose peer does not read unless told to."""
    left, right = socket.socketpair()
    for sock in (left, right):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    transport, protocol = await asyncio.get_running_loop().create_connection(lambda: Paused(log), sock=left)
    right.settimeout(5)
    return transport, protocol, right


async def read_all(sock: socket.socket, count: int) -> None:
    """Read `count` bytes in a thread."""

    def read() -> None:
        left = count
        while left:
            left -= len(sock.recv(min(left, 1 << 16)))

    await asyncio.to_thread(read)


def case_limits(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        log(transport.get_write_buffer_limits(), transport.get_write_buffer_size())
        for arguments in (
            {"high": 100},
            {"high": 100, "low": 10},
            {"low": 50},
            {"high": 0},
            {"high": 1, "low": 1},
            {},
        ):
            transport.set_write_buffer_limits(**arguments)
            log(arguments, transport.get_write_buffer_limits())
        for arguments in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": "x"}):
            log.attempt(repr(arguments), transport.set_write_buffer_limits, **arguments)
        transport.abort()
        await protocol.lost.wait()
        peer.close()

    asyncio.run(main())


class LastWords(Paused):
    """Writes when it may again, though its transport is closing."""

    transport: Any

    def resume_writing(self) -> None:
        super().resume_writing()
        self.transport.write(b"last words")


def case_resume_writing_writes_to_a_closing_transport(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.settimeout(5)
        transport, protocol = await asyncio.get_running_loop().create_connection(
            lambda: LastWords(log), sock=left
        )
        protocol.transport = transport
        size = 0
        while not transport.get_write_buffer_size():
            transport.write(CHUNK)
            size += len(CHUNK)
        transport.write(CHUNK * 4)
        size += 4 * len(CHUNK)
        transport.close()
        await read_all(right, size + len(b"last words"))
        await protocol.lost.wait()
        right.close()

    asyncio.run(main())


def case_pause_and_resume(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        transport.set_write_buffer_limits(high=100_000, low=10_000)
        written = 0
        while transport.get_write_buffer_size() <= 100_000:
            transport.write(CHUNK)
            written += len(CHUNK)
            # A loop may send at the end of its turn what was written in it.
            await asyncio.sleep(0)
        log("above the limit")
        transport.write(CHUNK)
        written += len(CHUNK)
        await read_all(peer, written)
        await protocol.resumed.wait()
        log(transport.get_write_buffer_size())
        transport.close()
        await protocol.lost.wait()
        peer.close()

    asyncio.run(main())


def case_limit_of_zero(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        transport.set_write_buffer_limits(0)
        written = 0
        while not transport.get_write_buffer_size():
            transport.write(CHUNK)
            written += len(CHUNK)
            await asyncio.sleep(0)
        await read_all(peer, written)
        await protocol.resumed.wait()
        transport.abort()
        await protocol.lost.wait()
        peer.close()

    asyncio.run(main())


def case_abort_drops_the_buffer(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        for _ in range(10):
            transport.write(CHUNK)
        await asyncio.sleep(0)
        log(transport.get_write_buffer_size() > 0)
        transport.abort()
        log(transport.get_write_buffer_size())
        await protocol.lost.wait()
        peer.close()

    asyncio.run(main())


def case_close_flushes_the_buffer(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        for _ in range(10):
            transport.write(CHUNK)
        transport.close()
        log(transport.is_closing(), protocol.lost.is_set())
        await read_all(peer, 10 * len(CHUNK))
        await protocol.lost.wait()
        log(peer.recv(1))
        peer.close()

    asyncio.run(main())


def case_peer_leaves_with_data_unsent(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await to_a_slow_reader(log)
        for _ in range(10):
            transport.write(CHUNK)
        await asyncio.sleep(0)
        transport.pause_reading()  # otherwise it is chance whether the end is read or the broken pipe written first
        peer.close()
        await protocol.lost.wait()

    asyncio.run(main())


def case_pause_writing_that_fails(log: Log) -> None:
    class Fails(Paused):
        def pause_writing(self) -> None:
            raise LookupError("in pause_writing")

        def resume_writing(self) -> None:
            super().resume_writing()
            raise LookupError("in resume_writing")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log(sorted(context), context["message"], context["exception"])
        )
        left, right = socket.socketpair()
        right.settimeout(5)
        made: Any = await loop.create_connection(lambda: Fails(log), sock=left)
        transport, protocol = made
        written = 0
        while transport.get_write_buffer_size() <= 65536:
            transport.write(CHUNK)
            written += len(CHUNK)
            await asyncio.sleep(0)
        await read_all(right, written)
        await protocol.resumed.wait()
        transport.close()
        await protocol.lost.wait()
        right.close()

    asyncio.run(main())


def case_drain(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.settimeout(5)
        _, writer = await asyncio.open_connection(sock=left)
        await writer.drain()
        written = 0
        while writer.transport.get_write_buffer_size() <= 65536:
            writer.write(CHUNK)
            written += len(CHUNK)
            await asyncio.sleep(0)
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        log("drained at once", draining.done())
        await read_all(right, written)
        log(await asyncio.wait_for(draining, 5))
        right.close()
        writer.close()
        await log.attempt_await("wait_closed", writer.wait_closed())

    asyncio.run(main())


def case_drain_when_the_connection_is_lost(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=left)
        for _ in range(20):
            writer.write(CHUNK)
        await asyncio.sleep(0)
        draining = [asyncio.create_task(writer.drain()) for _ in range(2)]
        await asyncio.sleep(0)
        writer.transport.abort()
        for task in draining:
            await log.attempt_await("draining", task)
        await log.attempt_await("afterwards", writer.drain())
        right.close()

    asyncio.run(main())
