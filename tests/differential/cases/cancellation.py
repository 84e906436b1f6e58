"""Cancelling tasks in every state they can be in."""

from __future__ import annotations

import asyncio
from typing import Any

from ..log import Log


def case_messages(log: Log) -> None:
    async def victim() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            log("inside", error.args, error)
            raise

    async def main() -> None:
        for arguments in ((), ("reason",), (None,), (42,)):
            task = asyncio.create_task(victim())
            await asyncio.sleep(0)
            log(task.cancel(*arguments), task.cancelled(), task.cancelling())
            try:
                await task
            except asyncio.CancelledError as error:
                log("outside", error.args)
            log(task.cancelled(), task._cancel_message)
            log.attempt("result", task.result)
            log.attempt("exception", task.exception)

    asyncio.run(main())


def case_before_the_first_step(log: Log) -> None:
    async def victim() -> None:
        log("must not run")

    async def main() -> None:
        task = asyncio.create_task(victim())
        log(task.cancel("too early"), task._must_cancel)
        await log.attempt_await("await", task)
        log(task)

    asyncio.run(main())


def case_swallowed(log: Log) -> None:
    async def stubborn() -> str:
        for attempt in range(2):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                log("swallowed", attempt, asyncio.current_task().cancelling())
        return "finished"

    async def main() -> None:
        task = asyncio.create_task(stubborn())
        for _ in range(2):
            await asyncio.sleep(0)
            log(task.cancel())
        await log.attempt_await("stubborn", task)
        log(task.cancelled(), task.cancelling(), task.cancel())

    asyncio.run(main())


def case_replaced_by_another_error(log: Log) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise LookupError("while cancelled")

    async def main() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        task.cancel()
        await log.attempt_await("await", task)

    asyncio.run(main())


def case_uncancel(log: Log) -> None:
    async def main() -> None:
        task: Any = asyncio.current_task()
        log(task.cancelling(), task.uncancel())
        for _ in range(3):
            task.cancel()
        log(task.cancelling(), task._must_cancel)
        for _ in range(4):
            log(task.uncancel())
        log(task._must_cancel)
        await log.attempt_await("sleep", asyncio.sleep(0))
        await log.attempt_await("another sleep", asyncio.sleep(0))

    asyncio.run(main())


def case_returning_with_a_cancel_pending(log: Log) -> None:
    async def returns() -> str:
        asyncio.current_task().cancel("from within")
        return "returned"

    async def raises() -> None:
        asyncio.current_task().cancel()
        raise LookupError("raised")

    async def main() -> None:
        for function in (returns, raises):
            task = asyncio.create_task(function())
            await log.attempt_await(function.__name__, task)
            log(task.cancelled(), task.cancelling())

    asyncio.run(main())


def case_cancel_of_the_awaited(log: Log) -> None:
    async def inner() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log("inner cancelled")
            raise

    async def outer(task: asyncio.Task[None]) -> None:
        try:
            await task
        except asyncio.CancelledError as error:
            log("outer", error.args, asyncio.current_task().cancelling())

    async def main() -> None:
        child = asyncio.create_task(inner())
        parent = asyncio.create_task(outer(child))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        parent.cancel("down the chain")
        await log.attempt_await("parent", parent)
        log(child.cancelled(), parent.cancelled())

    asyncio.run(main())


def case_cancel_then_result_in_the_same_turn(log: Log) -> None:
    async def waits(future: asyncio.Future[str]) -> str:
        return await future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for cancel_first in (True, False):
            future = loop.create_future()
            task = asyncio.create_task(waits(future))
            await asyncio.sleep(0)
            if cancel_first:
                log(task.cancel())
                log.attempt("set_result", future.set_result, "x")
            else:
                future.set_result("x")
                log(task.cancel())
            await log.attempt_await(f"cancel first: {cancel_first}", task)

    asyncio.run(main())


def case_of_a_future_from_a_done_callback(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        first.add_done_callback(lambda _: log("cancel second", second.cancel("by callback")))
        second.add_done_callback(lambda future: log("second done", future.cancelled()))
        first.set_result(None)
        await log.attempt_await("second", second)

    asyncio.run(main())


def case_of_a_task_from_a_done_callback(log: Log) -> None:
    async def main() -> None:
        sleeping = asyncio.create_task(asyncio.sleep(100))
        trigger = asyncio.create_task(asyncio.sleep(0))
        trigger.add_done_callback(lambda _: log("cancel", sleeping.cancel()))
        await log.attempt_await("sleeping", sleeping)

    asyncio.run(main())


def case_of_a_task_by_itself(log: Log) -> None:
    async def suicidal() -> None:
        asyncio.current_task().cancel("myself")
        log("still here")
        await asyncio.sleep(0)
        log("not reached")

    async def main() -> None:
        await log.attempt_await("task", asyncio.create_task(suicidal()))

    asyncio.run(main())


def case_of_done_things(log: Log) -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(0, "done"))
        await task
        log(task.cancel(), task.cancelled(), task.cancelling(), task.result())
        future = asyncio.get_running_loop().create_future()
        log(future.cancel(), future.cancel(), future.cancelled())
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(LookupError())
        log(failed.cancel(), failed.cancelled())

    asyncio.run(main())


def case_same_error_only_once(log: Log) -> None:
    """The CancelledError that left the coroutine is handed out once; later readers get new ones."""

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel("message")
        errors = []
        for _ in range(3):
            try:
                await task
            except asyncio.CancelledError as error:
                errors.append(error)
        log([error.args for error in errors], errors[0] is errors[1], errors[1] is errors[2])
        log(errors[0].__context__, errors[1].__context__)

    asyncio.run(main())


def case_during_gather(log: Log) -> None:
    async def worker(number: int) -> int:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log("worker", number)
            raise
        return number

    async def main() -> None:
        for return_exceptions in (False, True):
            gathered = asyncio.gather(
                *(worker(number) for number in range(3)), return_exceptions=return_exceptions
            )
            await asyncio.sleep(0)
            log(gathered.cancel("all"), gathered.cancelled())
            await log.attempt_await("gather", gathered)

    asyncio.run(main())


def case_during_shield(log: Log) -> None:
    async def main() -> None:
        inner = asyncio.create_task(asyncio.sleep(0.01, "inner result"))
        outer = asyncio.create_task(_await(asyncio.shield(inner)))
        await asyncio.sleep(0)
        outer.cancel()
        await log.attempt_await("outer", outer)
        await log.attempt_await("inner", inner)

    asyncio.run(main())


async def _await(awaitable: Any) -> Any:
    return await awaitable


def case_during_wait_for_and_timeout(log: Log) -> None:
    async def main() -> None:
        await log.attempt_await("wait_for", asyncio.wait_for(asyncio.sleep(100), 0.001))
        await log.attempt_await("wait_for, at once", asyncio.wait_for(asyncio.sleep(100), 0))
        await log.attempt_await("wait_for, no timeout", asyncio.wait_for(asyncio.sleep(0, 1), None))
        task = asyncio.create_task(asyncio.wait_for(asyncio.sleep(100), 100))
        await asyncio.sleep(0)
        task.cancel("from outside")
        await log.attempt_await("cancelled wait_for", task)
        try:
            async with asyncio.timeout(0.001) as scope:
                await asyncio.sleep(100)
        except TimeoutError as error:
            log(error, scope.expired(), asyncio.current_task().cancelling())
        async with asyncio.timeout(None) as scope:
            scope.reschedule(asyncio.get_running_loop().time() + 100)
        log(scope.expired())

    asyncio.run(main())


def case_during_a_task_group(log: Log) -> None:
    async def worker(number: int) -> None:
        try:
            if number == 1:
                raise LookupError(number)
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            # The group keeps its tasks in a set: in which order it cancels them is not defined.
            log.channel(f"worker {number}")("cancelled")
            raise

    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(worker(number))
                await asyncio.sleep(100)
        except BaseException as error:
            log("group", error, asyncio.current_task().cancelling())

    asyncio.run(main())


def case_awaiting_in_finally(log: Log) -> None:
    async def careful() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            log("cleaning up")
            await asyncio.sleep(0)
            log("cleaned up")

    async def main() -> None:
        task = asyncio.create_task(careful())
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        await log.attempt_await("careful", task)

    asyncio.run(main())
