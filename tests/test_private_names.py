"""What released libraries use of asyncio beyond its public names: on asyncio and on Tulipa.

Each test says who needs what. What tasks and futures show of themselves is compared in `tests/differential`.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tulipa

from .loops import LOOPS, run

TASKS: list[Any] = [pytest.param(asyncio.Task, id="asyncio"), pytest.param(tulipa.Task, id="tulipa")]
asyncio_tasks: Any = asyncio.tasks


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_loop_shows_its_executor_its_state_and_its_selector(new_loop: Any) -> None:
    """anyio, sanic, aiokafka, aiomysql and Twisted look there."""

    async def main() -> Any:
        loop: Any = asyncio.get_running_loop()
        assert (loop._default_executor, loop._stopping, loop._closed) == (None, False, False)
        await loop.run_in_executor(None, int)
        assert loop._default_executor is not None
        assert loop._selector.get_map() is not None
        loop.stop()
        assert loop._stopping
        return loop

    loop = new_loop()
    task = loop.create_task(main())
    loop.run_forever()
    assert task.result() is loop
    loop.close()
    assert loop._closed


@pytest.mark.parametrize("new_loop", LOOPS)
def test_methods_of_the_loops_class_can_be_replaced(new_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """nest_asyncio assigns to the class of the loop it is given, and refuses classes that are not asyncio's."""
    loop = new_loop()
    assert isinstance(loop, asyncio.BaseEventLoop)
    stock = type(loop).run_forever
    calls: list[str] = []

    def run_forever(self: Any) -> None:
        calls.append("run_forever")
        stock(self)

    monkeypatch.setattr(type(loop), "run_forever", run_forever)
    monkeypatch.setattr(type(loop), "colour", "red", raising=False)
    loop.run_until_complete(asyncio.sleep(0))
    assert (calls, loop.colour) == (["run_forever"], "red")
    loop.close()


def turn_by_turn(loop: Any, awaitable: Any) -> Any:
    """Run the loop to the end of a task by asyncio's own turns, inside of another run too, as nest_asyncio does."""
    outer, thread, task = (
        asyncio._get_running_loop(),
        loop._thread_id,
        asyncio.ensure_future(awaitable, loop=loop),
    )
    interrupted = None if outer is None else asyncio.current_task()
    asyncio._set_running_loop(loop)
    loop._thread_id = threading.get_ident()
    if interrupted is not None:
        asyncio_tasks._leave_task(loop, interrupted)
    try:
        while not task.done():
            asyncio.BaseEventLoop._run_once(loop)  # type: ignore[attr-defined]
    finally:
        if interrupted is not None:
            asyncio_tasks._enter_task(loop, interrupted)
        loop._thread_id = thread
        asyncio._set_running_loop(outer)
    return task.result()


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_turns_of_the_loop_can_be_made_in_python(new_loop: Any, debug: bool) -> None:
    """nest_asyncio has the loop's turns written again, over `_ready`, `_selector` and `_process_events`."""
    loop = new_loop()
    loop.set_debug(debug)
    order: list[str] = []

    async def serve(reader: Any, writer: Any) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()
        await writer.wait_closed()

    async def talk() -> Any:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer, await loop.run_in_executor(None, str, 7)

    async def inner(name: str) -> str:
        order.append(name)
        loop.call_soon(order.append, name + " soon")
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        order.append(name + " ends")
        assert asyncio.current_task() is not None
        return name

    async def outer() -> Any:
        own = asyncio.current_task()
        sibling = loop.create_task(inner("sibling"))
        nested = turn_by_turn(loop, inner("nested"))
        assert asyncio.current_task() is own
        return nested, await sibling, turn_by_turn(loop, talk())

    assert turn_by_turn(loop, talk()) == (b"HELLO\n", "7")
    answers = turn_by_turn(loop, outer())
    assert answers == ("nested", "sibling", (b"HELLO\n", "7"))
    assert loop.run_until_complete(outer()) == answers
    once = ["sibling", "nested", "sibling soon", "nested soon", "sibling ends", "nested ends"]
    assert order == once * 2
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def fire_timers_until(loop: Any, when: float) -> None:
    """Run what is scheduled up to a time of the loop's clock, as the suites of Home Assistant and zeroconf do."""
    for handle in list(loop._scheduled):
        assert isinstance(handle, asyncio.TimerHandle)
        if not handle.cancelled() and handle.when() <= when:
            handle._run()
            handle.cancel()


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_timers_can_be_fired_early(new_loop: Any, debug: bool) -> None:
    loop = new_loop()
    loop.set_debug(debug)
    seen: list[str] = []

    async def sleep() -> None:
        await asyncio.sleep(3600)
        seen.append("slept")

    async def wait() -> None:
        try:
            async with asyncio.timeout(1800):
                await loop.create_future()
        except TimeoutError:
            seen.append("timed out")

    async def main() -> None:
        tasks = [loop.create_task(sleep()), loop.create_task(wait())]
        first = loop.call_later(60, seen.append, "first")
        last = loop.call_later(7200, seen.append, "last")
        gone = loop.call_later(600, seen.append, "gone")
        gone.cancel()
        await asyncio.sleep(0)
        scheduled = [handle for handle in loop._scheduled if not handle.cancelled()]
        assert len(scheduled) == 4
        assert (
            sum(handle is first for handle in scheduled),
            sum(handle is last for handle in scheduled),
        ) == (1, 1)
        assert min(scheduled, key=asyncio.TimerHandle.when) is loop._scheduled[0] is first
        fire_timers_until(loop, loop.time() + 4000)
        assert (seen, [handle.when() for handle in loop._scheduled if not handle.cancelled()]) == (
            ["first"],
            [last.when()],
        )
        await asyncio.wait(tasks)
        assert sorted(seen) == ["first", "slept", "timed out"]
        last.cancel()
        await asyncio.sleep(0)
        assert not [handle for handle in loop._scheduled if not handle.cancelled()]

    loop.run_until_complete(main())
    loop.close()
    assert not loop._scheduled


@pytest.mark.parametrize("new_loop", LOOPS)
def test_sleeping_tasks_end_if_their_timers_are_cancelled_or_run_twice(new_loop: Any) -> None:
    loop = new_loop()

    async def main() -> None:
        task = loop.create_task(asyncio.sleep(0.001, "slept"))
        await asyncio.sleep(0)
        (handle,) = (handle for handle in loop._scheduled if not handle.cancelled())
        handle._run()
        assert await task == "slept"
        task = loop.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        for handle in loop._scheduled:
            handle.cancel()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(0.002)

    loop.run_until_complete(main())
    loop.close()


class MadeUpClock(asyncio.BaseEventLoop):
    """A clock that jumps to the next timer whenever nothing else happens, as looptime's loops have it."""

    now: float
    waits: list[float | None]

    def time(self) -> float:
        return self.now

    def wait(self, timeout: float | None) -> Any:
        self.waits.append(timeout)
        selector: Any = vars(self)["selector"]
        events = selector(0 if timeout is not None else None)
        if not events and timeout:
            self.now += timeout
        return events


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_made_up_clock_can_be_put_into_a_loop(new_loop: Any) -> None:
    """looptime changes the class of a loop that it is given, and the `select` of its selector."""
    loop = new_loop()
    loop.__class__ = type("Loop", (MadeUpClock, type(loop)), {})
    loop.now, loop.waits = 1000.0, []
    vars(loop)["selector"] = loop._selector.select
    loop._selector.select = loop.wait
    order: list[str] = []

    def wait_for_endless_wait() -> str:
        while None not in loop.waits:
            time.sleep(0.001)
        return "seen"

    async def serve(reader: Any, writer: Any) -> None:
        await asyncio.sleep(60)
        writer.write(await reader.readline())
        writer.close()

    async def main() -> float:
        loop.call_later(7200, order.append, "last")
        loop.call_later(3600, order.append, "first")
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.readline(), 3000) == b"hello\n"
            writer.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100_000):
                await loop.create_future()
        now = float(loop.now)
        # There is nothing to wait for but other threads.
        assert await loop.run_in_executor(None, wait_for_endless_wait) == "seen"
        return now

    took = loop.run_until_complete(main()) - 1000
    assert 100_000 <= took < 110_000
    assert order == ["first", "last"]
    assert 0 in loop.waits
    assert max(wait or 0 for wait in loop.waits) <= 86400
    del loop._selector.select
    before = len(loop.waits)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(loop.waits) == before
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_a_selects_place_taker_raises_leaves_the_loop(new_loop: Any) -> None:
    loop = new_loop()

    def select(timeout: float | None) -> Any:
        raise LookupError(timeout)

    loop._selector.select = select
    loop.call_soon(int)
    with pytest.raises(LookupError, match=r"^0"):
        loop.run_forever()
    loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_queue_of_the_loop_can_be_looked_at(new_loop: Any) -> None:
    """nest_asyncio asks whether there is something to run; tests and debuggers count."""
    loop = new_loop()
    seen: list[int] = []
    assert (len(loop._ready), bool(loop._ready)) == (0, False)
    loop.call_soon(seen.append, 1)
    handle = loop.call_soon(seen.append, 2)
    handle.cancel()
    loop._ready.append(asyncio.Handle(seen.append, (3,), loop, None))
    assert len(loop._ready) == 3
    while loop._ready:
        taken = loop._ready.popleft()
        if not taken._cancelled:
            taken._run()
    assert seen == [1, 3]
    with pytest.raises(IndexError, match="pop from an empty deque"):
        loop._ready.popleft()
    loop.call_soon(seen.append, 4)
    loop._ready.extend(asyncio.Handle(seen.append, (number,), loop, None) for number in (5, 6))
    loop._ready.extendleft(asyncio.Handle(seen.append, (number,), loop, None) for number in (3, 2))
    while loop._ready:
        loop._ready.popleft()._run()
    assert seen == [1, 3, 2, 3, 4, 5, 6]
    loop.call_soon(seen.append, 7)
    loop._ready.clear()
    loop.stop()
    loop.run_forever()
    assert seen[-1] == 6
    loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("name", ["create_task", "call_exception_handler"])
def test_wrappers_of_asyncios_loop_class_see_the_calls(
    new_loop: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ddtrace and newrelic wrap these methods of BaseEventLoop, before or after the loop is made."""
    stock = getattr(asyncio.BaseEventLoop, name)
    calls: list[str] = []

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return stock(self, *args, **kwargs)

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon((1).__truediv__, 0)
        loop.call_soon(lambda: 1 / 0)
        await loop.create_task(asyncio.sleep(0))
        return "done"

    loop = new_loop()
    monkeypatch.setattr(asyncio.BaseEventLoop, name, wrapper)
    assert loop.run_until_complete(main()) == "done"
    assert calls
    monkeypatch.undo()
    calls.clear()
    assert loop.run_until_complete(main()) == "done"
    assert calls == []
    loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("task_class", TASKS)
def test_tasks_that_skip_the_constructor_can_be_registered_and_entered(
    new_loop: Any, task_class: Any
) -> None:
    """granian makes such a task per request."""

    class Bare(task_class):  # type: ignore[misc]
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.own_loop = loop

        def get_loop(self) -> asyncio.AbstractEventLoop:
            return self.own_loop

        def done(self) -> bool:
            return False

    loop = new_loop()
    task = Bare(loop)
    seen: list[Any] = []

    def callback() -> None:
        asyncio_tasks._enter_task(loop, task)
        seen.append(asyncio.current_task() is task)
        asyncio_tasks._leave_task(loop, task)
        seen.append(asyncio.current_task())
        loop.stop()

    asyncio_tasks._register_task(task)
    assert task in asyncio_tasks.all_tasks(loop)
    asyncio_tasks._unregister_task(task)
    assert task not in asyncio_tasks.all_tasks(loop)
    loop.call_soon(callback)
    loop.run_forever()
    assert seen == [True, None]
    with pytest.raises(asyncio.InvalidStateError, match="not initialized"):
        task.result()
    loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
def test_the_current_task_can_be_swapped(new_loop: Any) -> None:
    """qasync, playwright and eager libraries do so."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        own = asyncio.current_task()
        other = loop.create_task(asyncio.sleep(0))
        assert asyncio_tasks._swap_current_task(loop, other) is own
        assert asyncio.current_task() is other
        assert asyncio_tasks._swap_current_task(loop, own) is other
        await other

    run(new_loop, main)


class PythonLoop(asyncio.AbstractEventLoop):
    """As little of a loop as a task needs, in Python."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise AssertionError(context)

    def run(self) -> None:
        asyncio.events._set_running_loop(self)
        try:
            while self._ready:
                self._ready.popleft()._run()
        finally:
            asyncio.events._set_running_loop(None)


@pytest.mark.parametrize("task_class", TASKS)
def test_tasks_run_on_a_loop_written_in_python(task_class: Any) -> None:
    """playwright, qasync, temporalio and langgraph have loops of their own."""
    loop = PythonLoop()
    seen: list[Any] = []

    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> list[int]:
        seen.append(asyncio.get_running_loop() is loop)
        seen.append(asyncio.current_task() is task)
        gate = loop.create_future()
        loop.call_soon(gate.set_result, None)
        await gate
        return await asyncio.gather(*(task_class(child(number), loop=loop) for number in range(3)))

    task = task_class(main(), loop=loop)
    loop.run()
    assert task.result() == [0, 1, 2]
    assert seen == [True, True]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_streams_show_their_buffer_and_their_transport(new_loop: Any) -> None:
    """redis-py and telethon look there; aiohttp asks whether a connection is TLS."""

    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            writer.write(b"hello")
            await writer.drain()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            opened = await asyncio.open_connection(*server.sockets[0].getsockname())
            reader: Any = opened[0]
            writer: Any = opened[1]
            if not reader._buffer:
                # Without a task in between: it waits for what comes after it was called.
                await reader._wait_for_data("read")
            assert (len(reader._buffer), bytes(reader._buffer)) == (5, b"hello")
            assert reader._transport is writer._transport is writer.transport
            assert writer._protocol is writer.transport.get_protocol()
            assert writer._protocol._over_ssl is False
            assert (reader._eof, reader._waiter, reader._limit) == (False, None, 2**16)
            writer.close()
            await writer.wait_closed()

    run(new_loop, main)


@pytest.fixture(params=["asyncio", "tulipa"])
def names(request: pytest.FixtureRequest) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """asyncio's names as they are, and with Tulipa's behind them."""
    if request.param == "tulipa":
        tulipa.install()
    try:
        yield asyncio.new_event_loop
    finally:
        tulipa.uninstall()


def test_what_asyncio_lets_subclass_can_be_subclassed(names: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """aiomonitor, aiormq, psycopg_pool, langgraph, aiomysql, aiokafka and pyzmq derive from these."""

    class Queue(asyncio.Queue[int]):
        def _init(self, maxsize: int) -> None:
            self._queue: list[int] = []

        def _put(self, item: int) -> None:
            self._queue.append(item)

        def _get(self) -> int:
            return self._queue.pop()

    class Event(asyncio.Event):
        def set(self) -> None:
            self.told = True
            super().set()

    class Reader(asyncio.StreamReader):
        def feed_data(self, data: bytes) -> None:
            super().feed_data(data.upper())

    class Protocol(asyncio.StreamReaderProtocol):
        lost = 0

        def connection_lost(self, exc: Exception | None) -> None:
            Protocol.lost += 1
            super().connection_lost(exc)

    class Future(asyncio.Future[int]):
        pass

    class Task(asyncio.Task[int]):
        pass

    class Loop(asyncio.SelectorEventLoop):
        made = 0

        def create_future(self) -> asyncio.Future[Any]:
            Loop.made += 1
            return super().create_future()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue: Any = Queue()
        getting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        assert (len(queue._getters), len(queue._putters)) == (1, 0)
        for number in range(3):
            queue.put_nowait(number)
        assert await getting == 2
        event = Event()
        event.set()
        assert await event.wait()
        assert event.told
        future = Future(loop=loop)
        loop.call_soon(future.set_result, 42)
        assert await future == 42
        assert await Task(queue.get(), loop=loop) == 1

        def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            reader = Reader(loop=loop)
            protocol = Protocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
            assert await reader.readexactly(5) == b"HELLO"
            transport.close()
            await asyncio.StreamWriter(transport, protocol, reader, loop).wait_closed()
            assert Protocol.lost == 1

    async def bounded() -> None:
        await asyncio.wait_for(main(), 20)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(bounded())
    assert Loop.made
