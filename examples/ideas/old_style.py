"""Coroutines as they were written before Python had a word for them: generators, `yield from`, a loop run by hand.

asyncio itself dropped them with Python 3.11. Tulipa runs them on every Python, and mixed with new ones.
"""

# mypy: ignore-errors
# Generators that yield from coroutines are what type checkers were never taught.

import tulipa as asyncio


@asyncio.coroutine
def say(word, delay):
    for number in range(2):
        yield from asyncio.sleep(delay)
        print(word, number)
    return word.upper()


@asyncio.coroutine
def upper(word):
    yield
    return word.upper()


@asyncio.coroutine
def no_generator(future):
    return future


async def new_style(word):
    return await upper(word)


@asyncio.coroutine
def produce(queue):
    for number in range(5):
        yield from queue.put(number)
    yield from queue.put(None)


@asyncio.coroutine
def consume(queue):
    total = 0
    while True:
        number = yield from queue.get()
        if number is None:
            return total
        total += number


@asyncio.coroutine
def main():
    loop = asyncio.get_running_loop()
    print((yield from say("hello", 0.01)))
    print((yield from asyncio.gather(upper("a"), new_style("b"))))

    done, pending = yield from asyncio.wait([upper("c"), new_style("d")])
    print(sorted(task.result() for task in done), pending)

    future = loop.create_future()
    loop.call_soon(future.set_result, "set by a callback")
    print((yield from no_generator(future)))

    queue = asyncio.Queue(2)
    _, total = yield from asyncio.gather(produce(queue), consume(queue))
    print("total", total)

    task = asyncio.ensure_future(say("never", 10))
    yield
    task.cancel()
    try:
        yield from task
    except asyncio.CancelledError:
        print("cancelled", task.cancelled())

    print(asyncio.iscoroutinefunction(say), asyncio.iscoroutinefunction(no_generator))
    coroutine = say("unused", 0)
    print(asyncio.iscoroutine(coroutine))
    coroutine.close()


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
