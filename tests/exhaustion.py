"""Run by test_memory.py in a process of its own: what programs do most, with memory that runs out at every point of it.

CPython itself does not survive this everywhere. So coroutines and functions are made before, and nothing is done that
asyncio does in Python.
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any


def name_callback(*_: Any, **__: Any) -> str:
    return "a callback"


# Before the package looks it up: asyncio's own makes a function, which 3.12 does not survive without memory.
asyncio.format_helpers._format_callback_source = name_callback  # type: ignore[attr-defined]

import tulipa  # noqa: E402

memory: Any = importlib.import_module("_testcapi")
loop = tulipa.new_event_loop()
failure = ValueError("expected")

# How many allocations fail in a row, and how many points of an operation are tried at most.
WIDTHS = (1, 40)
POINTS = 150


async def value() -> int:
    return 1


async def wait() -> None:
    await loop.create_future()


async def fail() -> None:
    raise failure


async def sleeps() -> None:
    await asyncio.sleep(0)
    async with tulipa.timeout(5):
        await tulipa.sleep(0, 1)


async def locks() -> None:
    lock, event, semaphore = tulipa.Lock(), tulipa.Event(), tulipa.Semaphore(0)
    loop.call_soon(event.set)
    loop.call_soon(semaphore.release)
    async with lock:
        await event.wait()
    await semaphore.acquire()
    repr(lock)


async def queues() -> None:
    for queue in (tulipa.Queue[int](1), tulipa.PriorityQueue[int]()):
        loop.call_soon(queue.put_nowait, 1)
        await queue.get()
        await queue.put(2)
        queue.get_nowait()
        queue.qsize()


async def reads(reader: Any) -> None:
    await reader.readline()
    await reader.readexactly(2)
    await reader.read()


class Echo(asyncio.Protocol):
    transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def turn(count: int = 1) -> None:
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def futures(_: Any) -> None:
    future = loop.create_future()
    future.add_done_callback(id)
    future.set_result(1)
    loop.create_future().cancel("message")
    failed = loop.create_future()
    failed.set_exception(failure)
    failed.exception()


def future_refuses(_: Any) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        loop.create_future().result()


def future_shows(_: Any) -> None:
    future: Any = loop.create_future()
    assert future._state == "PENDING"
    assert future._cancel_message is None


def task(coroutines: Any) -> None:
    loop.create_task(coroutines.pop())
    turn(4)


def cancelled_task(coroutines: Any) -> None:
    waiting = loop.create_task(coroutines.pop())
    turn()
    waiting.cancel("message")
    turn(2)


def named_task(coroutines: Any) -> None:
    named: Any = loop.create_task(coroutines.pop(), name="name")
    named.set_name(5)
    named.cancelling()
    named.uncancel()
    turn(2)


def several(coroutines: Any) -> None:
    tulipa.gather(*[loop.create_task(coroutine) for coroutine in coroutines])
    turn(3)


def calls(_: Any) -> None:
    loop.call_soon(id, 1)
    loop.call_later(100, id, 1).cancel()
    loop.call_at(loop.time(), id, 1)
    loop.call_soon_threadsafe(id, 1)
    turn(2)


def failing_calls(_: Any) -> None:
    wrong: Any = id
    loop.call_soon(wrong)
    loop.call_later(0, wrong)
    turn(2)


def reader(made: Any) -> None:
    stream, coroutine = made
    loop.create_task(coroutine)
    stream.feed_data(b"line\nab")
    turn(2)
    stream.feed_data(b"x" * 500)
    stream.feed_eof()
    turn(2)


def transport(made: Any) -> None:
    protocol, peer = made
    peer.send(b"hello")
    turn(2)
    protocol.transport.write(b"x" * 100)
    protocol.transport.set_write_buffer_limits(high=3)
    protocol.transport.get_write_buffer_size()
    protocol.transport.close()
    turn(3)


def watched(pair: Any) -> None:
    ours, peer = pair
    loop.add_reader(ours, id, 1)
    loop.add_writer(ours, id, 2)
    peer.send(b"x")
    turn(2)


def nothing() -> None:
    return None


def only(*functions: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: [function() for function in functions]


def made_reader() -> Any:
    stream = tulipa.StreamReader(loop=loop)
    return stream, reads(stream)


def connected() -> Any:
    ours, peer = socket.socketpair()
    _, protocol = loop.run_until_complete(loop.create_connection(Echo, sock=ours))
    return protocol, peer


pairs: list[tuple[socket.socket, socket.socket]] = []


def watched_pair() -> Any:
    while pairs:
        for end in pairs.pop():
            forget(end.fileno())
            end.close()
    pairs.append(socket.socketpair())
    return pairs[0]


OPERATIONS: list[tuple[Callable[[Any], None], Callable[[], Any]]] = [
    (futures, nothing),
    (future_refuses, nothing),
    (future_shows, nothing),
    (calls, nothing),
    (failing_calls, nothing),
    *((task, only(function)) for function in (value, fail, sleeps, locks, queues)),
    (cancelled_task, only(wait)),
    (named_task, only(value)),
    (several, only(value, fail)),
    (reader, made_reader),
    (transport, connected),
    (watched, watched_pair),
]


def forget(descriptor: int) -> None:
    loop.remove_reader(descriptor)
    loop.remove_writer(descriptor)


async def alive() -> int:
    event = tulipa.Event()
    loop.call_soon(event.set)
    await event.wait()
    await tulipa.sleep(0)
    return sum(await tulipa.gather(value(), value()))


def attempt(operation: Callable[[Any], None], made: Any, point: int, width: int) -> BaseException | None:
    # A call of `stop` that fails like any other must not have the loop go on for ever.
    guards = [loop.call_later(0.01 * count, loop.stop) for count in range(1, 6)]
    try:
        memory.set_nomemory(point, point + width)
        operation(made)
    except BaseException as error:
        memory.remove_mem_hooks()
        return error
    finally:
        memory.remove_mem_hooks()
        for guard in guards:
            guard.cancel()
    return None


def sweep(operation: Callable[[Any], None], make: Callable[[], Any], width: int) -> None:
    operation(make())
    untouched = 0
    for point in range(POINTS):
        error = attempt(operation, make(), point, width)
        untouched = untouched + 1 if error is None else 0
        place = (operation.__name__, width, point, error)
        assert error is None or isinstance(error, MemoryError), place
        assert not loop.is_running(), place
        if sys.version_info < (3, 12):
            # There it takes memory to say that no loop runs any more.
            asyncio._set_running_loop(None)
        assert asyncio._get_running_loop() is None, place
        turn(3)
        assert loop.run_until_complete(alive()) == 2, place
        if untouched == 10:
            break


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    loop.set_exception_handler(lambda loop, context: None)
    sys.unraisablehook = lambda unraisable: None
    for operation, make in OPERATIONS:
        for width in WIDTHS:
            sweep(operation, make, width)
    gc.collect()
    print("survived")


if __name__ == "__main__":
    main()
