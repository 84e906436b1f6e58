"""Rows of pipes: both ends in one process, on one loop."""

import asyncio
import os

from benchmarks.model import Micro

KIB = 1024


class Receiver(asyncio.Protocol):
    """Counts what comes, and tells when it is enough."""

    def __init__(self) -> None:
        self.missing = 0
        self.complete = asyncio.get_running_loop().create_future()

    def expect(self, size: int) -> asyncio.Future[None]:
        """A future for the moment when so many bytes have come."""
        self.missing = size
        self.complete = asyncio.get_running_loop().create_future()
        return self.complete

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.complete.set_result(None)


class Pipe:
    """A pipe whose ends are transports."""

    async def open(self) -> None:
        """Connects both ends."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        self.source, self.receiver = await loop.connect_read_pipe(Receiver, os.fdopen(reading, "rb", 0))
        sink, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb", 0)
        )
        self.writer = asyncio.StreamWriter(sink, protocol, None, loop)

    async def close(self) -> None:
        """Closes both ends."""
        self.writer.close()
        self.source.close()
        await asyncio.sleep(0)


async def messages(operations: int) -> None:
    """Send 1 KiB and wait for it at the other end."""
    pipe = Pipe()
    await pipe.open()
    data = b"x" * KIB
    for _ in range(operations):
        arrived = pipe.receiver.expect(KIB)
        pipe.writer.write(data)
        await arrived
    await pipe.close()


async def lines(operations: int) -> None:
    """Send small lines, as to a program's standard input, and wait for all of them at the other end."""
    pipe = Pipe()
    await pipe.open()
    line = b"a line of some thirty characters\n"
    arrived = pipe.receiver.expect(operations * len(line))
    for _ in range(operations):
        pipe.writer.write(line)
        await pipe.writer.drain()
    await arrived
    await pipe.close()


async def bulk(operations: int) -> None:
    """Send 64 KiB at a time, as fast as the other end takes it."""
    pipe = Pipe()
    await pipe.open()
    data = b"x" * (64 * KIB)
    arrived = pipe.receiver.expect(operations * len(data))
    for _ in range(operations):
        pipe.writer.write(data)
        await pipe.writer.drain()
    await arrived
    await pipe.close()


ROWS = (
    Micro("pipe_1k", "pipe: 1 KiB, written and received", messages),
    Micro("pipe_lines", "pipe: a line, written", lines),
    Micro("pipe_64k", "pipe: 64 KiB, as fast as it goes", bulk),
)
