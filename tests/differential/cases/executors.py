"""run_in_executor, to_thread, and the executor's shutdown."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

from ..log import Log
from .scheduling import new_loop


def fails(error: BaseException) -> None:
    """Raise in a worker."""
    raise error


def case_results_and_errors(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        log(await loop.run_in_executor(None, pow, 2, 10))
        log(await loop.run_in_executor(None, threading.current_thread) is not threading.main_thread())
        for error in (
            ValueError("v"),
            OSError(2, "gone"),
            TimeoutError("t"),
            concurrent.futures.CancelledError(),
        ):
            await log.attempt_await(type(error).__name__, loop.run_in_executor(None, fails, error))
        await log.attempt_await("not callable", loop.run_in_executor(None, 42))
        log.attempt("no function", loop.run_in_executor, None)
        log.attempt("not an executor", loop.run_in_executor, 42, print)

    asyncio.run(main())


def case_stop_iteration(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log("handler", sorted(context), context.get("exception"))
        )
        future = loop.run_in_executor(None, fails, StopIteration(1))
        done, _ = await asyncio.wait([future], timeout=0.2)
        log(len(done))

    asyncio.run(main())


def case_own_executor(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
            name = await loop.run_in_executor(pool, lambda: threading.current_thread().name)
            log(name.partition("_")[0])
            loop.set_default_executor(pool)
            log(await loop.run_in_executor(None, lambda: threading.current_thread().name.partition("_")[0]))

    asyncio.run(main())


def case_default_threads_names(log: Log) -> None:
    async def main() -> None:
        log((await asyncio.to_thread(lambda: threading.current_thread().name)).partition("_")[0])

    asyncio.run(main())


def case_executor_that_is_shut_down(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.shutdown()
        log.attempt("own", loop.run_in_executor, pool, print)
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        log.attempt("default", loop.run_in_executor, None, print)

    asyncio.run(main())


def case_shutdown_before_use(log: Log) -> None:
    with new_loop() as loop:
        log(loop.run_until_complete(loop.shutdown_default_executor()))
        log.attempt("after", loop.run_in_executor, None, print)


def case_cancelling(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = loop.run_in_executor(pool, release.wait)
            queued = loop.run_in_executor(pool, log, "queued: must not run")
            log(queued.cancel(), running.cancel())
            await log.attempt_await("running", running)
            await log.attempt_await("queued", queued)
            # The cancellation reaches the executor by a callback of the loop.
            await asyncio.sleep(0)
            release.set()

    asyncio.run(main())


def case_run_waits_for_the_workers(log: Log) -> None:
    entered = threading.Event()

    def work(release: threading.Event) -> None:
        entered.set()
        release.wait()
        log("worker ends")

    async def main() -> None:
        release = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(None, work, release)
        entered.wait()
        threading.Timer(0.05, release.set).start()
        future.cancel()

    asyncio.run(main())
    log("run returned")


def case_to_thread(log: Log) -> None:
    async def main() -> None:
        log(await asyncio.to_thread(lambda *args, **kwargs: [args, kwargs], 1, 2, key="word"))
        await log.attempt_await("error", asyncio.to_thread(fails, LookupError("in a thread")))
        log(await asyncio.gather(*(asyncio.to_thread(pow, 2, number) for number in range(20))))

    asyncio.run(main())


def case_worker_outlives_the_loop(log: Log) -> None:
    release = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    with new_loop() as loop:
        future = loop.run_in_executor(pool, release.wait)
    release.set()
    pool.shutdown()
    log(future.done())
