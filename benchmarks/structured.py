"""Rows of what holds tasks together (groups, wait) and limits in time, by each loop's own names (see `toolbox`)."""

import asyncio

from benchmarks.model import Micro
from benchmarks.tasks import CHILDREN, nothing
from benchmarks.toolbox import toolbox


async def turn() -> None:
    """Waits for one turn of the loop."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future


async def task_group(operations: int) -> None:
    """A group of a thousand tasks; the figure is per task."""
    group_class = toolbox().TaskGroup
    for _ in range(operations // CHILDREN):
        async with group_class() as group:
            for _ in range(CHILDREN):
                group.create_task(nothing())


async def wait_for_ready(operations: int) -> None:
    """A limit on what needs no waiting."""
    wait_for = toolbox().wait_for
    for _ in range(operations):
        await wait_for(nothing(), 10)


async def wait_for_slow(operations: int) -> None:
    """A limit on what takes a turn of the loop."""
    wait_for = toolbox().wait_for
    for _ in range(operations):
        await wait_for(turn(), 10)


async def wait_for_sleep(operations: int) -> None:
    """A limit on what gives way to the loop."""
    wait_for, sleep = toolbox().wait_for, toolbox().sleep
    for _ in range(operations):
        await wait_for(sleep(0), 10)


async def timeout_ready(operations: int) -> None:
    """A block with a limit, in which nothing waits."""
    timeout = toolbox().timeout
    for _ in range(operations):
        async with timeout(10):
            await nothing()


async def timeout_slow(operations: int) -> None:
    """A block with a limit, in which the task waits a turn of the loop."""
    timeout = toolbox().timeout
    for _ in range(operations):
        async with timeout(10):
            await turn()


async def timeout_sleep(operations: int) -> None:
    """A block with a limit, in which the task gives way to the loop."""
    timeout, sleep = toolbox().timeout, toolbox().sleep
    for _ in range(operations):
        async with timeout(10):
            await sleep(0)


async def wait_all(operations: int) -> None:
    """Wait for a thousand tasks; the figure is per task."""
    wait = toolbox().wait
    for _ in range(operations // CHILDREN):
        await wait([asyncio.create_task(nothing()) for _ in range(CHILDREN)])


ROWS = (
    Micro("task_group_1000", "TaskGroup of 1000", task_group, CHILDREN),
    Micro("wait_1000", "wait for 1000", wait_all, CHILDREN),
    Micro("wait_for_ready", "wait_for, ready", wait_for_ready),
    Micro("wait_for_slow", "wait_for, one turn", wait_for_slow),
    Micro("wait_for_sleep", "wait_for, sleep(0)", wait_for_sleep),
    Micro("timeout_ready", "timeout(), ready", timeout_ready),
    Micro("timeout_slow", "timeout(), one turn", timeout_slow),
    Micro("timeout_sleep", "timeout(), sleep(0)", timeout_sleep),
)
