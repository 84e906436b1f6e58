"""gather, wait, as_completed, shield, TaskGroup, locks and queues: the order in which they wake."""

from __future__ import annotations

import asyncio
from typing import Any

from ..log import Log


async def work(log: Log, name: str, delay: float, error: Exception | None = None) -> str:
    """Sleep, then say so, then return or raise."""
    await asyncio.sleep(delay)
    log("worked", name)
    if error:
        raise error
    return name


def case_gather(log: Log) -> None:
    async def main() -> None:
        log(await asyncio.gather(work(log, "slow", 0.02), work(log, "quick", 0), asyncio.sleep(0, "plain")))
        log(await asyncio.gather())
        await log.attempt_await(
            "first error", asyncio.gather(work(log, "a", 0, LookupError("a")), work(log, "b", 0.01))
        )
        await log.attempt_await(
            "as results",
            asyncio.gather(work(log, "a", 0, LookupError("a")), work(log, "b", 0.01), return_exceptions=True),
        )
        same = asyncio.ensure_future(work(log, "once", 0))
        log(await asyncio.gather(same, same))
        cancelled = asyncio.ensure_future(work(log, "never", 100))
        asyncio.get_running_loop().call_soon(cancelled.cancel)
        await log.attempt_await("child cancelled", asyncio.gather(cancelled, work(log, "other", 0)))
        log(repr(asyncio.gather(*[asyncio.sleep(0)])).partition(" ")[0])

    asyncio.run(main())


def case_wait(log: Log) -> None:
    async def main() -> None:
        for return_when in (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED):
            tasks = [
                asyncio.create_task(work(log, "a", 0)),
                asyncio.create_task(work(log, "b", 0.02, LookupError("b"))),
                asyncio.create_task(work(log, "c", 0.04)),
            ]
            done, pending = await asyncio.wait(tasks, return_when=return_when)
            log(return_when, [task in done for task in tasks], len(pending))
            await asyncio.gather(*tasks, return_exceptions=True)
        task = asyncio.create_task(asyncio.sleep(100))
        done, pending = await asyncio.wait([task], timeout=0.01)
        log("timed out", len(done), len(pending))
        task.cancel()
        await log.attempt_await("nothing", asyncio.wait([]))
        await log.attempt_await("a future", asyncio.wait(task))
        coroutine = asyncio.sleep(0)
        await log.attempt_await("a coroutine", asyncio.wait([coroutine]))
        coroutine.close()

    asyncio.run(main())


def case_as_completed(log: Log) -> None:
    async def main() -> None:
        turns = {name: asyncio.Event() for name in ("quick", "middle", "slow")}

        async def in_turn(name: str) -> str:
            await turns[name].wait()
            return await work(log, name, 0)

        coming = iter(turns.values())
        next(coming).set()
        for future in asyncio.as_completed([in_turn("slow"), in_turn("quick"), in_turn("middle")]):
            log(await future)
            next(coming, asyncio.Event()).set()
        for future in asyncio.as_completed([asyncio.sleep(100)], timeout=0.01):
            await log.attempt_await("timeout", future)

    asyncio.run(main())


def case_task_group(log: Log) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(log, name, delay)) for name, delay in (("a", 0.02), ("b", 0))]
            log("body")
        log([task.result() for task in tasks])
        for body_error in (None, ValueError("body")):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(work(log, "fails", 0, LookupError("child")))
                    await asyncio.sleep(0)
                    if body_error:
                        raise body_error
                    await asyncio.sleep(100)
            except BaseExceptionGroup as error:
                log(error)
        closed = asyncio.TaskGroup()
        coroutine = asyncio.sleep(0)
        log.attempt("not entered", closed.create_task, coroutine)
        coroutine.close()
        async with closed:
            pass
        coroutine = asyncio.sleep(0)
        log.attempt("finished", closed.create_task, coroutine)
        coroutine.close()

    asyncio.run(main())


def case_locks_wake_in_order(log: Log) -> None:
    async def main() -> None:
        lock = asyncio.Lock()

        async def user(name: int) -> None:
            async with lock:
                log("has the lock", name)
                await asyncio.sleep(0)

        await asyncio.gather(*(user(name) for name in range(4)))
        log.attempt("release", lock.release)
        semaphore = asyncio.BoundedSemaphore(2)

        async def guest(name: int) -> None:
            async with semaphore:
                log("enters", name)
                await asyncio.sleep(0)
                log("leaves", name)

        await asyncio.gather(*(guest(name) for name in range(5)))
        log.attempt("release", semaphore.release)

    asyncio.run(main())


def case_events_and_conditions(log: Log) -> None:
    async def main() -> None:
        event, condition = asyncio.Event(), asyncio.Condition()

        async def waits(name: int) -> None:
            await event.wait()
            log("event", name)
            async with condition:
                await condition.wait()
                log("notified", name)

        tasks = [asyncio.create_task(waits(name)) for name in range(4)]
        await asyncio.sleep(0)
        event.set()
        for _ in range(6):
            await asyncio.sleep(0)
        async with condition:
            condition.notify(2)
        for _ in range(6):
            await asyncio.sleep(0)
        log("notify all")
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def case_queue(log: Log) -> None:
    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(2)

        async def producer() -> None:
            for number in range(5):
                await queue.put(number)
                log("put", number)

        async def consumer(name: str) -> None:
            while True:
                log(name, "got", await queue.get())
                queue.task_done()

        consumers = [asyncio.create_task(consumer(name)) for name in "ab"]
        await producer()
        await queue.join()
        log("joined")
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        log.attempt("task_done", queue.task_done)
        log.attempt("get_nowait", queue.get_nowait)

    asyncio.run(main())


def case_barrier(log: Log) -> None:
    async def main() -> None:
        barrier = asyncio.Barrier(3)

        async def party(name: int) -> None:
            log("waits", name)
            position = await barrier.wait()
            log("passed", name, position)

        await asyncio.gather(*(party(name) for name in range(3)))

    asyncio.run(main())


def case_timeouts_nested(log: Log) -> None:
    async def main() -> None:
        for outer, inner in ((0.01, 100), (100, 0.01), (0, 100)):
            try:
                async with asyncio.timeout(outer) as outer_scope:
                    try:
                        async with asyncio.timeout(inner) as inner_scope:
                            await asyncio.sleep(100)
                    except TimeoutError:
                        log("inner timed out", inner_scope.expired())
            except TimeoutError:
                log("outer timed out", outer_scope.expired())
            task: Any = asyncio.current_task()
            log(task.cancelling())

    asyncio.run(main())


def case_shield_and_its_loser(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log(sorted(context), context["message"], context.get("exception"))
        )
        inner = asyncio.create_task(work(log, "inner", 0.01, LookupError("after all")))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        await log.attempt_await("outer", outer)
        await asyncio.wait([inner])
        await asyncio.sleep(0)
        log(inner.exception())

    asyncio.run(main())


def case_methods_of_a_programs_own_are_used(log: Log) -> None:
    class Barrier(asyncio.Barrier):
        async def wait(self) -> int:
            log("wait")
            return await super().wait() + 7

    async def main() -> None:
        async with Barrier(1) as index:
            log("inside", index)
        for make in (asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore, asyncio.Condition):
            for name in ("acquire", "release"):
                primitive: Any = make()
                primitive.unrelated = None
                async with primitive:
                    log(make.__name__, "as usual")
                method = getattr(primitive, name)
                setattr(primitive, name, noting(name, method))
                async with primitive:
                    log(make.__name__, name)
                log(primitive.locked())

    def noting(name: str, method: Any) -> Any:
        def noted(*args: Any) -> Any:
            log("called", name, args)
            return method(*args)

        return noted

    asyncio.run(main())


def case_semaphores_count_far(log: Log) -> None:
    for value in (2**63 - 1, 2**63 - 2, 2**64, 10**30):
        semaphore = asyncio.Semaphore(value)
        for _ in range(2):
            semaphore.release()
            log(semaphore._value, repr(semaphore).partition("[")[2])
        bounded = asyncio.BoundedSemaphore(value)
        asyncio.run(bounded.acquire())
        log.attempt("bounded", bounded.release)
        log.attempt("too often", bounded.release)


def case_no_value_is_not_none(log: Log) -> None:
    for make in (asyncio.Semaphore, asyncio.BoundedSemaphore):
        log.attempt(make.__name__, make, None)
        log(make()._value, make(value=0)._value)
    log(asyncio.Queue().maxsize, asyncio.LifoQueue(2).maxsize)


def case_a_queue_of_two_kinds_is_the_first(log: Log) -> None:
    class Stack(asyncio.LifoQueue[int], asyncio.PriorityQueue[int]):
        pass

    class Heap(asyncio.PriorityQueue[int], asyncio.LifoQueue[int]):
        pass

    class Neither(Stack):
        pass

    for make in (Stack, Heap, Neither):
        queue = make()
        for item in (2, 3, 1):
            queue.put_nowait(item)
        log(make.__name__, [queue.get_nowait() for _ in range(3)])
