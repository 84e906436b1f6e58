"""Native operations as coroutines that are not CPython's, and what asks about coroutines and tasks."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

import tulipa
from tulipa import _tulipa as native

from .loops import complete
from .test_lifetimes import growth

STOCK_LOOP: Any = asyncio.SelectorEventLoop
PY_TASK: Any = vars(asyncio.tasks)["_PyTask"]
C_TASK: Any = vars(asyncio.tasks)["_CTask"]


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
    complete(native.sleep(0))  # type: ignore[arg-type]
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

    complete(main())


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

    assert complete(main()) == "slept"


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

    assert complete(main()) == 2


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

    assert complete(main()) == "notified"


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

    complete(main(), loop)
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

    complete(main())
