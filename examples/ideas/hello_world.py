"""Two coroutines that run side by side: while one sleeps the other goes on."""

import asyncio


async def say(word: str, delay: float) -> None:
    for number in range(3):
        await asyncio.sleep(delay)
        print(word, number)


async def main() -> None:
    hello = asyncio.create_task(say("hello", 0.1))
    await asyncio.sleep(0.05)
    world = asyncio.create_task(say("world", 0.1))
    await hello
    await world


asyncio.run(main())
