"""Task: names, reprs, stacks, what a coroutine may yield, and the errors of misuse."""

from __future__ import annotations

import asyncio
import contextvars
import io
import types
from collections.abc import Generator
from typing import Any

from ..log import Log
from .bad_arguments import nothing
from .scheduling import new_loop, print_nothing, turns


async def sleeper() -> None:
    """A coroutine at module level, so that its name is short."""
    await asyncio.sleep(100)


async def finish(*tasks: asyncio.Task[Any]) -> None:
    """Cancel and await."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def case_names(log: Log) -> None:
    async def main() -> None:
        first, second = asyncio.create_task(nothing()), asyncio.create_task(nothing())
        # Numbered process-wide, so one after the other.
        numbers = [int(task.get_name().removeprefix("Task-")) for task in (first, second)]
        log(numbers[1] - numbers[0])
        named = asyncio.create_task(nothing(), name="mine")
        log(named.get_name())
        named.set_name("other")
        log(named.get_name())
        for odd in (42, None, ["list"]):
            named.set_name(odd)
            log(named.get_name())
            task = asyncio.create_task(nothing(), name=odd)
            if odd is not None:
                log(task.get_name())
            await task
        await asyncio.gather(first, second, named)

    asyncio.run(main())


def case_numbers_of_tasks_behind_such_with_names(log: Log) -> None:
    """Older releases name a task only when it has taken a number."""

    def number(task: asyncio.Task[Any]) -> int:
        return int(task.get_name().removeprefix("Task-"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for make in (asyncio.create_task, loop.create_task, group.create_task):
                before = make(nothing())
                log(make(nothing(), name="named").get_name(), make(nothing(), name=None) is not None)
                log(number(make(nothing())) - number(before))
        await asyncio.sleep(0)

    asyncio.run(main())


def case_reprs(log: Log) -> None:
    async def main() -> None:
        task = asyncio.create_task(sleeper(), name="the task")
        log(repr(task))
        await asyncio.sleep(0)
        log(repr(task))
        task.add_done_callback(print_nothing)
        log(repr(task))
        task.cancel()
        log(repr(task))
        await asyncio.gather(task, return_exceptions=True)
        log(repr(task))
        done = asyncio.create_task(nothing(), name="done")
        await done
        log(repr(done))
        log(repr(asyncio.current_task()).replace(str(asyncio.current_task().get_name()), "NAME"))

    asyncio.run(main())


def case_repr_of_a_task_that_waits_for_a_task(log: Log) -> None:
    async def outer(task: asyncio.Task[None]) -> None:
        await task

    async def main() -> None:
        inner = asyncio.create_task(sleeper(), name="inner")
        task = asyncio.create_task(outer(inner), name="outer")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log(repr(task), repr(inner), repr(task._fut_waiter))
        await finish(task)

    asyncio.run(main())


def case_stacks(log: Log) -> None:
    async def middle() -> None:
        await sleeper()

    async def main() -> None:
        task = asyncio.create_task(middle(), name="stacked")
        await asyncio.sleep(0)
        for limit in (None, 1, 0):
            log([frame.f_code.co_name for frame in task.get_stack(limit=limit)])
            out = io.StringIO()
            task.print_stack(limit=limit, file=out)
            log(out.getvalue().splitlines())
        await finish(task)
        log(task.get_stack())
        out = io.StringIO()
        task.print_stack(file=out)
        log(out.getvalue())

        async def fails() -> None:
            raise LookupError("for the stack")

        failed = asyncio.create_task(fails(), name="failed")
        await asyncio.gather(failed, return_exceptions=True)
        log([frame.f_code.co_name for frame in failed.get_stack()])
        out = io.StringIO()
        failed.print_stack(file=out)
        log(out.getvalue().splitlines())

    asyncio.run(main())


def case_introspection(log: Log) -> None:
    async def main() -> None:
        coroutine = sleeper()
        task: Any = asyncio.create_task(coroutine)
        log(
            task.get_coro() is coroutine,
            task._coro is coroutine,
            task._fut_waiter,
            task._must_cancel,
            task.cancelling(),
        )
        await asyncio.sleep(0)
        waiter = task._fut_waiter
        log(waiter.__class__.__name__, isinstance(waiter, asyncio.Future), waiter.done())
        log(task._log_destroy_pending)
        task._log_destroy_pending = False
        log(task._log_destroy_pending)
        for name in ("_fut_waiter", "_must_cancel", "_coro"):
            try:
                setattr(task, name, None)
                log(name, "settable")
            except AttributeError:
                log(name, "read-only")
        log(isinstance(task, asyncio.Task), isinstance(task, asyncio.Future), asyncio.isfuture(task))
        log.attempt("set_result", task.set_result, 1)
        log.attempt("set_exception", task.set_exception, ValueError())
        await finish(task)
        log(task._fut_waiter)
        if hasattr(task, "get_context"):
            log(type(task.get_context()).__name__)

    asyncio.run(main())


def case_current_and_all_tasks(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        tasks = [asyncio.create_task(sleeper()) for _ in range(3)]
        log(
            len(asyncio.all_tasks()),
            asyncio.all_tasks() == {me, *tasks},
            asyncio.all_tasks(loop) == asyncio.all_tasks(),
        )
        loop.call_soon(lambda: log("in a callback", asyncio.current_task()))
        await finish(*tasks)
        log(asyncio.all_tasks() == {me}, asyncio.current_task() is me, asyncio.current_task(loop) is me)

    asyncio.run(main())
    log.attempt("no loop", asyncio.current_task)
    log.attempt("no loop", asyncio.all_tasks)


@types.coroutine
def generator_coroutine(log: Log, yielded: Any) -> Generator[Any, Any, str]:
    """The old style, still awaitable."""
    got = yield yielded
    log("sent", got)
    return "returned"


def case_generator_coroutines(log: Log) -> None:
    async def main() -> None:
        log(await generator_coroutine(log, None))
        task: Any = asyncio.ensure_future(generator_coroutine(log, None))
        log(await task)
        direct: Any = generator_coroutine(log, None)
        log.attempt("create_task", lambda: asyncio.create_task(direct) and None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())


def case_bad_yields(log: Log) -> None:
    @types.coroutine
    def yields(value: Any) -> Generator[Any, Any, None]:
        yield value

    async def awaiting(value: Any) -> None:
        await yields(value)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        generator = (number for number in range(2))
        for value in (42, "text", [], object, generator, future):
            await log.attempt_await(type(value).__name__, asyncio.create_task(awaiting(value), name="bad"))
        other = asyncio.new_event_loop()
        foreign = other.create_future()
        foreign._asyncio_future_blocking = True
        await log.attempt_await("other loop", asyncio.create_task(awaiting(foreign), name="bad"))
        other.close()

    asyncio.run(main())


def case_task_that_awaits_itself(log: Log) -> None:
    async def main() -> None:
        async def selfish() -> None:
            await task

        task: asyncio.Task[None] = asyncio.create_task(selfish(), name="selfish")
        await log.attempt_await("self", task)

    asyncio.run(main())


def case_future_of_another_loop(log: Log) -> None:
    async def waits(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        other = asyncio.new_event_loop()
        task = asyncio.create_task(waits(other.create_future()), name="lost")
        await log.attempt_await("await", task)
        other.close()

    asyncio.run(main())


class ForeignFuture:
    """The least that asyncio's protocol for futures asks for."""

    _asyncio_future_blocking = False

    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log, self._loop = log, loop
        self._callback: Any = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Any, *, context: contextvars.Context) -> None:
        self._log(
            "add_done_callback", callable(callback), type(context).__name__, self._asyncio_future_blocking
        )
        self._callback = callback

    def cancel(self, msg: Any = None) -> bool:
        self._log("cancel", msg)
        return False

    def result(self) -> str:
        self._log("result")
        return "of the foreigner"

    def finish(self) -> None:
        self._callback(self)

    def __await__(self) -> Generator[Any, None, str]:
        self._asyncio_future_blocking = True
        yield self
        return "from the iterator"


def case_foreign_future(log: Log) -> None:
    async def waits(future: ForeignFuture) -> str:
        return await future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = ForeignFuture(log, loop)
        task = asyncio.create_task(waits(future))
        await asyncio.sleep(0)
        log(asyncio.isfuture(future), task._fut_waiter is future, future._asyncio_future_blocking)
        log(task.cancel("please"), task._must_cancel)
        task.uncancel()
        loop.call_soon(future.finish)
        await log.attempt_await("task", task)

    asyncio.run(main())


def case_stock_and_python_futures(log: Log) -> None:
    """Futures and tasks of every make on one loop."""
    futures: Any = asyncio.futures
    tasks: Any = asyncio.tasks

    async def waits(future: Any) -> Any:
        return await future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for future_class in (futures._CFuture, futures._PyFuture, futures.Future):
            for task_class in (tasks._CTask, tasks._PyTask, tasks.Task):
                future = future_class(loop=loop)
                task = task_class(waits(future), loop=loop)
                loop.call_soon(future.set_result, "value")
                log(await task)
                failing = future_class(loop=loop)
                task = task_class(waits(failing), loop=loop)
                await asyncio.sleep(0)
                task.cancel("stop")
                await log.attempt_await("cancelled", task)
                log(failing.cancelled())

    asyncio.run(main())


def case_step_on_a_done_task(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        log.watch(loop)
        task: Any = asyncio.create_task(sleeper(), name="twice")
        await asyncio.sleep(0)
        asyncio.Future.set_result(task, "forced")
        await asyncio.sleep(0)
        waiter = task._fut_waiter
        waiter.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log(task.done(), task.result())

    asyncio.run(main())


def case_constructor(log: Log) -> None:
    make: Any = asyncio.Task

    async def main() -> None:
        for wrong in (42, None, sleeper):
            log.attempt(type(wrong).__name__, make, wrong)
        coroutine = nothing()
        log.attempt("positional loop", make, coroutine, asyncio.get_running_loop())
        log.attempt("unknown keyword", make, coroutine, colour=1)
        task = make(coroutine, name="direct", context=contextvars.copy_context())
        log(task, await task)

    asyncio.run(main())
    log.attempt("nothing", make)


def case_results_and_errors(log: Log) -> None:
    async def raises(error: BaseException) -> None:
        raise error

    async def returns(value: object) -> object:
        return value

    async def main() -> None:
        for error in (ValueError("x"), OSError(5, "io"), asyncio.CancelledError("own"), StopAsyncIteration()):
            task = asyncio.create_task(raises(error))
            await log.attempt_await(type(error).__name__, task)
            log(task.cancelled(), task._state)
        for value in (None, (1,), StopIteration(2)):
            log(type(await asyncio.create_task(returns(value))).__name__)
        task = asyncio.create_task(raises(StopIteration(3)))
        await log.attempt_await("StopIteration", task)

    asyncio.run(main())


def case_generator_exit(log: Log) -> None:
    async def exits() -> None:
        raise GeneratorExit("left")

    async def main() -> None:
        task = asyncio.create_task(exits())
        await asyncio.wait([task])
        log(task.done(), task.cancelled(), task.exception())

    asyncio.run(main())


def case_never_retrieved_and_destroyed(log: Log) -> None:
    import gc

    async def fails() -> None:
        raise LookupError("nobody looks")

    async def waits_for_nothing(future: asyncio.Future[None]) -> None:
        await future

    with new_loop() as loop:
        log.watch(loop)
        failing = loop.create_task(fails(), name="failing")
        turns(loop)
        del failing
        gc.collect()
        lost = loop.create_task(waits_for_nothing(loop.create_future()), name="lost")
        turns(loop)
        del lost
        gc.collect()
        log("collected")


def case_subclass(log: Log) -> None:
    class Mine(asyncio.Task):
        def cancel(self, msg: Any = None) -> bool:
            log("cancel", msg)
            return super().cancel(msg)

        def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
            log("add_done_callback", sorted(kwargs))
            super().add_done_callback(*args, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **kwargs: Mine(coro, loop=loop, **kwargs))
        task = asyncio.create_task(sleeper(), name="sub")
        log(isinstance(task, asyncio.Task), repr(task))
        await asyncio.sleep(0)
        task.cancel("m")
        await log.attempt_await("task", task)

    asyncio.run(main())


def case_weak_references_and_attributes(log: Log) -> None:
    import gc
    import weakref

    async def main() -> None:
        task: Any = asyncio.create_task(nothing())
        reference = weakref.ref(task)
        task.label = "attribute"
        log(reference() is task, task.label)
        await task
        del task
        gc.collect()
        log(reference() is None)

    asyncio.run(main())


def case_cycle_through_a_task_is_collected(log: Log) -> None:
    import gc
    import weakref

    class Payload:
        pass

    async def holds(payload: Payload) -> Payload:
        return payload

    async def main() -> None:
        payload: Any = Payload()
        reference = weakref.ref(payload)
        payload.task = asyncio.create_task(holds(payload))
        await payload.task
        del payload
        # One turn later nothing of the wake-up is left on the stack.
        await asyncio.sleep(0)
        gc.collect()
        log("collected", reference() is None)

    asyncio.run(main())


def case_coroutine_like_objects(log: Log) -> None:
    from collections.abc import Coroutine

    class Like(Coroutine[Any, Any, str]):
        def __init__(self) -> None:
            self.steps = 0

        def send(self, value: Any) -> Any:
            self.steps += 1
            log("send", value)
            if self.steps == 3:
                raise StopIteration("end")

        def throw(self, *args: Any) -> Any:
            log("throw", args)
            raise args[0]

        def close(self) -> None:
            log("close")

        def __await__(self) -> Any:
            return self

    async def main() -> None:
        log(await asyncio.create_task(Like()))
        task = asyncio.create_task(Like())
        await asyncio.sleep(0)
        task.cancel("like")
        await log.attempt_await("cancelled", task)

    asyncio.run(main())
