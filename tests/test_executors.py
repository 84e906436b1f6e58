"""Work for other threads and processes: the loop's own pool, and every other kind of executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tulipa


class Witness:
    """Something whose disappearance can be observed."""


def run(main: Callable[[Any], Any], debug: bool = False) -> Any:
    """Run main(loop) on a new loop."""

    async def wrapper() -> Any:
        return await asyncio.wait_for(main(asyncio.get_running_loop()), 30)

    return tulipa.run(wrapper(), debug=debug)


def fails(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("debug", [False, True])
def test_the_default_pool_is_what_programs_expect_of_it(debug: bool) -> None:
    async def main(loop: Any) -> None:
        assert loop._default_executor is None
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name == "asyncio_0"
        pool = loop._default_executor
        assert isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        assert pool._max_workers == concurrent.futures.ThreadPoolExecutor()._max_workers
        assert pool.submit(pow, 2, 8).result(10) == 256
        assert await asyncio.wrap_future(pool.submit(pow, 2, 9)) == 512
        assert list(pool.map(abs, [-1, -2])) == [1, 2]

    run(main, debug)


def test_an_idle_thread_is_used_again_and_no_more_are_started_than_allowed() -> None:
    async def main(loop: Any) -> None:
        for _ in range(20):
            await loop.run_in_executor(None, int)
        assert len(loop._default_executor._threads) == 1
        most = loop._default_executor._max_workers
        barrier = threading.Barrier(most)
        await asyncio.gather(*(loop.run_in_executor(None, barrier.wait, 20) for _ in range(most)))
        await asyncio.gather(*(loop.run_in_executor(None, int) for _ in range(4 * most)))
        names = {thread.name for thread in loop._default_executor._threads}
        assert names == {f"asyncio_{number}" for number in range(most)}

    run(main)


def test_one_thread_works_in_the_order_of_submission_whoever_submits() -> None:
    async def main(loop: Any) -> None:
        await loop.run_in_executor(None, int)
        pool, seen, release = loop._default_executor, [], threading.Event()
        pool._max_workers = 1
        futures = [loop.run_in_executor(None, release.wait)]
        for number in range(10):
            call = (
                loop.run_in_executor
                if number % 2
                else lambda _, *call: asyncio.wrap_future(pool.submit(*call))
            )
            futures.append(call(None, seen.append, number))
        release.set()
        await asyncio.gather(*futures)
        assert seen == list(range(10))

    run(main)


def test_a_call_that_is_cancelled_before_it_begins_does_not_run() -> None:
    async def main(loop: Any) -> None:
        await loop.run_in_executor(None, int)
        loop._default_executor._max_workers = 1
        entered, release, ran = threading.Event(), threading.Event(), []

        def holds() -> None:
            entered.set()
            assert release.wait(10)

        running = loop.run_in_executor(None, holds)
        queued = loop.run_in_executor(None, ran.append, "cancelled")
        last = loop.run_in_executor(None, ran.append, "last")
        assert entered.wait(10)
        assert queued.cancel()
        assert running.cancel()
        release.set()
        await last
        assert ran == ["last"]
        assert running.cancelled()
        assert queued.cancelled()

    run(main)


def test_shutdown_that_cancels_reaches_the_awaiting_code() -> None:
    async def main(loop: Any) -> None:
        await loop.run_in_executor(None, int)
        pool = loop._default_executor
        pool._max_workers = 1
        entered, release = threading.Event(), threading.Event()

        def holds() -> str:
            entered.set()
            assert release.wait(10)
            return "held"

        running = loop.run_in_executor(None, holds)
        queued = loop.run_in_executor(None, print, "never")
        submitted = pool.submit(print, "never")
        assert entered.wait(10)
        pool.shutdown(wait=False, cancel_futures=True)
        release.set()
        assert await running == "held"
        with pytest.raises(asyncio.CancelledError):
            await queued
        assert submitted.cancelled()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            loop.run_in_executor(None, print)

    run(main)


def test_shutdown_with_a_time_limit_warns_as_asyncio_does() -> None:
    shutdown = asyncio.base_events.BaseEventLoop.shutdown_default_executor
    if "timeouts.timeout(" not in inspect.getsource(shutdown):
        pytest.skip("the time limit came with 3.12, and did not limit anything at first")
    release = threading.Event()

    async def main(loop: Any) -> None:
        loop.run_in_executor(None, release.wait, 10)
        with pytest.warns(
            RuntimeWarning, match="The executor did not finishing joining its threads within 0.01"
        ):
            await loop.shutdown_default_executor(timeout=0.01)
        release.set()

    run(main)


def test_results_and_arguments_are_not_kept_by_an_idle_worker() -> None:
    async def main(loop: Any) -> None:
        argument = Witness()
        alive = weakref.ref(argument)
        assert await loop.run_in_executor(None, id, argument)
        del argument
        await loop.run_in_executor(None, int)
        assert alive() is None
        result = weakref.ref(await loop.run_in_executor(None, Witness))
        await loop.run_in_executor(None, int)
        assert result() is None

    run(main)


def test_an_exception_of_any_kind_reaches_the_awaiting_code() -> None:
    async def main(loop: Any) -> None:
        errors = [ValueError("v"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Exception()]
        for error in errors:
            future = loop.run_in_executor(None, fails, error)
            await asyncio.wait([future])
            assert future.exception() is error
        future = loop.run_in_executor(None, fails, concurrent.futures.CancelledError("c"))
        await asyncio.wait([future])
        assert isinstance(future.exception(), asyncio.CancelledError)

    run(main)


def test_an_answer_for_a_loop_that_is_closed_goes_nowhere() -> None:
    loop = tulipa.new_event_loop()
    entered, release, done = threading.Event(), threading.Event(), threading.Event()

    def holds() -> None:
        entered.set()
        assert release.wait(10)

    future = loop.run_in_executor(None, holds)
    assert entered.wait(10)
    pool: Any = loop._default_executor
    pool.submit(done.set)
    loop.close()
    assert loop._default_executor is None
    release.set()
    assert done.wait(10)
    pool.shutdown()
    assert not future.done()


def test_an_answer_waits_for_a_loop_that_does_not_run() -> None:
    loop = tulipa.new_event_loop()
    future = loop.run_in_executor(None, pow, 3, 3)
    pool: Any = loop._default_executor
    pool.shutdown()
    assert not future.done()
    assert loop.run_until_complete(future) == 27
    loop.close()


def test_many_loops_share_one_executor() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(2)

    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, pow, 2, number) for number in range(50)))

    with concurrent.futures.ThreadPoolExecutor(4) as runners:
        answers = list(runners.map(lambda _: tulipa.run(work()), range(8)))
    assert answers == [[2**number for number in range(50)]] * 8
    pool.shutdown()


@pytest.mark.parametrize("debug", [False, True])
def test_processes(debug: bool) -> None:
    async def main(loop: Any) -> None:
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            assert await loop.run_in_executor(pool, os.getpid) != os.getpid()
            with pytest.raises(ValueError, match="in a child"):
                await loop.run_in_executor(pool, fails, ValueError("in a child"))
            pid = await loop.run_in_executor(pool, os.getpid)
            waiting = loop.run_in_executor(pool, signal.pause)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(concurrent.futures.process.BrokenProcessPool):
                await waiting

    run(main, debug)


def test_interpreters() -> None:
    if sys.version_info < (3, 14):
        pytest.skip("they came with 3.14")

    async def main(loop: Any) -> None:
        with concurrent.futures.InterpreterPoolExecutor(2) as pool:
            assert await asyncio.gather(*(loop.run_in_executor(pool, pow, 2, n) for n in range(5))) == [
                1,
                2,
                4,
                8,
                16,
            ]

    run(main)


class Inline(concurrent.futures.Executor):
    """Calls at once, on the thread that submits."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Manual(concurrent.futures.Executor):
    """Calls nothing; keeps the futures for the test."""

    def __init__(self) -> None:
        self.futures: list[concurrent.futures.Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        self.futures.append(concurrent.futures.Future())
        return self.futures[-1]


class Native(concurrent.futures.Executor):
    """Answers with a future of the loop's own."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result("own")
        return future


@pytest.mark.parametrize("debug", [False, True])
def test_executors_of_a_programs_own(debug: bool) -> None:
    async def main(loop: Any) -> None:
        assert await loop.run_in_executor(Inline(), pow, 2, 5) == 32
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(Inline(), divmod, 1, 0)
        assert await loop.run_in_executor(Native(), print) == "own"
        pool = Manual()
        by_loop, by_executor = (loop.run_in_executor(pool, print) for _ in range(2))
        by_loop.cancel()
        pool.futures[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await by_executor
        await asyncio.sleep(0)
        assert pool.futures[0].cancelled()

    run(main, debug)


def test_the_tie_between_two_futures_is_collected() -> None:
    async def main(loop: Any) -> None:
        pool = Manual()
        future = loop.run_in_executor(pool, print)
        gone = [weakref.ref(future), weakref.ref(pool.futures[0])]
        del future
        pool.futures.clear()
        gc.collect()
        assert [reference() for reference in gone] == [None, None]

    run(main)


def test_calls_that_wait_in_a_queue_are_collected_with_it() -> None:
    queue = tulipa._tulipa.WorkQueue()
    witness: Any = Witness()
    witness.queue = queue
    queue.put(witness)
    gone = weakref.ref(witness)
    del queue, witness
    gc.collect()
    assert gone() is None


def test_a_pool_that_nobody_holds_any_more_ends_its_threads() -> None:
    loop = tulipa.new_event_loop()
    loop.run_until_complete(loop.run_in_executor(None, int))
    pool: Any = loop._default_executor
    (thread,) = pool._threads
    loop._default_executor = None
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


def test_only_thread_pools_can_be_the_default() -> None:
    async def main(loop: Any) -> None:
        for wrong in (42, Inline(), None):
            with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
                loop.set_default_executor(wrong)
        pool = concurrent.futures.ThreadPoolExecutor(1, "mine")
        loop.set_default_executor(pool)
        assert loop._default_executor is pool
        assert await loop.run_in_executor(None, lambda: threading.current_thread().name) == "mine_0"

    run(main)


def test_debug_mode_refuses_coroutines_and_what_cannot_be_called() -> None:
    async def coroutine() -> None: ...

    async def main(loop: Any) -> None:
        with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
            loop.run_in_executor(None, coroutine)
        with pytest.raises(TypeError, match=r"a callable object was expected by run_in_executor\(\), got 1"):
            loop.run_in_executor(None, 1)

    run(main, debug=True)


def test_a_call_in_the_pool_shows_nothing_of_concurrent_futures() -> None:
    async def main(loop: Any) -> None:
        future = loop.run_in_executor(None, fails, ValueError("told"))
        assert repr(future) == "<Future pending>"
        with pytest.raises(ValueError, match="told") as caught:
            await future
        frames = traceback.extract_tb(caught.tb)
        assert [frame.name for frame in frames] == ["main", "fails"]
        assert {frame.filename for frame in frames} == {__file__}

    run(main)


def test_threads_are_joined_when_the_interpreter_ends() -> None:
    program = """
import asyncio, threading, tulipa
loop = tulipa.new_event_loop()
entered, release = threading.Event(), threading.Event()
def work():
    entered.set()
    release.wait(10)
    print("the worker has ended")
loop.run_in_executor(None, work)
entered.wait()
threading.Timer(0.05, release.set).start()
print("the program has ended")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("the program has ended\nthe worker has ended\n", "")


def test_no_call_is_taken_while_the_interpreter_ends() -> None:
    program = """
import atexit, threading, tulipa
loop = tulipa.new_event_loop()
loop.run_until_complete(loop.run_in_executor(None, int))
def late():
    try:
        loop.run_in_executor(None, print)
    except RuntimeError as error:
        print(error)
    loop.close()
atexit.register(late)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("cannot schedule new futures after shutdown\n", "")


def test_a_pool_that_is_made_while_the_interpreter_ends_takes_no_call() -> None:
    program = """
import atexit, tulipa
def late():
    loop = tulipa.new_event_loop()
    try:
        loop.run_in_executor(None, print, "called")
    except RuntimeError as error:
        print(error)
    loop.close()
atexit.register(late)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("cannot schedule new futures after interpreter shutdown\n", "")


def test_a_thread_that_is_started_when_the_others_were_told_to_end_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(loop: Any) -> None:
        pool = loop._make_default_executor()
        monkeypatch.setattr(concurrent.futures.thread, "_shutdown", True)
        try:
            assert await loop.run_in_executor(None, int, "1") == 1
            for worker in list(pool._threads):
                worker.join(20)
                assert not worker.is_alive()
            with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                loop.run_in_executor(None, int)
        finally:
            monkeypatch.undo()

    run(main)


def test_a_worker_wakes_a_loop_that_sleeps_however_the_two_meet() -> None:
    """Thousands of round trips: a wake-up that got lost would leave the loop asleep."""

    async def main(loop: Any) -> int:
        total = 0
        for _ in range(300):
            total += sum(await asyncio.gather(*(loop.run_in_executor(None, int, "1") for _ in range(10))))
            total += await loop.run_in_executor(None, int, "1")
        return total

    assert run(main) == 3300


def test_work_that_never_ended_is_no_trouble_for_the_collector(caplog: pytest.LogCaptureFixture) -> None:
    async def main(loop: Any) -> None:
        future = loop.run_in_executor(None, fails, ValueError("nobody looks"))
        await asyncio.wait([future])
        del future
        gc.collect()

    with caplog.at_level(logging.ERROR), contextlib.suppress(ValueError), warnings.catch_warnings():
        run(main)
    assert [record.message.partition("\n")[0] for record in caplog.records] == [
        "Future exception was never retrieved"
    ]


@pytest.fixture
def nobody_is_interrupted() -> Iterator[None]:
    """The interpreter goes from thread to thread only where one lets go of it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(interval)


async def spin(over: Callable[[], bool]) -> None:
    while not over():
        await asyncio.sleep(0)


@pytest.mark.usefixtures("nobody_is_interrupted")
def test_a_busy_loop_lets_its_workers_answer() -> None:
    async def main(loop: Any) -> None:
        done = threading.Event()
        spinning = asyncio.ensure_future(spin(done.is_set))
        for _ in range(20):
            await loop.run_in_executor(None, int)
        done.set()
        await spinning

    run(main)


@pytest.mark.usefixtures("nobody_is_interrupted")
def test_a_busy_loop_lets_threads_have_its_answers() -> None:
    async def main(loop: Any) -> None:
        def ask() -> None:
            for _ in range(20):
                assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 1), loop).result() == 1

        asking = threading.Thread(target=ask)
        asking.start()
        await spin(lambda: not asking.is_alive())
        asking.join()

    run(main)
