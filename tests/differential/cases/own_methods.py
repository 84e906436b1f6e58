"""Methods that a program puts into one task or future are called by whoever calls these methods."""

from __future__ import annotations

import asyncio
from typing import Any

from ..log import Log

NAMES = ("cancel", "cancelling", "uncancel")


def watch(log: Log, thing: Any, names: tuple[str, ...] = NAMES) -> None:
    """Has `thing` tell when one of these methods is called through it."""
    for name in names:
        original = getattr(thing, name)

        def tell(*args: Any, original: Any = original, name: str = name, **options: Any) -> Any:
            log(name, args, options)
            return original(*args, **options)

        setattr(thing, name, tell)


async def sleep_long() -> None:
    await asyncio.sleep(100)


def case_a_timeout(log: Log) -> None:
    async def main() -> None:
        watch(log, asyncio.current_task())
        try:
            async with asyncio.timeout(0.001):
                await sleep_long()
        except TimeoutError:
            log("too late")
        try:
            await asyncio.wait_for(sleep_long(), 0.001)
        except TimeoutError:
            log("too late")

    asyncio.run(main())


def case_what_a_cancelled_task_waits_for(log: Log) -> None:
    async def main() -> None:
        for awaited in (asyncio.create_task(sleep_long()), asyncio.get_running_loop().create_future()):
            watch(log, awaited, ("cancel",))

            async def wait(awaited: Any = awaited) -> None:
                await awaited

            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            task.cancel("enough")
            log(await asyncio.gather(task, return_exceptions=True))

    asyncio.run(main())


def case_children(log: Log) -> None:
    async def main() -> None:
        child = asyncio.create_task(sleep_long())
        watch(log, child)
        gathering = asyncio.gather(child)
        await asyncio.sleep(0)
        gathering.cancel()
        log(await asyncio.gather(gathering, return_exceptions=True))
        try:
            async with asyncio.TaskGroup() as group:
                watch(log, group.create_task(sleep_long()))
                await asyncio.sleep(0)
                raise ValueError("enough")
        except* ValueError as failed:
            log(failed.exceptions)
        child = asyncio.create_task(sleep_long())
        watch(log, child)
        try:
            await asyncio.wait_for(child, 0.001)
        except TimeoutError:
            log("too late", child.cancelled())

    asyncio.run(main())


def case_the_parent_of_a_group(log: Log) -> None:
    async def fail() -> None:
        raise ValueError("failed")

    async def main() -> None:
        watch(log, asyncio.current_task())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await sleep_long()
        except* ValueError as failed:
            log(failed.exceptions)

    asyncio.run(main())


def case_a_shielding_task(log: Log) -> None:
    """Its `cancel` does nothing while it must not be disturbed."""

    async def protected() -> str:
        task: Any = asyncio.current_task()
        original = task.cancel
        task.cancel = lambda *_: log("put off") or False  # type: ignore[func-returns-value]
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(0.005)
        finally:
            task.cancel = original
        return "done"

    async def main() -> None:
        log(await asyncio.gather(protected(), return_exceptions=True))

    asyncio.run(main())
