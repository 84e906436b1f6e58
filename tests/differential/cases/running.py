"""asyncio.run and Runner: what they create, cancel, report and restore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ..log import Log, since
from .bad_arguments import nothing


def case_results(log: Log) -> None:
    async def value() -> int:
        return 42

    async def error() -> None:
        raise LookupError("from main")

    async def cancelled() -> None:
        raise asyncio.CancelledError("from main")

    for function in (value, error, cancelled):
        log.attempt(function.__name__, asyncio.run, function())


def case_wrong_arguments(log: Log) -> None:
    run: Any = asyncio.run
    for wrong in (42, None, nothing, asyncio.Runner):
        log.attempt(type(wrong).__name__, run, wrong)
    with asyncio.Runner() as runner:
        log.attempt("runner", runner.run, 42)


@since(3, 14)
def case_awaitables(log: Log) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    run: Any = asyncio.run
    log.attempt("awaitable", run, Awaitable())


def case_remaining_tasks(log: Log) -> None:
    async def bystander(name: str, how: str) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log.channel(name)("cancelled")
            if how == "raises":
                raise LookupError("while being cancelled") from None
            if how == "goes on":
                await asyncio.sleep(0)
                log.channel(name)("went on")
                return
            raise

    async def main() -> str:
        tasks = [asyncio.create_task(bystander(how, how), name=how) for how in ("ends", "raises", "goes on")]
        await asyncio.sleep(0)
        log(len(tasks))
        return "main ends first"

    log.attempt("run", asyncio.run, main())


def case_runner(log: Log) -> None:
    runner = asyncio.Runner()
    loop = runner.get_loop()
    log(loop is runner.get_loop(), loop.is_running(), loop.get_debug())

    async def same() -> bool:
        return asyncio.get_running_loop() is loop

    log(runner.run(same()), runner.run(same()))
    runner.close()
    runner.close()
    log(loop.is_closed())
    log.attempt("get_loop", runner.get_loop)
    coroutine = nothing()
    log.attempt("run", runner.run, coroutine)
    coroutine.close()
    log.attempt("enter", runner.__enter__)


def case_runner_settings(log: Log) -> None:
    made = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    with asyncio.Runner(debug=True, loop_factory=factory) as runner:
        log(runner.get_loop() is made[0], runner.get_loop().get_debug(), len(made))
    log(made[0].is_closed())


def case_runner_inside_a_running_loop(log: Log) -> None:
    async def main() -> None:
        with asyncio.Runner() as runner:
            coroutine = nothing()
            log.attempt("run", runner.run, coroutine)
            coroutine.close()

    asyncio.run(main())


def case_event_loop_is_set_and_unset(log: Log) -> None:
    async def main() -> None:
        log(asyncio.get_event_loop() is asyncio.get_running_loop())

    asyncio.run(main())
    log.attempt("afterwards", asyncio.get_event_loop)


async def generator(log: Log, name: str) -> AsyncIterator[int]:
    """Records when it is closed, which takes a turn of the loop."""
    try:
        for number in range(3):
            yield number
    finally:
        log(name, "closing")
        await asyncio.sleep(0)
        log(name, "closed")


def case_async_generators_are_shut_down(log: Log) -> None:
    async def main() -> None:
        kept = generator(log, "kept")
        log(await anext(kept))
        holder.append(kept)

    holder: list[Any] = []
    asyncio.run(main())
    log("run returned")


def case_async_generator_left_by_break(log: Log) -> None:
    import gc

    async def main() -> None:
        async for number in generator(log, "broken off"):
            log(number)
            break
        gc.collect()
        for _ in range(4):
            await asyncio.sleep(0)
        log("main ends")

    asyncio.run(main())


def case_async_generator_that_fails_to_close(log: Log) -> None:
    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise LookupError("while closing")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log(
                sorted(context), context["message"].partition(" <")[0], context["exception"]
            )
        )
        kept = stubborn()
        await anext(kept)
        holder.append(kept)

    holder: list[Any] = []
    asyncio.run(main())


def case_async_generator_first_used_after_shutdown(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.shutdown_asyncgens()
        late = generator(log, "late")
        log(await anext(late))
        await late.aclose()

    asyncio.run(main())


def case_async_generator_hooks_are_restored(log: Log) -> None:
    import sys

    before = sys.get_asyncgen_hooks()

    async def main() -> None:
        log(sys.get_asyncgen_hooks().firstiter is not None, sys.get_asyncgen_hooks().finalizer is not None)

    asyncio.run(main())
    log(sys.get_asyncgen_hooks() == before)


def case_loop_made_and_closed_many_times(log: Log) -> None:
    import os

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    asyncio.run(nothing())
    before = descriptors()
    for _ in range(20):
        asyncio.run(nothing())
    log("descriptors left open", descriptors() - before)
