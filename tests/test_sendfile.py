"""Sending files natively: what asyncio promises no more than in passing. tests/differential compares the rest."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from typing import IO, Any

import pytest

import tulipa

SIZE = 8 << 20


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    """A file that no socket's buffer takes whole."""
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(SIZE))
        file.seek(0)
        yield file


async def receive(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size and (piece := await loop.sock_recv(sock, 1 << 20)):
        data += piece
    return bytes(data)


def pair() -> tuple[socket.socket, socket.socket]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


def test_a_large_file_arrives_whole_while_the_loop_does_other_things(file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        receiving = asyncio.create_task(receive(right, SIZE))
        assert await loop.sock_sendfile(left, file) == SIZE
        assert await receiving == os.pread(file.fileno(), SIZE, 0)
        assert file.tell() == SIZE
        # A piece is a MiB at most.
        assert turns >= SIZE >> 20
        counting.cancel()
        left.close()
        right.close()

    run(main)


def test_a_file_that_grows_meanwhile_is_sent_to_its_end(file: IO[bytes]) -> None:
    async def main() -> None:
        left, right = pair()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendfile(left, file))
        received = await receive(right, 1)
        os.pwrite(file.fileno(), b"more", SIZE)
        received += await receive(right, SIZE + 4 - len(received))
        assert await sending == SIZE + 4
        assert received[-4:] == b"more"
        left.close()
        right.close()

    run(main)


def test_cancelled_it_stops_and_the_file_tells_how_far_it_came(file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        sending = asyncio.create_task(loop.sock_sendfile(left, file))
        received = await receive(right, 100_000)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert loop.remove_writer(left) is False
        left.close()
        received += await receive(right, SIZE)
        assert file.tell() == len(received) < SIZE
        right.close()

    run(main)


def test_aborting_the_transport_ends_it(file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        sending = asyncio.create_task(loop.sendfile(transport, file))
        received = await receive(right, 1)
        transport.abort()
        with pytest.raises(ConnectionError, match="Connection is closed by peer"):
            await sending
        received += await receive(right, SIZE)
        assert file.tell() == len(received) < SIZE
        right.close()

    run(main)


def test_cancelled_over_a_transport_the_transport_goes_on(file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        reader, writer = await asyncio.open_connection(sock=left)
        sending = asyncio.create_task(loop.sendfile(writer.transport, file))
        received = await receive(right, 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        writer.write(b"the end")
        right.send(b"heard")
        assert await reader.readexactly(5) == b"heard"
        receiving = asyncio.create_task(receive(right, SIZE))
        writer.close()
        await writer.wait_closed()
        received += await receiving
        assert received.endswith(b"the end")
        assert file.tell() == len(received) - len(b"the end")
        right.close()

    run(main)


def test_a_socket_that_a_transport_uses_is_refused(file: IO[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_sendfile(left, file)
        transport.close()
        await asyncio.sleep(0)
        right.close()

    run(main)


def test_transfers_leave_no_objects_and_no_descriptors(file: IO[bytes]) -> None:
    async def rounds(number: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            left, right = pair()
            receiving = asyncio.create_task(receive(right, 1 << 20))
            assert await loop.sock_sendfile(left, file, 0, 1 << 20) == 1 << 20
            await receiving
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await receive(right, 1)
            sending.cancel()
            await asyncio.wait([sending])
            transport.abort()
            await asyncio.sleep(0)
            right.close()

    def counts() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

    tulipa.run(rounds(5))
    objects, descriptors = counts()
    tulipa.run(rounds(50))
    objects_after, descriptors_after = counts()
    assert objects_after - objects < 100
    assert descriptors_after == descriptors
