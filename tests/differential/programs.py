"""Random programs of tasks over locks, queues and timers, and the interpreter that runs and records them.

A program is data: for each task a list of steps over a fixed set of shared objects. `trace` runs it on one loop with
one make of primitives, and records each step with the turn of the loop in which it ended: two makes that agree in that
do the same work in the same order. Nothing depends on time: delays are a nanosecond, which has passed by the next turn,
or an hour, which nothing waits out.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .steps import Event, Make, Step

SOON, LATER = 1e-9, 3600.0
TURNS = 60
"""After so many turns what still waits is cancelled."""


@dataclass
class World:
    """What the tasks of one run share."""

    make: Make
    steps: list[list[Step]]
    events: list[Event] = field(default_factory=list)
    turn: int = 0
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = self.make.names
        self.locks = [names.Lock(), names.Lock()]
        self.semaphores = [names.Semaphore(2), names.BoundedSemaphore(1)]
        self.event = names.Event()
        self.condition = names.Condition()
        self.barrier = names.Barrier(2)
        self.queues = [names.Queue(1), names.PriorityQueue(2), names.LifoQueue(), Reversed(names).queue]

    def log(self, *event: Any) -> None:
        """Record an event, with the turn it belongs to."""
        self.events.append((self.turn, *event))

    def function(self, name: str) -> Any:
        """One of asyncio's functions over awaitables, from where the primitives are if it is there."""
        return getattr(self.make.names, name, None) or getattr(asyncio, name)

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told; but for what nobody asked for, which comes when garbage goes."""
        if "never retrieved" not in context["message"]:
            self.log("exception handler", context["message"], plain(context.get("exception")))


class Reversed:
    """A queue that overrides the hooks, as programs do."""

    def __init__(self, names: Any) -> None:
        class ReversedQueue(names.Queue):  # type: ignore[misc]
            def _init(self, maxsize: int) -> None:
                self._queue = collections.deque()

            def _put(self, item: Any) -> None:
                self._queue.appendleft(item)

            def _get(self) -> Any:
                return self._queue.popleft()

        self.queue = ReversedQueue(2)


def trace(make: Make, steps: list[list[Step]]) -> list[Event]:
    """Run a program, and return what happened."""
    with asyncio.Runner(loop_factory=make.loop, debug=make.debug) as runner:
        world: World = runner.run(_main(make, steps))
    return world.events


async def _main(make: Make, steps: list[list[Step]]) -> World:
    world = World(make, steps)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: world.report(context))
    world.tasks = [asyncio.create_task(_run(world, number)) for number in range(len(steps))]
    for _ in range(TURNS):
        await asyncio.sleep(0)
        world.turn += 1
    for attempt in range(TURNS):
        if all(task.done() for task in world.tasks):
            break
        for task in world.tasks:
            task.cancel(f"end {attempt}")
        await asyncio.sleep(0)
        world.turn += 1
    for task in world.tasks:
        world.log("ended", task.done(), task.cancelled())
    for thing in (*world.locks, *world.semaphores, world.event, world.condition, world.barrier):
        world.log(repr(thing).partition(" ")[2].partition("[")[2])
    for queue in world.queues:
        world.log(str(queue))
    return world


async def _run(world: World, number: int) -> None:
    for place, step in enumerate(world.steps[number]):
        try:
            result = await perform(world, number, step)
        except asyncio.CancelledError as error:
            world.log(number, place, step, plain(error))
            if step[-1] == "stop":
                raise
        except Exception as error:
            world.log(number, place, step, plain(error))
        else:
            world.log(number, place, step, plain(result))


async def perform(world: World, number: int, step: Step) -> Any:
    """One step of one task."""
    kind, *arguments = step
    return await STEPS[kind](world, number, *arguments)


def plain(value: Any) -> Any:
    """What may be compared of a result."""
    if isinstance(value, BaseExceptionGroup):
        return type(value).__name__, str(value), [plain(part) for part in value.exceptions]
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if isinstance(value, int | str | bool | None) else type(value).__name__


def wait_of(world: World, wait: Step) -> Awaitable[Any]:
    """The awaitable that one of the primitives' coroutine methods gives."""
    kind, index = wait
    queue = world.queues[index % 4]
    return {
        "acquire": lambda: world.locks[index % 2].acquire(),
        "take": lambda: world.semaphores[index % 2].acquire(),
        "event": lambda: world.event.wait(),
        "barrier": lambda: world.barrier.wait(),
        "put": lambda: queue.put(index),
        "get": lambda: queue.get(),
        "join": lambda: queue.join(),
        "sleep": lambda: world.make.names.sleep((0, 0.0, SOON, LATER, -1)[index % 5], index),
    }[kind]()


async def _wait(world: World, number: int, wait: Step, *_: Any) -> Any:
    return await wait_of(world, wait)


async def _wait_for(world: World, number: int, wait: Step, timeout: float | None, *_: Any) -> Any:
    return await world.function("wait_for")(wait_of(world, wait), timeout)


async def _timeout(world: World, number: int, waits: list[Step], timeout: float | None, *_: Any) -> Any:
    results = []
    async with world.function("timeout")(timeout):
        for wait in waits:
            results.append(await wait_of(world, wait))
    return results


async def _gather(world: World, number: int, waits: list[Step], keep: bool, *_: Any) -> Any:
    return await world.function("gather")(*[wait_of(world, wait) for wait in waits], return_exceptions=keep)


async def _shield(world: World, number: int, wait: Step, *_: Any) -> Any:
    return await world.function("shield")(wait_of(world, wait))


async def _any_of(world: World, number: int, waits: list[Step], timeout: float | None, *_: Any) -> Any:
    coroutines: list[Any] = [wait_of(world, wait) for wait in waits]
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    first = asyncio.FIRST_COMPLETED
    done, pending = await world.function("wait")(tasks, timeout=timeout, return_when=first)
    for task in pending:
        task.cancel()
    return [(task in done, task.done()) for task in tasks]


async def _group(world: World, number: int, waits: list[Step], *_: Any) -> Any:
    coroutines: list[Any] = [wait_of(world, wait) for wait in waits]
    async with world.function("TaskGroup")() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        await asyncio.sleep(0)
    return [task.result() for task in tasks]


async def _abandon(world: World, number: int, wait: Step, turns: int, *_: Any) -> Any:
    """Start a wait as a task of its own, and cancel it after some turns."""
    coroutine: Any = wait_of(world, wait)
    task = asyncio.get_running_loop().create_task(coroutine)
    for _turn in range(turns):
        await asyncio.sleep(0)
    accepted = task.cancel("abandoned")
    try:
        return accepted, await task
    except asyncio.CancelledError as error:
        return accepted, error


async def _holding(world: World, number: int, index: int, waits: list[Step], *_: Any) -> Any:
    manager: Any = (*world.locks, *world.semaphores, world.condition, world.barrier)[index % 6]
    results = []
    async with manager as entered:
        results.append(entered)
        for wait in waits:
            results.append(await wait_of(world, wait))
    return results


async def _notified(world: World, number: int, notify: int, *_: Any) -> Any:
    async with world.condition:
        if notify == 0:
            return await world.condition.wait()
        if notify == 1:
            return await world.condition.wait_for(world.event.is_set)
        if notify == 2:
            return world.condition.notify_all()
        return world.condition.notify(notify - 2)


async def _cancel(world: World, number: int, other: int, *_: Any) -> Any:
    task = world.tasks[other % len(world.tasks)]
    return task.cancel(f"by {number}")


async def _at_once(world: World, number: int, what: str, index: int, *_: Any) -> Any:
    queue = world.queues[index % 4]
    return {
        "release": lambda: world.locks[index % 2].release(),
        "give": lambda: world.semaphores[index % 2].release(),
        "locked": lambda: [thing.locked() for thing in (*world.locks, *world.semaphores)],
        "set": lambda: world.event.set(),
        "clear": lambda: world.event.clear(),
        "put": lambda: queue.put_nowait(index),
        "get": lambda: queue.get_nowait(),
        "done": lambda: queue.task_done(),
        "size": lambda: [queue.qsize(), queue.empty(), queue.full()],
        "notify": lambda: world.condition.notify(index),
    }[what]()


async def _barrier(world: World, number: int, what: str, *_: Any) -> Any:
    return await getattr(world.barrier, what)()


async def _shut_down(world: World, number: int, index: int, immediate: bool, *_: Any) -> Any:
    return world.queues[index % 4].shutdown(immediate)


STEPS: dict[str, Callable[..., Awaitable[Any]]] = {
    "wait": _wait,
    "wait_for": _wait_for,
    "timeout": _timeout,
    "gather": _gather,
    "shield": _shield,
    "any of": _any_of,
    "group": _group,
    "abandon": _abandon,
    "holding": _holding,
    "notified": _notified,
    "cancel": _cancel,
    "at once": _at_once,
    "barrier": _barrier,
    "shut down": _shut_down,
}
