"""Native functions on an event loop that is neither asyncio's nor Tulipa's ask it for what asyncio's functions ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tulipa


class NumberedLoop(asyncio.AbstractEventLoop):
    """Its clock stands while it works, and it keeps a record of its timers, as engines of durable workflows do."""

    def __init__(self) -> None:
        self.ready: list[asyncio.Handle] = []
        self.timers: list[asyncio.TimerHandle] = []
        self.rung: set[asyncio.TimerHandle] = set()
        self.record: list[tuple[str, Any]] = []
        self.now = 0.0

    def get_debug(self) -> bool:
        return False

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        self.ready.append(asyncio.Handle(callback, args, self, context))
        return self.ready[-1]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        self.record.append(("later", delay))
        return self.start_timer(self.now + delay, callback, args, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        self.record.append(("at", when))
        return self.start_timer(when, callback, args, context)

    def start_timer(self, when: float, callback: Any, args: Any, context: Any) -> asyncio.TimerHandle:
        self.timers.append(asyncio.TimerHandle(when, callback, args, self, context))
        return self.timers[-1]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.record.append(("cancelled", self.timers.index(handle)))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks that are pending when the program ends, for one, are of no interest."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **options)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        task = self.create_task(main)
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                if not self.ready:
                    self.ring()
                handle = self.ready.pop(0)
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        return task.result()

    def ring(self) -> None:
        left = [timer for timer in self.timers if not timer.cancelled() and timer not in self.rung]
        self.now = min(timer.when() for timer in left)
        due = [timer for timer in left if timer.when() <= self.now]
        self.rung.update(due)
        self.ready.extend(due)


async def limited(module: Any, sleep: float, limit: float) -> str:
    try:
        await module.wait_for(module.sleep(sleep), limit)
    except TimeoutError:
        return "too late"
    return "in time"


async def ready(module: Any) -> Any:
    return await module.wait_for(module.sleep(0, "result"), 5)


async def nested(module: Any) -> str:
    try:
        await module.wait_for(module.wait_for(module.sleep(100), 50), 10)
    except TimeoutError:
        return "too late"
    return "in time"


async def waited(module: Any, sleep: float) -> list[int]:
    tasks = [module.ensure_future(module.sleep(sleep))]
    return [len(part) for part in await module.wait(tasks, timeout=5)]


async def completed(module: Any, sleep: float) -> str:
    try:
        for each in module.as_completed([module.ensure_future(module.sleep(sleep))], timeout=5):
            await each
    except TimeoutError:
        return "too late"
    return "in time"


USES: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "wait_for in time": lambda module: limited(module, 1, 2),
    "wait_for too late": lambda module: limited(module, 5, 2),
    "wait_for at the same time": lambda module: limited(module, 1, 1),
    "wait_for what is ready": ready,
    "wait_for within another": nested,
    "wait in time": lambda module: waited(module, 1),
    "wait too late": lambda module: waited(module, 9),
    "as_completed in time": lambda module: completed(module, 1),
    "as_completed too late": lambda module: completed(module, 9),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_timers_are_asked_for_as_asyncio_does(use: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
    """In that order, in that way, and taken back where asyncio does."""
    seen = []
    for module in (asyncio, tulipa):
        event_loop = NumberedLoop()
        seen.append((event_loop.run(use(module)), event_loop.record))
    assert seen[1] == seen[0]
