"""Classes and objects of a program's own in the places of asyncio's: futures, contexts, and what they raise."""

from __future__ import annotations

import abc
import asyncio
import collections.abc
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..log import Log
from .scheduling import new_loop, turns

T = TypeVar("T")

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


class Takes(asyncio.Future[Any]):
    """Takes the message of its cancellation by position, under a name of its own."""

    def cancel(self, reason: Any = None) -> bool:  # type: ignore[override]
        return super().cancel(reason)


class Notes(asyncio.Future[Any]):
    """Notes how it is cancelled."""

    calls: list[Any]

    def cancel(self, *args: Any, **kwargs: Any) -> bool:
        self.calls = [args, kwargs]
        return super().cancel(*args, **kwargs)


class Forwards(asyncio.Future[Any]):
    """Hands the default context on, as wrappers do."""

    def add_done_callback(self, fn: Any, /, *, context: contextvars.Context | None = None) -> None:
        super().add_done_callback(fn, context=context)


async def waits_for(future: Any) -> Any:
    return await future


def case_a_task_cancels_what_it_awaits_by_position(log: Log) -> None:
    with new_loop() as loop:
        for make in (Takes, Notes):
            for message in ((), ("message",)):
                future = make(loop=loop)
                task = loop.create_task(waits_for(future))
                turns(loop, 2)
                log.attempt("cancel", task.cancel, *message)
                log(vars(future).get("calls"))
                turns(loop, 3)
                log(task.cancelled(), future.cancelled())


def case_gather_cancels_its_children_by_name(log: Log) -> None:
    async def main() -> None:
        children = [Notes(), asyncio.ensure_future(asyncio.sleep(0)), Notes()]
        outer = asyncio.gather(*children, return_exceptions=True)
        log(outer.cancel("message"))
        log([vars(child).get("calls") for child in (children[0], children[2])])
        await log.attempt_await("gather", outer)

    asyncio.run(main())


def case_wait_for_such_a_future(log: Log) -> None:
    async def main() -> None:
        await log.attempt_await("wait_for", asyncio.wait_for(Takes(), 0.001))
        async with asyncio.timeout(10):
            log(await asyncio.wait({Takes(), Notes()}, timeout=0.001) != ())

    asyncio.run(main())


def case_classes_of_futures_may_be_abstract(log: Log) -> None:
    class Abstract(asyncio.Future, abc.ABC):  # type: ignore[type-arg]
        @abc.abstractmethod
        def answer(self) -> int: ...

    class Whole(Abstract):
        def answer(self) -> int:
            return 1

    class Awaitable(collections.abc.Awaitable[T], asyncio.Future):  # type: ignore[type-arg]
        __await__ = asyncio.Future.__await__

    class Work(asyncio.Task, metaclass=abc.ABCMeta):  # type: ignore[type-arg]
        pass

    class Virtual:
        pass

    Abstract.register(Virtual)
    with new_loop() as loop:
        for make in (Whole, Awaitable):
            future: Any = make(loop=loop)
            future.set_result(2)
            log(
                make.__name__,
                isinstance(future, asyncio.Future),
                isinstance(future, Abstract),
                issubclass(make, asyncio.Future),
                issubclass(make, collections.abc.Awaitable),
                loop.run_until_complete(waits_for(future)),
            )
        task = Work(asyncio.sleep(0, 3), loop=loop)
        log(
            loop.run_until_complete(task), isinstance(task, (Whole, asyncio.Task)), isinstance(task, Abstract)
        )
        log(
            isinstance(Virtual(), Abstract), isinstance(Virtual(), Whole), issubclass(Virtual, asyncio.Future)
        )
        log(sorted(Abstract.__abstractmethods__), isinstance(5, asyncio.Future), isinstance(5, Whole))


def case_no_context_is_the_current_one(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for state in ("pending", "done"):
            for make in (loop.create_future, lambda: loop.create_task(asyncio.sleep(0)), Forwards):
                future: Any = make()
                if state == "done":
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    if not isinstance(future, asyncio.Task):
                        future.set_result(None)
                variable.set("added")
                future.add_done_callback(lambda future: log(variable.get()), context=None)
                variable.set("completed")
                if state == "pending" and not isinstance(future, asyncio.Task):
                    future.set_result(None)
                variable.set("later")
                await future
                await asyncio.sleep(0)
        await asyncio.gather(asyncio.sleep(0), asyncio.ensure_future(waits_for(done(Forwards()))))

    def done(future: Any) -> Any:
        asyncio.get_running_loop().call_soon(future.set_result, None)
        return future

    asyncio.run(main())


class Runs:
    """Anything with a `run` is a context to a callback."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def run(self, function: Callable[..., object], *args: object) -> object:
        self.log("run", args)
        return function(*args)


def case_done_callbacks_run_in_anything_that_runs(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)

        def fails(future: Any) -> None:
            raise LookupError("callback")

        for context in (Runs(log), 5, "text"):
            for function in (lambda future: log("called", future.result()), fails):
                future: Any = loop.create_future()
                future.add_done_callback(function, context=context)
                future.set_result(1)
                turns(loop, 2)


def case_handles_run_in_anything_that_runs(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)

        def fails(*args: object) -> None:
            raise LookupError("callback")

        for context in (Runs(log), 5, "text"):
            for function in (log, fails):
                kept = [
                    loop.call_soon(function, "kept", context=context),
                    loop.call_later(0, function, "later", 2, context=context),
                ]
                loop.call_soon(function, "dropped", 1, context=context)
                loop.call_soon_threadsafe(function, context=context)
                turns(loop, 3)
                log(len(kept))
        for number in range(300):
            loop.call_soon(
                log if number == 250 else int, number, context=Runs(log) if number == 250 else None
            )
        turns(loop, 1)


def case_a_stop_iteration_is_no_result(log: Log) -> None:
    async def main() -> None:
        async def attempt(label: str, awaitable: Any) -> None:
            try:
                log(label, "returned", await awaitable)
            except BaseException as error:
                log(label, error, error.__cause__, error.__context__)

        def stops(*_: object) -> Any:
            raise StopIteration("value")

        class Stops(asyncio.Queue[int]):
            _get = stops

        class Releases(asyncio.Lock):
            release = stops

        async def locked() -> None:
            async with Releases():
                pass

        condition = asyncio.Condition()
        async with condition:
            await attempt("wait_for", condition.wait_for(stops))
        queue = Stops()
        queue.put_nowait(1)
        await attempt("get", queue.get())
        await attempt("lock", locked())
        reader = asyncio.StreamReader()
        reader.set_exception(StopIteration("reader"))  # type: ignore[arg-type]
        for name, awaitable in reads(reader):
            await attempt(name, awaitable)
        log.attempt("throw", asyncio.Event().wait().throw, StopIteration("thrown"))

    asyncio.run(main())


def reads(reader: asyncio.StreamReader) -> Iterator[tuple[str, Any]]:
    yield "read", reader.read(1)
    yield "readline", reader.readline()
    yield "readexactly", reader.readexactly(1)
    yield "readuntil", reader.readuntil(b"x")


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def case_another_current_task_after_a_step(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)
        other: Any = loop.create_task(forever())

        async def swaps() -> None:
            task: Any = asyncio.current_task()
            asyncio.tasks._leave_task(loop, task)
            asyncio.tasks._enter_task(loop, other)
            await asyncio.sleep(0)
            log("not reached")

        task = loop.create_task(swaps())
        loop.call_soon(log, "the loop goes on")
        log.attempt("turns", turns, loop, 4)
        asyncio.tasks._leave_task(loop, other)
        log(asyncio.current_task(loop), task.done())
        task._log_destroy_pending = other._log_destroy_pending = False
