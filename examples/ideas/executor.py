"""A function that blocks, in a thread, beside a coroutine that does not."""

import asyncio
import threading


def block(release: threading.Event) -> str:
    release.wait(30)
    return "in another thread" if threading.current_thread() is not threading.main_thread() else "in the way"


async def tick(release: threading.Event) -> None:
    for number in range(3):
        print("tick", number)
        await asyncio.sleep(0.01)
    release.set()


async def main() -> None:
    release = threading.Event()
    loop = asyncio.get_running_loop()
    answer, _ = await asyncio.gather(loop.run_in_executor(None, block, release), tick(release))
    print("blocked", answer)
    print(await asyncio.to_thread(sum, [1, 2, 3]))


asyncio.run(main())
