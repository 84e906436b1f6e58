"""Rows of stream transports: echo servers as a Protocol and as a BufferedProtocol, over TCP and Unix sockets."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import cast

from benchmarks.model import Served, Serving

KIB = 1024


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what comes, received into one buffer of its own."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.view = memoryview(bytearray(64 * KIB))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: a transport that cannot write at once may keep what it was given; the buffer is used again.
        self.transport.write(bytes(self.view[:nbytes]))


async def serve(protocol: type[asyncio.BaseProtocol]) -> Serving:
    """Listens on a free port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=4096)
    return Serving(server.sockets[0].getsockname()[1], server)


async def serve_echo() -> Serving:
    """The Protocol."""
    return await serve(Echo)


async def serve_buffered() -> Serving:
    """The BufferedProtocol."""
    return await serve(BufferedEcho)


async def serve_unix() -> Serving:
    """The Protocol on a Unix socket, which `measure` removes."""
    path = str(Path(tempfile.gettempdir()) / f"benchmark-{os.getpid()}.socket")
    server = await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=4096)
    return Serving(path, server)


def load(size: int, connections: int) -> tuple[str, ...]:
    """Arguments of the load generator."""
    return ("echo-load", "--size", str(size), "--connections", str(connections))


def plain(kib: int, connections: int) -> Served:
    """A row of the Protocol."""
    title = f"echo {kib} KiB, {connections} conn"
    return Served(f"echo_{kib}k_{connections}", title, serve_echo, load(kib * KIB, connections), floor=True)


def buffered(kib: int, connections: int) -> Served:
    """A row of the BufferedProtocol."""
    title = f"BufferedProtocol echo {kib} KiB, {connections} conn"
    return Served(
        f"buffered_{kib}k_{connections}", title, serve_buffered, load(kib * KIB, connections), floor=True
    )


def unix(kib: int, connections: int) -> Served:
    """A row of the Protocol over Unix sockets."""
    title = f"Unix echo {kib} KiB, {connections} conn"
    return Served(f"unix_{kib}k_{connections}", title, serve_unix, load(kib * KIB, connections))


ROWS = (
    plain(1, 1),
    plain(1, 10),
    plain(1, 100),
    plain(1, 1000),
    plain(64, 1),
    plain(64, 100),
    plain(64, 1000),
    buffered(1, 100),
    buffered(64, 100),
    unix(1, 10),
    unix(1, 100),
)
