"""Ways to stop: cancel a task, let time run out, shield what must go on."""

import asyncio


async def careful(name: str) -> None:
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        print(name, "cleans up")
        raise


async def important() -> str:
    await asyncio.sleep(0.02)
    return "done all the same"


async def main() -> None:
    task = asyncio.create_task(careful("task"))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("task cancelled:", task.cancelled())

    try:
        await asyncio.wait_for(careful("wait_for"), 0.01)
    except TimeoutError:
        print("time has run out")

    try:
        async with asyncio.timeout(0.01) as limit:
            await careful("timeout")
    except TimeoutError:
        print("expired:", limit.expired())

    inner = asyncio.create_task(important())
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await asyncio.sleep(0)
    outer.cancel()
    print(await inner, outer.cancelled())


asyncio.run(main())
