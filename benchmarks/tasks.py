"""Rows of tasks and futures, in the ordinary code that users write: small programs, for which Tulipa swaps asyncio's
names; the column of its loop alone swaps none."""

import asyncio

from benchmarks.model import Micro

CHILDREN = 1000


async def nothing() -> None:
    """Ends at once."""


async def sleep_zero(operations: int) -> None:
    """Give way to the loop."""
    for _ in range(operations):
        await asyncio.sleep(0)


async def create_task(operations: int) -> None:
    """Start a task and wait for it."""
    for _ in range(operations):
        await asyncio.create_task(nothing())


async def gather(operations: int) -> None:
    """Gather a thousand coroutines; the figure is per coroutine."""
    for _ in range(operations // CHILDREN):
        await asyncio.gather(*[nothing() for _ in range(CHILDREN)])


async def future_ping_pong(operations: int) -> None:
    """Two tasks wake each other through futures; the figure is per hand-over."""
    loop = asyncio.get_running_loop()
    table = [loop.create_future(), loop.create_future()]

    async def play(mine: int, theirs: int) -> None:
        for _ in range(operations // 2):
            await table[mine]
            table[mine] = loop.create_future()
            table[theirs].set_result(None)

    players = asyncio.create_task(play(0, 1)), asyncio.create_task(play(1, 0))
    table[0].set_result(None)
    for player in players:
        await player


ROWS = (
    Micro("sleep0", "sleep(0)", sleep_zero, program=True),
    Micro("create_task", "create_task + await", create_task, program=True),
    Micro("gather_1000", "gather of 1000", gather, CHILDREN, program=True),
    Micro("future_ping_pong", "future ping-pong", future_ping_pong, 2, program=True),
)
