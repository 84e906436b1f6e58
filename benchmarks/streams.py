"""Rows of streams: an echo server of reader and writer, lines, and the output of a child.

Tulipa's columns use its own names, the others asyncio's: that is what a program gets that changes its import.
"""

import asyncio
import importlib
import socket
from typing import Any

from benchmarks.echo import KIB, load
from benchmarks.model import Micro, Served, Serving

LINE = b"a line of thirty-two bytes, +-\r\n"
LINES = 1000
"""Lines in one block: they fit into a socket's buffer, so that one thread can write and read them."""
BLOCK = 64 * KIB


def names(module: str) -> Any:
    """The module that the running loop's own streams are in: asyncio's, or Tulipa's."""
    ours = type(asyncio.get_running_loop()).__module__.startswith("tulipa")
    return importlib.import_module(f"tulipa._{module}" if ours else f"asyncio.{module}")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes."""
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_echo() -> Serving:
    """The echo server."""
    server = await names("streams").start_server(echo, "127.0.0.1", 0, backlog=4096)
    return Serving(server.sockets[0].getsockname()[1], server)


async def lines(count: int) -> None:
    """Reads so many lines from a socket, `LINES` of them at a time."""
    ours, theirs = socket.socketpair()
    reader, writer = await names("streams").open_connection(sock=ours)
    for _ in range(count // LINES):
        theirs.sendall(LINE * LINES)
        for _ in range(LINES):
            await reader.readline()
    theirs.close()
    writer.close()


async def child_output(count: int) -> None:
    """Reads so many blocks from a child as they come."""
    size = str(count * BLOCK)
    child = await names("subprocess").create_subprocess_exec(
        "head", "-c", size, "/dev/zero", stdout=asyncio.subprocess.PIPE
    )
    while await child.stdout.read(BLOCK):
        pass
    await child.wait()


async def child_lines(count: int) -> None:
    """Reads so many lines from a child."""
    command = f"yes 'a line of thirty-two bytes, +-' | head -n {count}"
    child = await names("subprocess").create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    async for _ in child.stdout:
        pass
    await child.wait()


def echoing(connections: int) -> Served:
    """A row of the echo server."""
    title = f"streams echo 1 KiB, {connections} conn"
    return Served(f"streams_echo_1k_{connections}", title, serve_echo, load(KIB, connections), floor=True)


ROWS = (
    echoing(1),
    echoing(100),
    Micro("stream_lines", "readline of 32 bytes", lines, LINES),
    Micro("child_output", "64 KiB of a child's output", child_output, 64),
    Micro("child_lines", "a line of a child's output", child_lines, LINES),
)
