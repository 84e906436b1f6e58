"""Loops within loops, loops in threads, and who is the running loop."""

from __future__ import annotations

import asyncio
import threading

from ..log import Log
from .bad_arguments import nothing
from .scheduling import new_loop, turns


def case_nested_runs(log: Log) -> None:
    with new_loop() as other:
        coroutine = nothing()
        for label, nested in {
            "same loop, run_forever": lambda loop: loop.run_forever(),
            "other loop, run_forever": lambda loop: other.run_forever(),
            "same loop, run_until_complete": lambda loop: loop.run_until_complete(coroutine),
            "other loop, run_until_complete": lambda loop: other.run_until_complete(coroutine),
            "asyncio.run": lambda loop: asyncio.run(coroutine),
        }.items():
            # A loop for each: 3.13.0 forgets which one runs after a failed nested run.
            with new_loop() as loop:
                loop.call_soon(log.attempt, label, nested, loop)
                turns(loop)
        coroutine.close()


def case_running_loop(log: Log) -> None:
    log.attempt("outside", asyncio.get_running_loop)
    log(asyncio._get_running_loop())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        log(loop is asyncio.get_event_loop(), loop.is_running())
        seen: list[object] = []
        thread = threading.Thread(target=lambda: log.attempt("in a thread", asyncio.get_running_loop))
        thread.start()
        thread.join()
        log(seen)

    asyncio.run(main())
    log(asyncio._get_running_loop())


def case_callbacks_see_the_running_loop(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(lambda: log(asyncio.get_running_loop() is loop))
        loop.call_later(0, lambda: log(asyncio.get_running_loop() is loop))
        turns(loop)


def case_run_until_complete_of_a_stopped_loop(log: Log) -> None:
    async def stops() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with new_loop() as loop:
        task = loop.create_task(stops())
        log.attempt("stopped", loop.run_until_complete, task)
        log(task.done(), task._callbacks)
        loop.run_until_complete(task)
        log(task.done())


def case_root_task_has_asyncios_callback(log: Log) -> None:
    """anyio finds the task that run_until_complete runs by this very function."""

    async def main() -> None:
        callbacks = asyncio.current_task()._callbacks
        log(len(callbacks), callbacks[0][0] is asyncio.base_events._run_until_complete_cb)

    asyncio.run(main())


def case_run_until_complete_results(log: Log) -> None:
    async def value() -> int:
        return 42

    async def error() -> None:
        raise LookupError("here")

    with new_loop() as loop:
        log.attempt("coroutine", loop.run_until_complete, value())
        log.attempt("error", loop.run_until_complete, error())
        future = loop.create_future()
        future.set_result("done before")
        log.attempt("done future", loop.run_until_complete, future)
        task = loop.create_task(asyncio.sleep(10))
        loop.call_soon(task.cancel, "reason")
        log.attempt("cancelled", loop.run_until_complete, task)


def case_future_of_another_loop(log: Log) -> None:
    with new_loop() as loop, new_loop() as other:
        log.attempt("run_until_complete", loop.run_until_complete, other.create_future())

        async def waits() -> None:
            await other.create_future()

        log.attempt("await", loop.run_until_complete, waits())


def case_loop_in_a_thread(log: Log) -> None:
    with new_loop() as loop:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def work(value: int) -> int:
            await asyncio.sleep(0)
            if not value:
                raise ValueError("no value")
            return value * 2

        for value in (21, 0):
            log.attempt(str(value), asyncio.run_coroutine_threadsafe(work(value), loop).result, 10)
        pending = asyncio.run_coroutine_threadsafe(asyncio.sleep(1000), loop)
        log("cancelled", pending.cancel(), pending.cancelled())

        async def others_ended() -> None:
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(others_ended(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def case_several_loops_at_once(log: Log) -> None:
    def run(number: int) -> None:
        async def main() -> None:
            out = log.channel(f"thread {number}")
            tasks = [asyncio.create_task(asyncio.sleep(0, index)) for index in range(3)]
            out(await asyncio.gather(*tasks), len(asyncio.all_tasks()))

        asyncio.run(main())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log("joined")


def case_reprs_of_loops(log: Log) -> None:
    with new_loop() as loop:
        log(repr(loop))
        loop.call_soon(lambda: log(repr(loop)))
        turns(loop)
        loop.set_debug(True)
        log(repr(loop))
    log(repr(loop), isinstance(loop, asyncio.BaseEventLoop), isinstance(loop, asyncio.AbstractEventLoop))


def case_unclosed_loop(log: Log) -> None:
    import gc

    loop = asyncio.new_event_loop()
    turns(loop)
    del loop
    gc.collect()
    log("collected")


def case_loop_is_garbage_collected(log: Log) -> None:
    import gc
    import weakref

    loop = asyncio.new_event_loop()
    reference = weakref.ref(loop)
    loop.call_soon(lambda loop=loop: loop)
    loop.call_later(100, lambda loop=loop: loop)
    loop.set_exception_handler(lambda *_, loop=loop: loop)
    loop.close()
    del loop
    gc.collect()
    log("collected", reference() is None)
