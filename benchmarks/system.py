"""Rows of what the loop has others do: threads, the resolver, child processes."""

import asyncio
import asyncio.subprocess
import socket

from benchmarks.model import Micro
from benchmarks.scheduling import callback

TOGETHER = 100
"""Calls that are under way at once where a row is not about one after the other."""


async def executor(operations: int) -> None:
    """Have a thread of the default pool call a function, and wait for its answer."""
    loop = asyncio.get_running_loop()
    for _ in range(operations):
        await loop.run_in_executor(None, callback)


async def executor_gather(operations: int) -> None:
    """The same for a hundred calls at once."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // TOGETHER):
        await asyncio.gather(*(loop.run_in_executor(None, callback) for _ in range(TOGETHER)))


async def literal(operations: int) -> None:
    """Resolve an address that is a number already, as every connection to one does."""
    loop = asyncio.get_running_loop()
    for _ in range(operations):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


async def spawn(operations: int) -> None:
    """Start a program that does nothing and wait for its end."""
    for _ in range(operations):
        process = await asyncio.create_subprocess_exec("/bin/true")
        await process.wait()


async def spawn_piped(operations: int) -> None:
    """Start a program, write to it, and read all that it writes."""
    for _ in range(operations):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=pipe, stdout=pipe)
        output, _ = await process.communicate(b"data")
        assert output == b"data"


ROWS = (
    Micro("executor", "run_in_executor, round trip", executor),
    Micro("executor_gather", "run_in_executor, 100 at once", executor_gather, TOGETHER),
    Micro("getaddrinfo_literal", "getaddrinfo of a literal", literal),
    Micro("spawn", "subprocess: spawn + wait", spawn),
    Micro("spawn_piped", "subprocess: spawn + communicate", spawn_piped),
)
