"""The native primitives as objects: coroutines that are not CPython's, futures that are not asyncio's, and what they
leave behind. What they do is compared with asyncio in tests/differential and by CPython's own tests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import math
import pickle
import sys
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from fractions import Fraction
from typing import Any

import pytest

import tulipa
from tulipa import _tulipa as native

from .test_lifetimes import Witness, growth

STOCK_LOOP: Any = asyncio.SelectorEventLoop
PY_TASK: Any = vars(asyncio.tasks)["_PyTask"]
C_TASK: Any = vars(asyncio.tasks)["_CTask"]


def run(main: Coroutine[Any, Any, Any], loop: Any = tulipa.EventLoop, debug: bool = False) -> Any:
    with asyncio.Runner(loop_factory=loop, debug=debug) as runner:
        return runner.run(main)


# Coroutines.


def test_an_operation_is_a_coroutine_to_asyncio_and_no_future() -> None:
    operation = native.sleep(0)
    assert asyncio.iscoroutine(operation)
    assert inspect.isawaitable(operation)
    assert not asyncio.isfuture(operation)
    assert isinstance(operation, Coroutine)
    assert isinstance(operation, Awaitable)
    operation.close()


def test_it_is_not_one_of_cpythons_coroutines() -> None:
    """A difference: they are known by their methods, and only asyncio's checks look at those."""
    operation = native.Event().wait()
    assert not inspect.iscoroutine(operation)
    assert operation.cr_origin is None
    operation.close()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: native.sleep(0), "sleep"),
        (lambda: native.Lock().acquire(), "Lock.acquire"),
        (lambda: native.Lock().__aenter__(), "_ContextManagerMixin.__aenter__"),
        (lambda: native.Lock().__aexit__(None, None, None), "_ContextManagerMixin.__aexit__"),
        (lambda: native.Event().wait(), "Event.wait"),
        (lambda: native.Condition().wait(), "Condition.wait"),
        (lambda: native.Condition().wait_for(bool), "Condition.wait_for"),
        (lambda: native.BoundedSemaphore().acquire(), "Semaphore.acquire"),
        (lambda: native.Barrier(1).wait(), "Barrier.wait"),
        (lambda: native.Barrier(1).reset(), "Barrier.reset"),
        (lambda: native.LifoQueue().get(), "Queue.get"),
        (lambda: native.Queue().put(1), "Queue.put"),
        (lambda: native.Queue().join(), "Queue.join"),
    ],
)
def test_it_has_the_name_of_asyncios_function(make: Callable[[], Any], name: str) -> None:
    operation = make()
    assert operation.__qualname__ == name
    assert operation.__name__ == name.rpartition(".")[2]
    assert repr(operation).startswith(f"<coroutine object {name} at 0x")
    with pytest.warns(RuntimeWarning, match=f"^coroutine '{name}' was never awaited"):
        del operation


def test_what_was_awaited_or_closed_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    # What earlier tests left behind may have something to say.
    gc.collect()
    recwarn.clear()
    native.sleep(1).close()
    run(native.sleep(0))  # type: ignore[arg-type]
    gc.collect()
    assert not recwarn.list


def test_it_goes_through_the_states_of_a_coroutine() -> None:
    async def main() -> None:
        event = native.Event()
        operation = event.wait()
        assert inspect.getcoroutinestate(operation) == inspect.CORO_CREATED
        task = asyncio.ensure_future(operation)
        await asyncio.sleep(0)
        assert operation.cr_suspended
        assert inspect.getcoroutinestate(operation) == inspect.CORO_SUSPENDED
        with pytest.raises(RuntimeError, match=r"^coroutine is being awaited already$"):
            await operation
        event.set()
        assert await task is True
        assert inspect.getcoroutinestate(operation) == inspect.CORO_CLOSED
        with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
            await operation

    run(main())


def test_it_is_driven_by_hand() -> None:
    operation: Any = native.sleep(0)
    with pytest.raises(TypeError, match=r"^can't send non-None value to a just-started coroutine$"):
        operation.send(1)
    operation.close()
    operation = native.sleep(0, ("a", "tuple"))
    assert operation.send(None) is None
    with pytest.raises(StopIteration) as stop:
        operation.send(None)
    assert stop.value.value == ("a", "tuple")
    assert stop.value.args == (("a", "tuple"),)
    operation = native.sleep(0)
    next(operation)
    with pytest.raises(LookupError, match=r"^thrown$"):
        operation.throw(LookupError("thrown"))
    operation = native.sleep(0)
    with pytest.raises(LookupError, match=r"^at once$"):
        operation.throw(LookupError("at once"))
    with pytest.raises(RuntimeError, match=r"already awaited"):
        operation.send(None)


def test_generator_coroutines_yield_from_it() -> None:
    @types.coroutine
    def old_style() -> Iterator[Any]:
        result = yield from native.sleep(1e-9, "slept")
        return result

    async def main() -> Any:
        return await old_style()

    assert run(main()) == "slept"


def test_without_a_loop_it_fails_as_asyncios() -> None:
    with pytest.raises(RuntimeError, match=r"^no running event loop$"):
        native.sleep(1).send(None)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'create_future'"):
        native.Event().wait().send(None)


def test_a_subclass_may_await_the_original() -> None:
    class Counted(native.Lock):
        entered = 0

        async def acquire(self) -> Any:
            self.entered += 1
            return await super().acquire()

    async def main() -> int:
        lock = Counted()
        async with lock:
            pass
        async with native.Condition(lock):  # type: ignore[arg-type]
            pass
        return lock.entered

    assert run(main()) == 2


def test_a_condition_works_over_asyncios_lock() -> None:
    async def main() -> str:
        lock = asyncio.Lock()
        condition = native.Condition(lock)

        async def waits() -> str:
            async with condition:
                await condition.wait()
                assert lock.locked()
                return "notified"

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        async with lock:
            condition.notify()
            # It has been woken and waits for the lock; cancelled there, it goes on waiting for it.
            await asyncio.sleep(0)
            task.cancel("late")
            await asyncio.sleep(0)
            assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        again = asyncio.create_task(waits())
        await asyncio.sleep(0)
        async with lock:
            condition.notify_all()
        return await again

    assert run(main()) == "notified"


# Waiters.


async def parked() -> tuple[Any, Any]:
    event = native.Event()
    task = asyncio.ensure_future(event.wait())
    await asyncio.sleep(0)
    return event, task


def test_a_waiter_is_a_future_to_those_who_look() -> None:
    async def main() -> None:
        _event, task = await parked()
        waiter = task._fut_waiter
        assert isinstance(waiter, asyncio.Future)
        assert isinstance(waiter, tulipa.Future)
        assert asyncio.isfuture(waiter)
        assert waiter.__class__ is asyncio.Future
        assert repr(waiter).startswith("<Future pending cb=[")
        assert waiter._callbacks is not None
        assert (waiter.done(), waiter.cancelled(), waiter._state) == (False, False, "PENDING")
        assert waiter.get_loop() is waiter._loop is asyncio.get_running_loop()
        with pytest.raises(asyncio.InvalidStateError, match=r"^Result is not set.$"):
            waiter.result()
        with pytest.raises(asyncio.InvalidStateError, match=r"^Exception is not set.$"):
            waiter.exception()
        waiter.set_result(None)
        with pytest.raises(asyncio.InvalidStateError, match=r"^invalid state$"):
            waiter.set_result(None)
        assert await task is True

    run(main())


def test_a_waiter_is_cancelled_once_with_a_message() -> None:
    async def main() -> None:
        _event, task = await parked()
        waiter = task._fut_waiter
        assert waiter.cancel("why")
        assert not waiter.cancel()
        assert waiter.cancelled()
        with pytest.raises(asyncio.CancelledError, match=r"^why$"):
            waiter.result()
        with pytest.raises(asyncio.CancelledError, match=r"^why$"):
            await task

    run(main())


def test_an_exception_set_from_outside_reaches_the_waiting_code() -> None:
    async def main() -> None:
        event, task = await parked()
        task._fut_waiter.set_exception(LookupError("from outside"))
        with pytest.raises(LookupError, match=r"^from outside$"):
            await task
        assert not event._waiters

    run(main())


def test_callbacks_of_a_waiter_are_called_in_order_and_can_be_removed() -> None:
    async def main() -> list[str]:
        event, task = await parked()
        called: list[str] = []
        waiter = task._fut_waiter
        waiter.add_done_callback(lambda _: called.append("first"))
        gone = called.append
        waiter.add_done_callback(gone)
        waiter.add_done_callback(lambda _: called.append("second"))
        assert waiter.remove_done_callback(gone) == 1
        event.set()
        assert await waiter is None  # others may await it too
        await task
        return called

    assert run(main()) == ["first", "second"]


@pytest.mark.parametrize("loop", [tulipa.EventLoop, STOCK_LOOP], ids=["Tulipa", "stock loop"])
@pytest.mark.parametrize("task_class", [tulipa.Task, C_TASK, PY_TASK], ids=["native", "C", "Python"])
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_tasks_of_all_makes_wait_and_are_cancelled(loop: Any, task_class: Any, debug: bool) -> None:
    async def main() -> list[Any]:
        running = asyncio.get_running_loop()
        queue, lock, event = native.Queue(), native.Lock(), native.Event()

        async def user(number: int) -> tuple[int, Any]:
            async with lock:
                item = await queue.get()
            await native.sleep(1e-9)
            await event.wait()
            return number, item

        tasks = [task_class(user(number), loop=running) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        for item in "abc":
            await queue.put(item)
        await asyncio.sleep(0.001)
        event.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    results = run(main(), loop, debug)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    assert results == [(0, "a"), (2, "b"), (3, "c")]


def test_a_primitive_stays_with_its_loop() -> None:
    lock = native.Lock()

    async def contend() -> None:
        await lock.acquire()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lock.acquire(), 1e-9)
        lock.release()

    run(contend())
    with pytest.raises(
        RuntimeError, match=r"^<.*Lock object at 0x.* \[locked\]> is bound to a different event loop$"
    ):
        run(contend())


# The classes.

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

    assert run(main()) == "item"


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

    run(main())
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

    assert run(main()) == list(range(0, 500, 10))


# What is left behind.


def test_a_cancelled_sleep_leaves_its_timer_and_result_at_once() -> None:
    async def main() -> None:
        witness = Witness()
        gone = weakref.ref(witness)
        task: Any = asyncio.ensure_future(native.sleep(3600, witness))
        del witness
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del task
        assert gone() is None

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_a_sleep_goes_by_the_loops_own_clock_and_timers() -> None:
    class Accelerated(tulipa.EventLoop):
        skipped = 0.0

        def time(self) -> float:
            return super().time() + self.skipped

    class Counting(tulipa.EventLoop):
        calls = 0

        def call_later(self, delay: float, *args: Any, **keywords: Any) -> Any:
            type(self).calls += 1
            return super().call_later(delay, *args, **keywords)

    async def main() -> str:
        task = asyncio.ensure_future(native.sleep(3600, "slept"))
        await asyncio.sleep(0)
        asyncio.get_running_loop().skipped = 4000.0  # type: ignore[attr-defined]
        return await task

    assert run(main(), Accelerated) == "slept"
    run(native.sleep(1e-6), Counting)  # type: ignore[arg-type]
    assert Counting.calls == 1


def test_a_wake_up_that_the_loop_refuses_is_reported() -> None:
    def refuses(*args: Any, **keywords: Any) -> Any:
        raise LookupError("no more calls")

    reports: list[Any] = []
    loop: Any = tulipa.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
    task = loop.create_task(native.sleep(0.001))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon = refuses
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    del loop.call_soon
    assert [str(report) for report in reports] == ["no more calls"]
    task._log_destroy_pending = False
    loop.close()


def wait_forever() -> Iterator[Callable[[Any], Any]]:
    """Ways of waiting, each for an object that it is given to hold."""

    def primitive(make: Callable[[], Any], wait: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def start(held: Any) -> Any:
            thing = make()
            thing.held = held
            return wait(thing)

        return start

    async def locked(lock: Any) -> None:
        await lock.acquire()
        await lock.acquire()

    async def notified(condition: Any) -> None:
        async with condition:
            await condition.wait()

    yield lambda held: native.sleep(3600, held)
    yield primitive(native.Lock, locked)
    yield primitive(native.Event, lambda event: event.wait())
    yield primitive(native.Condition, notified)
    yield primitive(native.Condition, lambda condition: condition.wait_for(bool))
    yield primitive(lambda: native.Semaphore(0), lambda semaphore: semaphore.acquire())
    yield primitive(lambda: native.Barrier(2), lambda barrier: barrier.wait())
    yield primitive(native.Queue, lambda queue: queue.get())
    yield primitive(native.PriorityQueue, lambda queue: queue.get())


@pytest.mark.parametrize("start", list(wait_forever()))
def test_a_task_that_nobody_can_wake_is_collected_with_what_it_waits_on(
    start: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tulipa.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    witness = Witness()
    gone = weakref.ref(witness)

    async def waits(held: Any) -> None:
        await start(held)

    task = loop.create_task(waits(witness))
    del witness
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert gone() is not None
    # What cannot be told to a closed loop is an error, which holds the frame as long as the hook keeps it.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    del task
    gc.collect()
    assert gone() is None


def test_primitives_leave_nothing() -> None:
    loop = tulipa.new_event_loop()

    async def main() -> None:
        queue: Any = native.Queue(1)
        lock, event, condition = native.Lock(), native.Event(), native.Condition()
        semaphore, barrier = native.Semaphore(1), native.Barrier(3)

        async def producer() -> None:
            for number in range(5):
                await queue.put(number)
            await queue.join()

        async def consumer() -> None:
            for _ in range(5):
                await queue.get()
                queue.task_done()

        async def user() -> None:
            async with lock, semaphore:
                await native.sleep(0)
            await barrier.wait()
            async with condition:
                await condition.wait_for(event.is_set)

        tasks = [asyncio.create_task(work()) for work in (producer, consumer, user, user, user)]
        lost = asyncio.create_task(event.wait())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        lost.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        event.set()
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks, lost, return_exceptions=True)

    try:
        assert growth(lambda: loop.run_until_complete(main())) < 20
    finally:
        loop.close()


def test_a_dropped_wait_leaves_the_list() -> None:
    async def main() -> None:
        event = native.Event()
        operation: Any = event.wait()
        operation.send(None)
        waiters: Any = event._waiters
        assert len(waiters) == 1
        del operation
        assert len(waiters) == 0

    run(main())


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

    assert run(ours()) == run(stock(), STOCK_LOOP)


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

    assert run(of(tulipa.Barrier)) == run(of(asyncio.Barrier), STOCK_LOOP)


# What asks about coroutines and tasks.


def test_iscoroutine_knows_coroutines_of_every_make() -> None:
    class Duck(Coroutine[Any, Any, None]):
        def send(self, value: Any) -> None: ...
        def throw(self, *args: Any) -> None: ...
        def close(self) -> None: ...
        def __await__(self) -> Any: ...

    async def python() -> None: ...

    @tulipa.coroutine
    def generator() -> Iterator[None]:
        yield

    coroutines: list[Any] = [python(), generator(), native.sleep(0), native.Lock().acquire(), Duck()]
    others: list[Any] = [native.gather, python, iter(()), None, native.Event()]
    # Until Python 3.11 asyncio took generators for coroutines.
    (coroutines if sys.version_info < (3, 12) else others).append(each for each in ())
    for each in (*coroutines, *others):
        assert native.iscoroutine(each) is asyncio.iscoroutine(each) is (each in coroutines)
        getattr(each, "close", lambda: None)()


@pytest.mark.filterwarnings("ignore:.*iscoroutinefunction:DeprecationWarning")
def test_iscoroutinefunction_knows_native_methods() -> None:
    async def python() -> None: ...

    @tulipa.coroutine
    def generator() -> Iterator[None]:
        yield

    class Lock(tulipa.Lock): ...

    class Queue(tulipa.LifoQueue[int]): ...

    for function in (
        *(python, generator, functools.partial(python), tulipa.sleep, tulipa.wait, tulipa.wait_for),
        *(tulipa.Lock.acquire, tulipa.Lock().acquire, Lock().acquire, Lock().__aenter__, Queue().get),
        *(tulipa.StreamReader.readline, tulipa.TaskGroup.__aexit__),
    ):
        assert tulipa.iscoroutinefunction(function), function
    for other in (
        *(tulipa.Lock().release, Queue().get_nowait, tulipa.Lock, tulipa.gather, tulipa.EventLoop.call_soon),
        *([].append, "".join, len, None, (each for each in ())),
    ):
        assert not tulipa.iscoroutinefunction(other), other


def test_a_bound_method_is_one_like_any_other() -> None:
    lock = tulipa.Lock()
    bound, same, other = lock.__aexit__, lock.__aexit__, tulipa.Lock().__aexit__
    by_hand = types.MethodType(tulipa.Lock.__aexit__, lock)
    assert inspect.ismethod(bound)
    assert type(bound).__name__ == "method"
    assert (bound.__self__, bound.__func__, bound.__name__) == (lock, tulipa.Lock.__aexit__, "__aexit__")
    assert bound == same == by_hand == bound != other
    assert hash(bound) == hash(same)
    assert repr(bound) == repr(types.MethodType(tulipa.Lock.__aexit__, lock))
    assert weakref.WeakMethod(bound)() == bound
    reference = weakref.ref(bound)
    del bound
    assert reference() is None
    with pytest.raises(TypeError, match="not supported between instances of 'method' and 'method'"):
        same < other  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError, match="takes no arguments"):
        tulipa.Lock().__aenter__(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'Lock' object"):
        types.MethodType(tulipa.Lock.__aenter__, 1)()
    assert growth(lambda: [tulipa.Lock().__aenter__ for _ in range(100)].clear()) < 20


@pytest.mark.parametrize("loop", [tulipa.EventLoop, STOCK_LOOP])
def test_all_tasks_and_current_task_know_tasks_of_every_make(loop: Any) -> None:
    class Derived(tulipa.Task[Any]): ...

    async def waits() -> None:
        assert tulipa.current_task() in made
        await asyncio.get_running_loop().create_future()

    made: set[Any] = set()

    async def main() -> None:
        here, elsewhere = asyncio.get_running_loop(), loop()
        assert tulipa.current_task() is tulipa.current_task(None) is tulipa.current_task(loop=here)
        # Since 3.14 asyncio's functions in C do not know its tasks in Python.
        kinds = [tulipa.Task, Derived, C_TASK, *([PY_TASK] if sys.version_info < (3, 14) else [])]
        made.update(kind(waits(), loop=here) for kind in kinds)
        done = here.create_task(native.sleep(0))
        others = {kind(waits(), loop=elsewhere) for kind in (tulipa.Task, C_TASK)}
        made.update(others)
        await done
        expected = made - others | {asyncio.current_task()}
        assert tulipa.all_tasks() == tulipa.all_tasks(here) == asyncio.all_tasks() == expected
        assert tulipa.all_tasks(loop=elsewhere) == others
        assert tulipa.current_task(elsewhere) is None
        for task in made:
            task.cancel()
        await asyncio.wait(made - others)
        await here.run_in_executor(None, lambda: elsewhere.run_until_complete(asyncio.wait(others)))
        elsewhere.close()

    run(main(), loop)
    with pytest.raises(RuntimeError, match=r"^no running event loop$"):
        tulipa.all_tasks()
    with pytest.raises(RuntimeError, match=r"^no running event loop$"):
        tulipa.current_task()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_all_tasks_knows_an_eager_task_in_its_first_step() -> None:
    async def eager() -> bool:
        return tulipa.current_task() in tulipa.all_tasks()

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        for kind in (tulipa.Task, C_TASK):
            assert kind(eager(), loop=event_loop, eager_start=True).result()

    run(main())
