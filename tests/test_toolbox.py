"""The native primitives as objects. What they do is compared with asyncio in tests/differential and by CPython's own
tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest

import tulipa
from tulipa import _tulipa as native

from .loops import complete

STOCK_LOOP: Any = asyncio.SelectorEventLoop


CLASSES = [
    native.Lock,
    native.Event,
    native.Condition,
    native.Semaphore,
    native.BoundedSemaphore,
    lambda: native.Barrier(1),
    native.Queue,
    native.PriorityQueue,
    native.LifoQueue,
]


@pytest.mark.parametrize("make", CLASSES)
def test_instances_take_attributes_and_weak_references_and_no_pickling(make: Callable[[], Any]) -> None:
    thing = make()
    thing.label = "mine"
    assert weakref.ref(thing)() is thing
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(thing)


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore", "Queue", "PriorityQueue"])
def test_a_subclass_with_arguments_of_its_own(name: str) -> None:
    class Named(getattr(native, name)):  # type: ignore[misc]
        def __init__(self, label: str, *, other: int = 0) -> None:
            super().__init__()
            self.label = label

    thing = Named("it", other=1)
    assert thing.label == "it"
    assert "Named" in repr(thing)


def test_queues_are_generic() -> None:
    assert native.Queue[int] == types.GenericAlias(native.Queue, (int,))


def test_a_queue_shows_its_items_once_asked_and_then_for_good() -> None:
    queue: Any = native.Queue()
    queue.put_nowait(1)
    shown = queue._queue
    assert list(shown) == [1]
    queue.put_nowait(2)
    shown.appendleft(0)
    assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]
    assert queue._queue is shown
    queue._queue = [5]
    assert queue.qsize() == 1


def test_a_subclass_may_put_futures_of_its_own_among_the_getters() -> None:
    class Peekable(native.Queue[Any]):
        async def wait(self) -> None:
            while self.empty():
                getter = self._get_loop().create_future()
                self._getters.append(getter)
                try:
                    await getter
                except BaseException:
                    getter.cancel()
                    with contextlib.suppress(ValueError):
                        self._getters.remove(getter)
                    if not self.empty() and not getter.cancelled():
                        self._wakeup_next(self._getters)
                    raise

    async def main() -> Any:
        queue = Peekable()
        gone, stays = asyncio.create_task(queue.wait()), asyncio.create_task(queue.wait())
        await asyncio.sleep(0)
        assert len(queue._getters) == 2
        gone.cancel()
        await asyncio.sleep(0)
        assert len(queue._getters) == 1
        queue.put_nowait("item")
        await stays
        return await queue.get()

    assert complete(main()) == "item"


def test_queues_can_be_shut_down_on_every_python() -> None:
    async def main() -> None:
        queue: native.Queue[int] = native.Queue()
        waiting = asyncio.create_task(queue.get())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        queue.shutdown()
        with pytest.raises(native.QueueShutDown):
            await waiting
        with pytest.raises(native.QueueShutDown):
            queue.put_nowait(1)

    complete(main())
    if sys.version_info >= (3, 13):
        assert native.QueueShutDown is asyncio.QueueShutDown


class Cancelled:
    """A future of another make that nobody waits for any more."""

    def done(self) -> bool:
        return True

    def cancelled(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (native.Lock, "_waiters"),
        (native.Event, "_waiters"),
        (native.Condition, "_waiters"),
        (native.Semaphore, "_waiters"),
        (native.Queue, "_getters"),
    ],
)
def test_waiters_may_be_forgotten_while_others_are_put_in_their_place(make: Any, name: str) -> None:
    primitive = make()
    futures = [Cancelled() for _ in range(50)]

    def others() -> Iterator[Cancelled]:
        for future in futures:
            setattr(primitive, name, None)
            gc.collect()
            yield future

    setattr(primitive, name, others())
    assert list(getattr(primitive, name)) == futures


def test_a_queue_may_begin_anew_while_it_tells_that_it_is_finished() -> None:
    queue = native.Queue()
    told = []

    class Future:
        def done(self) -> bool:
            return False

        def set_result(self, result: object) -> None:
            told.append(result)
            queue.__init__()  # type: ignore[misc]
            gc.collect()

    queue.put_nowait(None)
    finished = queue._finished
    waiters = finished._waiters
    for _ in range(3):
        waiters.append(Future())
    unset = weakref.ref(finished)
    del finished, waiters
    queue.task_done()
    assert told[0] is True
    assert unset() is None


def test_waiters_that_leave_from_the_middle_leave_the_order_of_the_others() -> None:
    async def main() -> list[int]:
        lock = native.Lock()
        await lock.acquire()
        order: list[int] = []

        async def user(number: int) -> None:
            async with lock:
                order.append(number)

        tasks = [asyncio.create_task(user(number)) for number in range(500)]
        await asyncio.sleep(0)
        for number, task in enumerate(tasks):
            if number % 10:
                task.cancel()
        await asyncio.sleep(0)
        waiters: Any = lock._waiters
        assert len(waiters) == 50
        assert waiters[0] in waiters
        assert len(list(waiters)) == 50
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert complete(main()) == list(range(0, 500, 10))


@pytest.mark.parametrize("kind", [tulipa.Semaphore, tulipa.BoundedSemaphore])
def test_a_semaphore_counts_in_whatever_numbers_it_was_given(kind: Any) -> None:
    """Infinity is how a program says "no limit"."""

    async def main() -> None:
        endless = kind(math.inf)
        for _ in range(3):
            await endless.acquire()
        assert not endless.locked()
        assert endless._value == math.inf
        assert "unlocked, value:inf" in repr(endless)
        two = kind(2.0)
        await two.acquire()
        await two.acquire()
        assert two.locked()
        two.release()
        assert repr(two._value) == "1.0"

    tulipa.run(main())


class Half:
    """A number that is none, but compares as one half."""

    def __le__(self, other: float) -> bool:
        return other >= 0.5

    def __repr__(self) -> str:
        return "half"


@pytest.mark.parametrize(
    "count", [0, -3, 2, True, 1.5, math.inf, math.nan, 2**70, -(2**70), Half(), None, "all"], ids=repr
)
@pytest.mark.parametrize("waiting", [0, 3])
def test_a_condition_notifies_as_many_as_any_kind_of_number_says(count: Any, waiting: int) -> None:
    async def notify(condition: Any) -> tuple[int, str]:
        async def wait() -> None:
            async with condition:
                await condition.wait()

        tasks = [asyncio.ensure_future(wait()) for _ in range(waiting)]
        await asyncio.sleep(0)
        failure = ""
        try:
            condition.notify(count)
        except RuntimeError:
            async with condition:
                try:
                    condition.notify(count)
                except TypeError as error:
                    failure = str(error)
        for _ in range(10):
            await asyncio.sleep(0)
        woken = sum(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return woken, failure

    async def stock() -> Any:
        return await notify(asyncio.Condition())

    async def ours() -> Any:
        return await notify(tulipa.Condition())

    assert complete(ours()) == complete(stock(), STOCK_LOOP)


def test_a_barrier_takes_as_many_parties_as_any_kind_of_number_says() -> None:
    async def meet(barrier: Any) -> list[Any]:
        tasks = [asyncio.ensure_future(barrier.wait()) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        shown = [repr(barrier).partition("[")[2], repr(barrier.parties), repr(barrier._parties)]
        for task in tasks:
            task.cancel()
        return [*map(repr, await asyncio.gather(*tasks, return_exceptions=True)), *shown]

    class Unequal(int):
        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

        __hash__ = int.__hash__

    async def of(kind: Any) -> list[Any]:
        seen = []
        for parties in (2, 3, True, 2.5, 2.0, 3.0, math.inf, 2**70, Fraction(3), Unequal(3)):
            seen.append(await meet(kind(parties)))
        for wrong in (0, 0.5, -math.inf, -(2**70), None, "2"):
            try:
                kind(wrong)
            except (TypeError, ValueError) as error:
                seen.append([repr(error)])
        return seen

    assert complete(of(tulipa.Barrier)) == complete(of(asyncio.Barrier), STOCK_LOOP)
