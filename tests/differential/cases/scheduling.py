"""In which order callbacks, timers, threads' calls and I/O run."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..log import Log


@contextmanager
def new_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


def turns(loop: asyncio.AbstractEventLoop, count: int = 6) -> None:
    """Run the loop for a number of turns."""

    def tick(left: int) -> None:
        if left:
            loop.call_soon(tick, left - 1)
        else:
            loop.stop()

    tick(count)
    loop.run_forever()


def case_batch_is_a_snapshot(log: Log) -> None:
    with new_loop() as loop:

        def outer(name: str) -> None:
            log(name)
            loop.call_soon(log, f"{name} inner")

        loop.call_soon(outer, "a")
        loop.call_soon(outer, "b")
        loop.call_soon(loop.stop)
        loop.run_forever()
        log("stopped")
        turns(loop)


def case_io_comes_between_turns(log: Log) -> None:
    with new_loop() as loop:
        left, right = socket.socketpair()
        right.send(b"x")

        def readable() -> None:
            log("io")
            loop.remove_reader(left)

        def chain(names: str) -> None:
            log(names[0])
            if names[1:]:
                loop.call_soon(chain, names[1:])

        loop.add_reader(left, readable)
        loop.call_soon(chain, "abcd")
        turns(loop, 8)
        left.close()
        right.close()


def case_timers_and_ready_callbacks(log: Log) -> None:
    with new_loop() as loop:
        loop.call_later(0, log, "timer of no delay")
        loop.call_soon(log, "a")
        loop.call_soon(lambda: loop.call_soon(log, "b"))
        loop.call_later(-5, log, "timer of negative delay")
        turns(loop)


def case_overdue_timers_by_deadline(log: Log) -> None:
    with new_loop() as loop:
        now = loop.time()
        for late in (1, 3, 2, 0.5):
            loop.call_at(now - late, log, f"late by {late}")
        loop.call_soon(log, "ready")
        turns(loop)


def case_timer_never_early(log: Log) -> None:
    with new_loop() as loop:
        for delay in (0.0001, 0.0015, 0.0104):
            deadline = loop.time() + delay

            def fired(deadline: float = deadline) -> None:
                # The clock's own resolution is the tolerance asyncio allows itself.
                log("early" if loop.time() < deadline - 1e-6 else "on time")
                loop.stop()

            loop.call_at(deadline, fired)
            loop.run_forever()


def case_timer_cancels_another_of_the_same_turn(log: Log) -> None:
    with new_loop() as loop:
        now = loop.time()
        second = loop.call_at(now - 1, log, "second must not run")

        def first() -> None:
            log("first")
            second.cancel()
            log("cancelled", second.cancelled())

        loop.call_at(now - 2, first)
        turns(loop)


def case_many_cancelled_timers(log: Log) -> None:
    with new_loop() as loop:
        handles = [loop.call_later(1000 + number, log, "never") for number in range(500)]
        kept = loop.call_later(0.001, log, "kept")
        for handle in handles:
            handle.cancel()
            handle.cancel()
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
        log(kept.cancelled(), all(handle.cancelled() for handle in handles))


def case_handle_cancelled_within_its_batch(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(lambda: handle.cancel())
        handle = loop.call_soon(log, "must not run")
        loop.call_soon(log, "after")
        turns(loop)
        log("cancelled", handle.cancelled())


def case_cancelled_handle_drops_its_arguments(log: Log) -> None:
    with new_loop() as loop:
        for handle in (
            loop.call_soon(log, "x"),
            loop.call_later(50, log, "y"),
            loop.call_at(loop.time() + 50, log, "z"),
        ):
            log(type(handle).__name__, handle._callback is None, handle._args is None)
            handle.cancel()
            log(handle, handle._callback is None, handle._args is None)


def case_call_soon_threadsafe_from_threads(log: Log) -> None:
    with new_loop() as loop:

        def from_thread() -> None:
            for number in range(5):
                loop.call_soon_threadsafe(log, number)
            loop.call_soon_threadsafe(loop.stop)

        # Started by the loop, which then blocks: the calls must wake it.
        thread = threading.Thread(target=from_thread)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()


def case_threadsafe_call_keeps_its_place(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(log, 1)
        loop.call_soon_threadsafe(log, 2)
        loop.call_soon(log, 3)
        turns(loop)


def case_stop_before_run_gives_one_turn(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(lambda: loop.call_soon(log, "second turn"))
        loop.call_soon(log, "first turn")
        loop.stop()
        loop.run_forever()
        log("stopped")
        loop.stop()
        loop.run_forever()


def case_stop_twice_is_once(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(loop.stop)
        loop.call_soon(loop.stop)
        loop.call_soon(lambda: loop.call_soon(log, "left for the next run"))
        loop.run_forever()
        log("stopped")
        turns(loop)


def case_task_steps_interleave_with_callbacks(log: Log) -> None:
    async def worker(name: str) -> None:
        for step in range(3):
            log(name, step)
            await asyncio.sleep(0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(worker(name)) for name in "ab"]
        loop.call_soon(log, "callback")
        await asyncio.gather(*tasks)
        log("gathered")

    asyncio.run(main())


def case_wake_ups_in_order_of_completion(log: Log) -> None:
    async def waiter(name: str, future: asyncio.Future[str]) -> None:
        log(name, await future)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(4)]
        tasks = [asyncio.create_task(waiter(str(number), future)) for number, future in enumerate(futures)]
        await asyncio.sleep(0)
        for number in (2, 0, 3, 1):
            futures[number].set_result("woken")
        loop.call_soon(log, "callback after the wake-ups")
        await asyncio.gather(*tasks)

    asyncio.run(main())


def case_sleeps_end_in_order_of_deadline(log: Log) -> None:
    async def sleeper(delay: float) -> None:
        await asyncio.sleep(delay)
        log(delay)

    async def main() -> None:
        await asyncio.gather(*(sleeper(delay) for delay in (0.03, 0.01, 0.02, 0)))

    asyncio.run(main())


def case_sleep_arguments(log: Log) -> None:
    async def main() -> None:
        log(await asyncio.sleep(0, "result"), await asyncio.sleep(-1, "negative"))
        # Until 3.13 sleep() takes "nan", and what comes of it depends on the other timers.
        for delay in (None, "1", [], *[float("nan")] * (sys.version_info >= (3, 13))):
            await log.attempt_await(repr(delay), asyncio.wait_for(asyncio.sleep(delay), 0.05))

    asyncio.run(main())


def case_time(log: Log) -> None:
    import time

    with new_loop() as loop:
        log(type(loop.time()).__name__, abs(loop.time() - time.monotonic()) < 1)
        readings = [loop.time() for _ in range(100)]
        log(readings == sorted(readings))


def case_overridden_time_is_used_for_timers(log: Log) -> None:
    """aiohttp's and others' tests run on virtual time: an instance's `time` replaced by one of their own."""
    with new_loop() as loop:
        now = 1000.0
        loop.time = lambda: now
        handle = loop.call_later(5, log, "fired")
        log(handle.when())

        def advance() -> None:
            nonlocal now
            now = 1006.0

        loop.call_soon(advance)
        turns(loop)


def case_handles(log: Log) -> None:
    import weakref

    with new_loop() as loop:
        callback: Callable[[], object] = log.channel("x").__call__
        handle, early, late = (
            loop.call_soon(callback),
            loop.call_at(1e9, callback),
            loop.call_at(2e9, callback),
        )
        log(
            isinstance(handle, asyncio.Handle),
            isinstance(handle, asyncio.TimerHandle),
            isinstance(early, asyncio.TimerHandle),
        )
        log(early < late, early <= late, early > late, early >= early, early == early, early == late)
        log(hash(early) == hash(early), early.when(), handle.cancelled(), weakref.ref(handle)() is handle)
        log.attempt("not comparable", lambda: early < 1)
        log(handle == 1, early != "x")
        for each in (handle, early, late):
            each.cancel()


def print_nothing(*_: object) -> None:
    """A callback with a name, for reprs."""


def case_handle_reprs(log: Log) -> None:
    with new_loop() as loop:
        handles = [
            loop.call_soon(print_nothing),
            loop.call_soon(print_nothing, 1, "two"),
            loop.call_later(100, print_nothing, [3]),
            loop.call_soon_threadsafe(print_nothing),
        ]
        for handle in handles:
            log(repr(handle).replace("_ThreadSafeHandle", "Handle"))
            handle.cancel()
            log(repr(handle).replace("_ThreadSafeHandle", "Handle"))
