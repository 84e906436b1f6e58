"""Rows of locks, queues and sleeps: two tasks that hand over to each other, timers, and the memory of tasks that wait.

Tulipa's columns use its own names, the others asyncio's: that is what a program gets that changes its import.
"""

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.model import Micro, Waiting

SLEEPERS = 1000


def toolbox() -> Any:
    """The module of the running loop's own primitives: asyncio, or Tulipa's."""
    ours = type(asyncio.get_running_loop()).__module__.startswith("tulipa")
    return importlib.import_module("tulipa._tulipa" if ours else "asyncio")


async def queue_ping_pong(operations: int) -> None:
    """Two tasks hand an item to each other through queues; the figure is per hand-over."""
    queues = [toolbox().Queue(), toolbox().Queue()]
    queues[0].put_nowait("ball")

    async def play(mine: Any, theirs: Any) -> None:
        for _ in range(operations // 2):
            theirs.put_nowait(await mine.get())

    await both(play, queues)


async def lock_handover(operations: int) -> None:
    """Each of two tasks waits for a lock that the other one releases."""
    locks = [toolbox().Lock(), toolbox().Lock()]
    for lock in locks:
        await lock.acquire()
    locks[0].release()

    async def play(mine: Any, theirs: Any) -> None:
        for _ in range(operations // 2):
            await mine.acquire()
            theirs.release()

    await both(play, locks)


async def semaphore_handover(operations: int) -> None:
    """Each of two tasks waits for a semaphore that the other one releases."""
    semaphores = [toolbox().Semaphore(1), toolbox().Semaphore(0)]

    async def play(mine: Any, theirs: Any) -> None:
        for _ in range(operations // 2):
            await mine.acquire()
            theirs.release()

    await both(play, semaphores)


async def event_handover(operations: int) -> None:
    """Each of two tasks waits for an event that the other one sets."""
    events = [toolbox().Event(), toolbox().Event()]
    events[0].set()

    async def play(mine: Any, theirs: Any) -> None:
        for _ in range(operations // 2):
            await mine.wait()
            mine.clear()
            theirs.set()

    await both(play, events)


async def both(play: Callable[[Any, Any], Coroutine[Any, Any, None]], things: list[Any]) -> None:
    """Two tasks that play against each other, to their end."""
    players = asyncio.create_task(play(*things)), asyncio.create_task(play(*reversed(things)))
    for player in players:
        await player


async def short_sleeps(operations: int) -> None:
    """A thousand tasks sleep for a microsecond each, over and over; the figure is per sleep."""
    sleep = toolbox().sleep

    async def sleeper() -> None:
        for _ in range(operations // SLEEPERS):
            await sleep(1e-6)

    sleepers = [asyncio.create_task(sleeper()) for _ in range(SLEEPERS)]
    for each in sleepers:
        await each


async def sleep_no_time(operations: int) -> None:
    """Give way to the loop, by a float."""
    sleep = toolbox().sleep
    for _ in range(operations):
        await sleep(0.0)


async def wait_for_event(tasks: int) -> object:
    """So many tasks that wait for one event."""
    event = toolbox().Event()

    async def waits() -> None:
        await event.wait()

    return [asyncio.create_task(waits()) for _ in range(tasks)]


async def wait_for_item(tasks: int) -> object:
    """So many tasks that wait for one queue."""
    queue = toolbox().Queue()

    async def waits() -> None:
        await queue.get()

    return [asyncio.create_task(waits()) for _ in range(tasks)]


async def wait_for_time(tasks: int) -> object:
    """So many tasks that sleep."""
    sleep = toolbox().sleep

    async def waits() -> None:
        await sleep(3600)

    return [asyncio.create_task(waits()) for _ in range(tasks)]


ROWS = (
    Micro("queue_ping_pong", "Queue ping-pong", queue_ping_pong, 2),
    Micro("lock_handover", "Lock hand-over", lock_handover, 2),
    Micro("semaphore_handover", "Semaphore hand-over", semaphore_handover, 2),
    Micro("event_handover", "Event hand-over", event_handover, 2),
    Micro("sleep_no_time", "sleep(0.0)", sleep_no_time),
    Micro("short_sleeps", "1000 tasks sleep 1 µs", short_sleeps, SLEEPERS),
    Waiting("event_memory", "task at an Event: memory", wait_for_event, 100_000),
    Waiting("queue_memory", "task at a Queue: memory", wait_for_item, 100_000),
    Waiting("sleep_memory", "task asleep: memory", wait_for_time, 100_000),
)
