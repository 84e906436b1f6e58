"""gather, wait, groups and limits in time: what no other test says of them. What asyncio does is told by CPython's own
suite and by tests/differential; here are leaks, mixtures with stock classes, and the differences.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tulipa
from tulipa import _tulipa

StockTask: Any = vars(asyncio.tasks)["_CTask"]
StockFuture: Any = vars(asyncio.futures)["_CFuture"]


async def nothing() -> None: ...


async def value(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


async def fails(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def gather_some() -> None:
    await tulipa.gather(value(1), fails(ValueError()), return_exceptions=True)


async def wait_some() -> None:
    await tulipa.wait([tulipa.create_task(nothing()) for _ in range(3)], timeout=10)


async def group_some() -> None:
    async def group() -> None:
        async with tulipa.TaskGroup() as group:
            group.create_task(value(1))
            group.create_task(fails(ValueError()))

    with pytest.raises(ExceptionGroup):
        await group()


async def limit_some() -> None:
    await tulipa.wait_for(value(1), 10)
    with pytest.raises(TimeoutError):
        await tulipa.wait_for(asyncio.sleep(10), 0.001)
    async with tulipa.timeout(10):
        await value(1)


async def complete_some() -> None:
    for first in tulipa.as_completed([value(1), value(2)]):
        await first


async def shield_some() -> None:
    outer = tulipa.shield(value(1))
    outer.cancel()
    await asyncio.sleep(0.001)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before, no task is asked for")
@pytest.mark.parametrize("module", [asyncio, tulipa])
def test_as_completed_asks_for_a_loop_that_runs(module: Any) -> None:
    loop = tulipa.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with pytest.raises(RuntimeError, match=r"^no running event loop$"):
            module.as_completed([loop.create_future()])
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize(
    "use",
    [gather_some, wait_some, group_some, limit_some, complete_some, shield_some],
    ids=lambda use: use.__name__,
)
def test_nothing_is_left_behind(use: Callable[[], Coroutine[Any, Any, None]]) -> None:
    kinds = (
        "_GatheringFuture",
        "Task",
        "Future",
        "Operation",
        "Waiter",
        "TaskGroup",
        "Timeout",
        "Completion",
    )
    kinds += ("_AsCompletedIterator",)

    def alive() -> int:
        gc.collect()
        return sum(type(thing).__name__ in kinds for thing in gc.get_objects())

    async def main() -> None:
        await use()
        before = alive()
        for _ in range(20):
            await use()
        assert alive() <= before

    tulipa.run(main())


def test_a_cycle_through_a_gathering_is_collected() -> None:
    class Probe: ...

    async def main() -> weakref.ref[Probe]:
        probe = Probe()
        future: Any = asyncio.get_running_loop().create_future()
        outer: Any = tulipa.gather(future)
        future.probe, future.outer, outer.probe = probe, outer, probe
        return weakref.ref(probe)

    found = tulipa.run(main())
    gc.collect()
    assert found() is None


@pytest.mark.parametrize(
    "loop_factory", [asyncio.SelectorEventLoop, tulipa.EventLoop], ids=["stock", "tulipa"]
)
class TestMixtures:
    """Native functions on both loops, with futures and tasks of both makes."""

    def children(self, loop: Any) -> list[Any]:
        stock, native = StockFuture(loop=loop), tulipa.Future(loop=loop)
        loop.call_soon(stock.set_result, "stock future")
        loop.call_soon(native.set_result, "native future")
        tasks = [
            kind(value(name), loop=loop) for kind, name in ((StockTask, "stock"), (tulipa.Task, "native"))
        ]
        return [stock, native, *tasks]

    RESULTS = ["stock future", "native future", "stock", "native"]

    def run(self, loop_factory: Any, main: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        async def started() -> None:
            await main(asyncio.get_running_loop())

        for debug in (False, True):
            with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
                runner.run(started())

    def test_gather(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            assert await tulipa.gather(*self.children(loop), value(5)) == [*self.RESULTS, 5]
            with pytest.raises(KeyError):
                await tulipa.gather(*self.children(loop), fails(KeyError()))
            outer = tulipa.gather(*self.children(loop))
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer

        self.run(loop_factory, main)

    def test_wait(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            done, pending = await tulipa.wait(self.children(loop), timeout=10)
            assert {future.result() for future in done} == set(self.RESULTS)
            assert not pending
            never = loop.create_future()
            done, pending = await tulipa.wait([never, *self.children(loop)], timeout=0.001)
            assert never in pending
            done, pending = await tulipa.wait(
                [never, StockTask(fails(ValueError()), loop=loop)], return_when=tulipa.FIRST_EXCEPTION
            )
            assert [type(future.exception()) for future in done] == [ValueError]

        self.run(loop_factory, main)

    def test_as_completed(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            results = [await first for first in tulipa.as_completed(self.children(loop))]
            assert sorted(results) == sorted(self.RESULTS)
            late = tulipa.as_completed([loop.create_future()], timeout=0.001)
            with pytest.raises(TimeoutError):
                await next(iter(late))

        self.run(loop_factory, main)

    def test_limits(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            for child, result in zip(self.children(loop), self.RESULTS, strict=True):
                assert await tulipa.wait_for(child, 10) == result
                assert await tulipa.shield(child) == result
            with pytest.raises(TimeoutError):
                await tulipa.wait_for(loop.create_future(), 0.001)
            with pytest.raises(TimeoutError):
                async with tulipa.timeout(0.001):
                    await loop.create_future()
            async with tulipa.timeout_at(loop.time() + 10) as limit:
                limit.reschedule(None)
                await value(1)

        self.run(loop_factory, main)

    def test_groups(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            async with tulipa.TaskGroup() as group:
                tasks = [group.create_task(value(number), name=f"n{number}") for number in range(5)]
            assert [task.result() for task in tasks] == list(range(5))
            assert [task.get_name() for task in tasks] == [f"n{number}" for number in range(5)]

            async def two_failures() -> None:
                async with tulipa.TaskGroup() as group:
                    group.create_task(fails(ValueError()))
                    group.create_task(fails(KeyError()))
                    await loop.create_future()

            with pytest.raises(ExceptionGroup) as caught:
                await two_failures()
            assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}

        self.run(loop_factory, main)

    def test_threads(self, loop_factory: Any) -> None:
        async def main(loop: Any) -> None:
            assert await tulipa.to_thread(lambda number, *, add: number + add, 1, add=2) == 3
            source: concurrent.futures.Future[int] = concurrent.futures.Future()
            wrapper = tulipa.wrap_future(source)
            threading.Thread(target=source.set_result, args=(7,)).start()
            assert await wrapper == 7
            cancelled: concurrent.futures.Future[int] = concurrent.futures.Future()
            tulipa.wrap_future(cancelled).cancel()
            await asyncio.sleep(0.001)
            assert cancelled.cancelled()
            answers: list[Any] = []

            def ask() -> None:
                answers.append(tulipa.run_coroutine_threadsafe(value(8), loop).result(30))
                with pytest.raises(KeyError):
                    tulipa.run_coroutine_threadsafe(fails(KeyError()), loop).result(30)

            await tulipa.to_thread(ask)
            assert answers == [8]

        self.run(loop_factory, main)


def test_a_task_that_ends_well_leaves_its_group_at_once_and_that_of_a_subclass_as_in_asyncio() -> None:
    async def left(group: Any) -> int:
        async with group:
            stays = asyncio.Event()
            group.create_task(stays.wait())
            ends = asyncio.get_running_loop().create_future()
            group.create_task(wait_for_it(ends))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(ends.set_result, None)
            await ends
            number = len(group._tasks)
            await asyncio.sleep(0)
            assert len(group._tasks) == 1
            stays.set()
        return number

    async def wait_for_it(future: Any) -> None:
        await future

    async def main() -> None:
        assert await left(tulipa.TaskGroup()) == 1
        assert await left(type("Derived", (tulipa.TaskGroup,), {})()) == 2
        assert await left(asyncio.TaskGroup()) == 2

    tulipa.run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before, wait_for has a task of its own for everything"
)
def test_wait_for_sets_no_timer_for_what_needs_no_waiting_unless_somebody_sees_it() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()

        async def timers() -> int:
            return len(loop._scheduled)

        assert await tulipa.wait_for(timers(), 10) == 0
        assert await asyncio.wait_for(timers(), 10) == 1
        call_at, seen = loop.call_at, []
        loop.call_at = lambda *arguments, **options: seen.append(call_at(*arguments, **options)) or seen[-1]
        await tulipa.wait_for(nothing(), 10)
        del loop.call_at
        assert [timer.cancelled() for timer in seen] == [True]

    tulipa.run(main())


def test_functions_are_no_python_functions() -> None:
    assert type(tulipa.gather).__name__ == "Function"
    operation: Any = tulipa.sleep(0)
    assert type(operation).__name__ == "Operation"
    operation.close()
    assert _tulipa.wait is not tulipa.wait


def test_classes_can_be_derived_from() -> None:
    class Group(tulipa.TaskGroup):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Limit(tulipa.Timeout):  # type: ignore[misc]  # final for type checkers only
        pass

    async def main() -> None:
        async with Group("g") as group:
            assert group.name == "g"
            group.create_task(nothing())
        async with Limit(None) as limit:
            assert repr(limit) == "<Timeout [active] when=None>"

    tulipa.run(main())


DEEP = 100_000
"""More calls than fit into one another on any usual stack."""


@pytest.mark.parametrize("made_of", ["tasks", "gatherings"])
def test_what_waits_too_deep_to_be_cancelled_raises(made_of: str) -> None:
    async def waits(awaitable: Any) -> None:
        await awaitable

    async def main() -> None:
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last: Any = first
        for _ in range(DEEP):
            last = tulipa.create_task(waits(last)) if made_of == "tasks" else tulipa.gather(last)
        await asyncio.sleep(0)
        with pytest.raises(RecursionError):
            last.cancel()
        assert not first.cancelled()
        first.set_result(None)
        await last

    tulipa.run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="before, wait_for has a task of its own for everything"
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("waits", [False, True])
def test_too_many_limits_within_one_another_raise(waits: bool) -> None:
    async def main() -> None:
        innermost = _tulipa.Event()
        if not waits:
            innermost.set()
        limited: Any = innermost.wait()
        for _ in range(DEEP):
            limited = tulipa.wait_for(limited, 1000)
        with pytest.raises(RecursionError):
            await limited

    tulipa.run(main())
