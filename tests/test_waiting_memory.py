"""What a future and a task are made of: how little a waiting task takes, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tulipa

CROWD = 5000

#: What tasks of a program wait in, by the module that the program has it from.
WAITS: dict[str, Callable[[Any], Callable[[], Awaitable[Any]]]] = {
    "event": lambda module: module.Event().wait,
    "queue": lambda module: module.Queue().get,
    "sleep": lambda module: lambda: module.sleep(3600),
}


def bytes_of_waiting(module: Any, kind: str) -> float:
    """Return what Python allocates for each task of a crowd that waits."""

    async def main() -> float:
        wait = WAITS[kind](module)

        async def waits() -> None:
            await wait()

        async def begin(count: int) -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(waits()) for _ in range(count)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gc.collect()
            return tasks

        few = await begin(CROWD)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        many = await begin(CROWD)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for task in few + many:
            task.cancel()
        await asyncio.wait(few + many)
        return (after - before) / CROWD

    run = tulipa.run if module is tulipa else asyncio.run
    return run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_a_waiting_task_takes_at_most_half_of_what_it_takes_under_asyncio(kind: str) -> None:
    # What the two lists of those that wait take is not Python's, and the same: a place in each.
    assert bytes_of_waiting(tulipa, kind) <= bytes_of_waiting(asyncio, kind) / 2


async def awaits(future: asyncio.Future[Any]) -> Any:
    return await future


class PlainTask(tulipa.Task):
    """Derived without anything."""


class SlotlessTask(tulipa.Task):
    __slots__ = ()


class SlottedTask(tulipa.Task):
    __slots__ = ("extra",)
    extra: object


class Mixin:
    __slots__ = ()


class MixedTask(Mixin, SlottedTask):
    __slots__ = ("more",)
    more: object


class TwofoldTask(tulipa.Task, tulipa.Future):
    """Derived from both, as asyncio's pair allows."""


class SlottedFuture(tulipa.Future):
    __slots__ = ("extra",)
    extra: object


class PlainFuture(tulipa.Future):
    """Derived without anything."""


TASKS = [
    tulipa.Task,
    PlainTask,
    SlotlessTask,
    SlottedTask,
    MixedTask,
    TwofoldTask,
    type("Copy", (tulipa.Task,), dict(vars(PlainTask))),
]
FUTURES = [tulipa.Future, PlainFuture, SlottedFuture]


@pytest.mark.parametrize("make", TASKS)
def test_a_task_keeps_what_is_set_on_it(make: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = make(awaits(future), loop=loop)
        for number in range(40):
            setattr(task, f"number{number}", number)
        del task.number3
        await asyncio.sleep(0)
        assert [getattr(task, f"number{number}", None) for number in (0, 3, 39)] == [0, None, 39]
        assert weakref.ref(task)() is task
        assert task.get_coro().__name__ == "awaits"
        assert task._fut_waiter is future
        future.set_result("done")
        assert await task == "done"
        assert task.number39 == 39

    tulipa.run(main())


@pytest.mark.parametrize("make", FUTURES)
@pytest.mark.parametrize("place", ["attribute", "result", "exception", "message", "callback"])
def test_a_future_that_holds_itself_is_collected(make: Callable[..., Any], place: str) -> None:
    async def main() -> None:
        future = make(loop=asyncio.get_running_loop())
        if make is SlottedFuture:
            future.extra = future
        if place == "attribute":
            future.own = future
        elif place == "result":
            future.set_result([future])
        elif place == "exception":
            failure = ValueError()
            failure.own = future  # type: ignore[attr-defined]
            future.set_exception(failure)
            future.exception()
            del failure
        elif place == "message":
            future.cancel(msg=[future])
        else:
            future.add_done_callback(lambda _, own=future: None)
        gone = weakref.ref(future)
        del future
        gc.collect()
        assert gone() is None

    tulipa.run(main())


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("place", ["attribute", "coroutine", "context", "name"])
def test_a_task_that_holds_itself_is_collected(make: Callable[..., Any], place: str) -> None:
    class Name(str):
        own: object

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")
        context = contextvars.copy_context()
        holds: list[object] = []

        async def forever(held: list[object]) -> None:
            await loop.create_future()

        task = make(forever(holds), loop=loop, context=context)
        task._log_destroy_pending = False
        if isinstance(task, SlottedTask):
            task.extra = task
        if place == "attribute":
            task.own = task
        elif place == "coroutine":
            holds.append(task)
        elif place == "context":
            context.run(variable.set, task)
        else:
            name = Name("name")
            name.own = task
            task.set_name(name)
            del name
        await asyncio.sleep(0)
        gone = weakref.ref(task)
        del task, context, variable
        holds = []
        gc.collect()
        assert gone() is None

    tulipa.run(main())


def test_the_collector_is_shown_every_reference_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        coroutine = awaits(future)
        task = loop.create_task(coroutine, name="name")
        await asyncio.sleep(0)
        shown = gc.get_referents(task)
        for one in (loop, future, coroutine, task.get_name()):
            assert sum(each is one for each in shown) == 1
        future.set_result(None)
        await task

    tulipa.run(main())


BASE = asyncio.futures._CFuture  # type: ignore[attr-defined]


def test_the_methods_of_asyncios_class_say_that_they_know_nothing() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(RuntimeError, match="not initialized"):
            BASE.get_loop(future)
        with pytest.raises(RuntimeError, match="not initialized"):
            BASE.set_result(future, None)
        future.set_result(None)
        assert future.result() is None

    tulipa.run(main())


@pytest.mark.parametrize("use", ["set_exception", "add_done_callback"])
def test_initialised_by_asyncios_class_a_future_is_asyncios(use: str) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        BASE.__init__(future, loop=asyncio.get_running_loop())
        failure = ValueError()
        getattr(BASE, use)(future, failure if use == "set_exception" else lambda _: None)
        # Whatever the native methods make of this, they must not take one thing for another.
        for work in (future.result, future.exception, future.get_loop, future.done, future.__repr__):
            with contextlib.suppress(Exception):
                work()
        with contextlib.suppress(Exception):
            future.cancel("why")
        with contextlib.suppress(Exception):
            future.add_done_callback(lambda _: None)
        with contextlib.suppress(Exception):
            BASE.exception(future)

    tulipa.run(main())
