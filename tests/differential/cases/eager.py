"""Eager tasks: they run at once, up to their first wait (Python 3.12 and later)."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from ..log import Log, since

aio: Any = asyncio
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def step(log: Log, name: str, value: Any = None) -> Any:
    """One eager step, one suspension, one ordinary step."""
    log(name, "first step", asyncio.current_task().get_name() == name)
    await asyncio.sleep(0)
    log(name, "second step")
    return value


@since(3, 12)
def case_order(log: Log) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        log("before")
        task = asyncio.create_task(step(log, "a", 1), name="a")
        log("created", task.done())
        log(await task)

    asyncio.run(main())


@since(3, 12)
def case_done_without_suspension(log: Log) -> None:
    async def immediate() -> str:
        return "at once"

    async def fails() -> None:
        raise LookupError("at once")

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        task = asyncio.create_task(immediate())
        log(task.done(), task.result())
        log(task in asyncio.all_tasks(), task._callbacks)
        failed = asyncio.create_task(fails())
        log(failed.done(), failed.exception())
        log(await asyncio.gather(*(immediate() for _ in range(3))))

    asyncio.run(main())


@since(3, 13)  # 3.12.1 crashes here
def case_coroutine_of_a_task_that_was_done_at_once(log: Log) -> None:
    async def immediate() -> str:
        return "at once"

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        task = asyncio.create_task(immediate(), name="immediate")
        log(task.get_coro(), repr(task))

    asyncio.run(main())


@since(3, 12)
def case_current_task_is_swapped_and_restored(log: Log) -> None:
    async def inner() -> None:
        log("inner", asyncio.current_task().get_name())

    async def middle() -> None:
        log("middle", asyncio.current_task().get_name())
        await asyncio.create_task(inner(), name="inner")
        log("middle again", asyncio.current_task().get_name())

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        asyncio.current_task().set_name("main")
        await asyncio.create_task(middle(), name="middle")
        log(asyncio.current_task().get_name(), len(asyncio.all_tasks()))

    asyncio.run(main())


@since(3, 12)
def case_contexts(log: Log) -> None:
    async def sets() -> None:
        log(variable.get())
        variable.set("inside")
        await asyncio.sleep(0)
        log(variable.get())

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        variable.set("outside")
        task = asyncio.create_task(sets())
        log("after the eager step", variable.get())
        await task
        given = contextvars.copy_context()
        await asyncio.create_task(sets(), context=given)
        log(variable.get(), given[variable])

    asyncio.run(main())


@since(3, 12)
def case_cancel_during_and_after_the_eager_step(log: Log) -> None:
    async def suicidal() -> None:
        asyncio.current_task().cancel("within")
        log("still here")

    async def waits() -> None:
        await asyncio.sleep(100)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        await log.attempt_await("within", asyncio.create_task(suicidal()))
        task = asyncio.create_task(waits())
        log(task.cancel("after"))
        await log.attempt_await("after", task)

    asyncio.run(main())


@since(3, 12)
def case_constructor(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = aio.Task(step(log, "direct", 5), loop=loop, name="direct", eager_start=True)
        log(task.done(), await task)
        lazy = aio.Task(step(log, "lazy"), loop=loop, name="lazy", eager_start=False)
        log("nothing yet")
        await lazy

    asyncio.run(main())
    with asyncio.Runner() as runner:
        coroutine = step(log, "idle")
        # Whether a loop that does not run refuses or waits is the version's business; it must be the same.
        made = log.attempt(
            "idle loop",
            lambda: aio.Task(coroutine, loop=runner.get_loop(), name="idle", eager_start=True) and None,
        )
        log(made)
        runner.run(asyncio.sleep(0))
        coroutine.close()


@since(3, 12)
def case_own_eager_factory(log: Log) -> None:
    async def main() -> None:
        class Mine(asyncio.Task):
            pass

        factory = aio.create_eager_task_factory(Mine)
        asyncio.get_running_loop().set_task_factory(factory)
        task = asyncio.create_task(step(log, "mine", 3), name="mine")
        log(type(task) is Mine, await task)

    asyncio.run(main())


@since(3, 12)
def case_exceptions_that_leave_the_loop(log: Log) -> None:
    async def exits() -> None:
        raise SystemExit(3)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(aio.eager_task_factory)
        log.attempt("create", lambda: asyncio.create_task(exits()) and None)
        await asyncio.sleep(0)
        log("after")

    log.attempt("run", asyncio.run, main())


@since(3, 14)
def case_create_task_keyword(log: Log) -> None:
    async def main() -> None:
        create: Any = asyncio.get_running_loop().create_task
        log(await create(step(log, "eager", 1), name="eager", eager_start=True))
        task = create(step(log, "lazy", 2), name="lazy", eager_start=False)
        log("nothing yet")
        log(await task)

    asyncio.run(main())
