"""What a task waits on natively: a future that is not asyncio's, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tulipa
from tulipa import _tulipa as native

from .loops import complete
from .test_lifetimes import Witness, growth

STOCK_LOOP: Any = asyncio.SelectorEventLoop
PY_TASK: Any = vars(asyncio.tasks)["_PyTask"]
C_TASK: Any = vars(asyncio.tasks)["_CTask"]


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

    complete(main())


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

    complete(main())


def test_an_exception_set_from_outside_reaches_the_waiting_code() -> None:
    async def main() -> None:
        event, task = await parked()
        task._fut_waiter.set_exception(LookupError("from outside"))
        with pytest.raises(LookupError, match=r"^from outside$"):
            await task
        assert not event._waiters

    complete(main())


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

    assert complete(main()) == ["first", "second"]


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

    results = complete(main(), loop, debug)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    assert results == [(0, "a"), (2, "b"), (3, "c")]


def test_a_primitive_stays_with_its_loop() -> None:
    lock = native.Lock()

    async def contend() -> None:
        await lock.acquire()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lock.acquire(), 1e-9)
        lock.release()

    complete(contend())
    with pytest.raises(
        RuntimeError, match=r"^<.*Lock object at 0x.* \[locked\]> is bound to a different event loop$"
    ):
        complete(contend())


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
        complete(main())
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

    assert complete(main(), Accelerated) == "slept"
    complete(native.sleep(1e-6), Counting)  # type: ignore[arg-type]
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

    complete(main())
