"""A loop without coroutines: callbacks, made of functions by partial, that call each other later."""

import asyncio
from functools import partial


def count_down(loop: asyncio.AbstractEventLoop, future: asyncio.Future[str], number: int) -> None:
    print(number)
    if number == 2:
        future.set_result("half-way")
    if number:
        loop.call_later(0.01, partial(count_down, loop, future, number - 1))
    else:
        loop.call_soon(loop.stop)


def finished(title: str, future: asyncio.Future[str]) -> None:
    print(title, future.result())


loop = asyncio.new_event_loop()
future: asyncio.Future[str] = loop.create_future()
future.add_done_callback(partial(finished, "the future says"))
loop.call_soon(partial(count_down, loop, future, 3))
loop.run_forever()
loop.close()
