"""Rows of the loop itself: callbacks, callbacks from other threads, timers.

The bodies are what users write, the same source for every loop. A batch is what one turn of the loop gets: a
hundred callbacks, so that the cost of a turn (one `epoll_wait`, about a microsecond) does not hide the cost
of a callback.
"""

import asyncio
import threading

from benchmarks.model import Micro

BATCH = 100
TIMERS = 10_000
"""Timers set at once. This takes longer than their delay, so no loop is idle while it is measured."""


def callback() -> None:
    """Does nothing."""


def callback_with(first: int, second: str, third: None) -> None:
    """Takes three arguments and does nothing."""


async def call_soon(operations: int) -> None:
    """Schedule a callback and run it."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        for _ in range(BATCH):
            loop.call_soon(callback)
        await asyncio.sleep(0)


async def call_soon_args(operations: int) -> None:
    """Schedule a callback with three arguments and run it."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        for _ in range(BATCH):
            loop.call_soon(callback_with, 1, "two", None)
        await asyncio.sleep(0)


async def call_soon_threadsafe(operations: int) -> None:
    """Schedule by the thread-safe call, from the loop's own thread."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        for _ in range(BATCH):
            loop.call_soon_threadsafe(callback)
        await asyncio.sleep(0)


async def call_soon_other_thread(operations: int) -> None:
    """Schedule from another thread while this one runs the callbacks."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def other_thread() -> None:
        for _ in range(operations):
            loop.call_soon_threadsafe(callback)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=other_thread)
    thread.start()
    await done
    thread.join()


async def timer_cancel(operations: int) -> None:
    """Set a time-out and cancel it, as nearly every time-out ends."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // BATCH):
        for _ in range(BATCH):
            loop.call_later(60, callback).cancel()
        await asyncio.sleep(0)


async def timer_fire(operations: int) -> None:
    """Set a timer and let it fire."""
    loop = asyncio.get_running_loop()
    for _ in range(operations // TIMERS):
        for _ in range(TIMERS - 1):
            loop.call_later(0.001, callback)
        last = loop.create_future()
        loop.call_later(0.001, last.set_result, None)
        await last


ROWS = (
    Micro("call_soon", "call_soon", call_soon, BATCH),
    Micro("call_soon_args", "call_soon, 3 arguments", call_soon_args, BATCH),
    Micro("call_soon_threadsafe", "call_soon_threadsafe, own thread", call_soon_threadsafe, BATCH),
    Micro("call_soon_other_thread", "call_soon_threadsafe, other thread", call_soon_other_thread),
    Micro("timer_cancel", "timer: schedule + cancel", timer_cancel, BATCH),
    Micro("timer_fire", "timer: schedule + fire", timer_fire, TIMERS),
)
