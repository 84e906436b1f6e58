"""How a connection is read: the kernel tells once of what has come in, and none of it may be left behind."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.loops import LOOPS, run


class Receiver(asyncio.Protocol):
    """Notes what comes in, and in which of the loop's turns; paused at first."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.made, self.changed, self.lost = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.pause_reading()
        self.made.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.note("data")

    def eof_received(self) -> None:
        self.note("end")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append(type(exc).__name__)
        self.lost.set()

    def note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()
        asyncio.get_running_loop().call_soon(self.events.append, "turn")

    async def until(self, size: int) -> None:
        """Wait until so many bytes have been received."""
        while len(self.received) < size:
            await self.changed.wait()
            self.changed.clear()


class Lender(Receiver, asyncio.BufferedProtocol):
    """A receiver whose buffer holds seven bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(7)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self.data_received(self.buffer[:count])


@asynccontextmanager
async def connected(factory: Callable[[], Receiver]) -> AsyncIterator[tuple[Receiver, socket.socket]]:
    """Accept a connection, and yield its protocol and the peer, a plain socket."""
    loop = asyncio.get_running_loop()
    protocol = factory()
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as peer:
        await protocol.made.wait()
        yield protocol, peer
        protocol.transport.close()
        await protocol.lost.wait()
    server.close()
    await server.wait_closed()


async def receive(factory: Callable[[], Receiver], size: int) -> None:
    """Receive so many bytes, which have come in before reading begins."""
    async with connected(factory) as (protocol, peer):
        peer.sendall(bytes(size))
        protocol.transport.resume_reading()
        await protocol.until(size)


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("kind", [Receiver, Lender])
def test_what_lies_behind_urgent_data_is_read(new_loop: Any, kind: type[Receiver]) -> None:
    async def main() -> None:
        async with connected(kind) as (protocol, peer):
            peer.send(b"before")
            peer.send(b"!", socket.MSG_OOB)
            peer.send(b"behind")
            protocol.transport.resume_reading()
            await protocol.until(12)
            assert protocol.received == b"beforebehind"

    run(new_loop, main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_buffer_smaller_than_what_has_come_in_is_filled_again_and_again(new_loop: Any) -> None:
    run(new_loop, lambda: receive(Lender, 10_000))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_pause_in_the_middle_of_what_has_come_in_loses_nothing(new_loop: Any) -> None:
    class Pausing(Lender):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            self.resume_after(len(self.events) % 4)

        def resume_after(self, turns: int) -> None:
            """Resume in the same turn or later, when the driver has noticed the pause."""
            if turns:
                asyncio.get_running_loop().call_soon(self.resume_after, turns - 1)
            else:
                self.transport.resume_reading()

    run(new_loop, lambda: receive(Pausing, 1_000))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_end_is_told_a_turn_after_the_data_before_it(new_loop: Any) -> None:
    async def main() -> None:
        async with connected(Receiver) as (protocol, peer):
            peer.sendall(b"data")
            peer.shutdown(socket.SHUT_WR)
            protocol.transport.resume_reading()
            await protocol.lost.wait()
            assert protocol.events == ["data", "turn", "end", "turn", "NoneType"]

    run(new_loop, main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_reset_is_told_while_reading_is_resumed(new_loop: Any) -> None:
    async def main() -> None:
        async with connected(Receiver) as (protocol, peer):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            protocol.transport.resume_reading()
            await protocol.lost.wait()
            assert protocol.events == ["ConnectionResetError"]

    run(new_loop, main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_is_left_when_an_interrupt_ends_the_loop_is_read_by_its_next_run(new_loop: Any) -> None:
    class Interrupting(Lender):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.received) == 14:
                raise KeyboardInterrupt

    loop = new_loop()
    try:
        task = loop.create_task(receive(Interrupting, 1_000))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, 20))
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_reading_goes_on_while_and_after_writing_is_held_up(new_loop: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected(Receiver) as (protocol, peer):
            size = 8 << 20
            protocol.transport.write(bytes(size))
            assert protocol.transport.get_write_buffer_size() > 0
            protocol.transport.resume_reading()
            peer.setblocking(False)
            await loop.sock_sendall(peer, b"while")
            await protocol.until(5)
            while size:
                size -= len(await loop.sock_recv(peer, 1 << 20))
            while protocol.transport.get_write_buffer_size():
                await asyncio.sleep(0)
            await loop.sock_sendall(peer, b"after")
            await protocol.until(10)
            assert protocol.received == b"whileafter"

    run(new_loop, main)
