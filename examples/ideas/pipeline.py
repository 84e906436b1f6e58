"""Queues as a pipeline: one produces, several transform, one collects; small queues keep them in step."""

import asyncio


async def produce(numbers: asyncio.Queue[int | None], workers: int) -> None:
    for number in range(20):
        await numbers.put(number)
    for _ in range(workers):
        await numbers.put(None)


async def square(numbers: asyncio.Queue[int | None], squares: asyncio.Queue[int | None]) -> None:
    while (number := await numbers.get()) is not None:
        await asyncio.sleep(0)
        await squares.put(number * number)
    await squares.put(None)


async def collect(squares: asyncio.Queue[int | None], workers: int) -> list[int]:
    found: list[int] = []
    while workers:
        value = await squares.get()
        if value is None:
            workers -= 1
        else:
            found.append(value)
    return sorted(found)


async def main() -> None:
    workers = 3
    numbers: asyncio.Queue[int | None] = asyncio.Queue(2)
    squares: asyncio.Queue[int | None] = asyncio.Queue(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(produce(numbers, workers))
        for _ in range(workers):
            group.create_task(square(numbers, squares))
        result = group.create_task(collect(squares, workers))
    print(result.result())


asyncio.run(main())
