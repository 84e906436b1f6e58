"""Debug mode: wrong threads, slow callbacks, where things were created."""

from __future__ import annotations

import asyncio
import threading
import time

from ..log import Log
from .bad_arguments import nothing
from .scheduling import new_loop, print_nothing, turns


def case_calls_from_the_wrong_thread(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        future = loop.create_future()

        def in_thread() -> None:
            log.attempt("call_soon", lambda: loop.call_soon(print_nothing) and None)
            log.attempt("call_later", lambda: loop.call_later(1, print_nothing) and None)
            log.attempt("call_at", lambda: loop.call_at(1, print_nothing) and None)
            log.attempt("threadsafe", lambda: loop.call_soon_threadsafe(print_nothing) and None)
            log.attempt("future without callbacks", future.set_result, 1)
            coroutine = nothing()
            log.attempt("create_task", lambda: loop.create_task(coroutine) and None)
            coroutine.close()

        await asyncio.to_thread(in_thread)

    asyncio.run(main())


def case_wrong_thread_is_not_checked_without_debug(log: Log) -> None:
    with new_loop() as loop:
        thread = threading.Thread(
            target=lambda: log.attempt("call_soon", lambda: loop.call_soon(log, "ran") and None)
        )
        thread.start()
        thread.join()
        turns(loop)


def case_slow_callbacks_are_logged(log: Log) -> None:
    def slow() -> None:
        time.sleep(0.02)

    async def slow_task() -> None:
        time.sleep(0.02)

    with new_loop() as loop:
        loop.set_debug(True)
        log(loop.slow_callback_duration)
        loop.slow_callback_duration = 0.01
        loop.call_soon(slow)
        turns(loop)
        task = loop.create_task(slow_task(), name="slow")
        loop.run_until_complete(task)
        log("done")


def case_source_tracebacks(log: Log) -> None:
    with new_loop() as loop:
        loop.set_debug(True)
        handle = loop.call_soon(print_nothing)
        future = loop.create_future()
        task = loop.create_task(nothing(), name="traced")
        for traced in (handle, future, task):
            frames = traced._source_traceback
            # A stock future's last frame is the loop's own `create_future`, so look for the case's, not for the last.
            log(type(frames).__name__, [frame.name for frame in frames if frame.filename == __file__][-1:])
        log(repr(task), repr(handle))
        loop.run_until_complete(task)
        loop.set_debug(False)
        log(loop.create_future()._source_traceback, loop.call_soon(print_nothing)._source_traceback)


def case_run_with_debug(log: Log) -> None:
    async def main() -> None:
        log(asyncio.get_running_loop().get_debug())

    for debug in (True, False, None):
        asyncio.run(main(), debug=debug)


def case_unawaited_coroutine_says_where_it_was_made(log: Log) -> None:
    import gc
    import sys

    async def main() -> None:
        log(sys.get_coroutine_origin_tracking_depth() > 0)
        nothing()
        gc.collect()

    asyncio.run(main(), debug=True)
    log(sys.get_coroutine_origin_tracking_depth())


def case_debug_from_the_environment(log: Log) -> None:
    with new_loop() as loop:
        log(loop.get_debug(), asyncio.coroutines._is_debug_mode())
