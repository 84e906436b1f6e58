"""Several results at once: gather keeps their order, wait tells who is done, a group fails as a whole."""

import asyncio


async def work(name: str, delay: float) -> str:
    await asyncio.sleep(delay)
    if name == "bad":
        raise ValueError(name)
    return name


async def main() -> None:
    print(await asyncio.gather(work("slow", 0.06), work("fast", 0.02)))
    print(await asyncio.gather(work("good", 0.02), work("bad", 0.01), return_exceptions=True))

    tasks = {
        asyncio.create_task(work("slow", 10), name="slow"),
        asyncio.create_task(work("fast", 0.01), name="fast"),
    }
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    print("done:", [task.get_name() for task in done], "pending:", [task.get_name() for task in pending])
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)

    for first in asyncio.as_completed([work("third", 0.09), work("first", 0.01), work("second", 0.05)]):
        print(await first)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work("never", 10))
            group.create_task(work("bad", 0.01))
    except* ValueError as errors:
        print("the group failed:", errors.exceptions)


asyncio.run(main())
