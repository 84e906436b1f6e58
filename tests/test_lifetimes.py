"""Nothing native outlives its last use: every class takes part in garbage collection, and nothing accumulates."""

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

import tulipa
from tulipa import _tulipa as native


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def growth(work: Callable[[], None]) -> int:
    """Return how many objects more there are after many runs than after a few."""
    for _ in range(3):
        work()
    before = objects()
    for _ in range(50):
        work()
    return objects() - before


class Witness:
    """Something whose disappearance can be observed."""


@pytest.fixture
def loop() -> Any:
    loop = tulipa.new_event_loop()
    yield loop
    loop.close()


def test_tasks_and_futures_leave_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        if number % 3 == 0:
            raise ValueError(number)
        return number

    async def main() -> None:
        await asyncio.gather(*(child(number) for number in range(20)), return_exceptions=True)
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future

    assert growth(lambda: loop.run_until_complete(main())) < 20


def test_handles_and_timers_leave_nothing(loop: asyncio.AbstractEventLoop) -> None:
    def work() -> None:
        handles: list[asyncio.Handle] = [loop.call_later(1000, print, number) for number in range(20)]
        handles += [loop.call_soon(lambda: None) for _ in range(20)]
        for handle in handles[::2]:
            handle.cancel()
        for handle in handles[:20]:
            handle.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()

    assert growth(work) < 20


def test_a_loop_goes_with_its_last_reference() -> None:
    gc.disable()
    try:
        loop = tulipa.new_event_loop()
        loop.run_until_complete(loop.run_in_executor(None, int))
        loop.close()
        gone = weakref.ref(loop)
        del loop
        assert gone() is None
    finally:
        gc.enable()


def test_loops_leave_nothing() -> None:
    def work() -> None:
        loop = tulipa.new_event_loop()
        loop.call_soon(lambda: loop)
        loop.call_later(1000, lambda: loop)
        loop.close()

    assert growth(work) < 20


def test_a_cancelled_timer_lets_its_arguments_go_at_once(loop: asyncio.AbstractEventLoop) -> None:
    witness = Witness()
    reference = weakref.ref(witness)
    handle = loop.call_later(1000, print, witness)
    del witness
    assert reference() is not None
    handle.cancel()
    assert reference() is None


@pytest.mark.parametrize("kind", ["future", "task", "handle", "timer", "iterator"])
def test_cycles_are_collected(kind: str, loop: asyncio.AbstractEventLoop) -> None:
    witness = Witness()

    async def forever() -> None:
        await loop.create_future()

    made: Any
    if kind == "future":
        made = loop.create_future()
        made.add_done_callback(lambda _future, made=made, witness=witness: None)
    elif kind == "task":
        made = loop.create_task(forever())
        made._log_destroy_pending = False
        loop.call_soon(loop.stop)
        loop.run_forever()
        made.own = (made, witness)
    elif kind == "iterator":
        future = loop.create_future()
        made = future.__await__()
        future.add_done_callback(lambda _future, made=made, witness=witness: None)
        del future
    else:
        # The handle's callback is a method of a list that holds the handle.
        bound: list[Any] = [witness]
        made = loop.call_soon(bound.append, 1) if kind == "handle" else loop.call_later(1000, bound.append, 1)
        bound.append(made)
        loop.call_soon(loop.stop)
        loop.run_forever()
        if kind == "timer":
            made.cancel()
        del bound
    reference = weakref.ref(witness)
    del made, witness
    gc.collect()
    assert reference() is None


def test_an_abandoned_loop_is_collected_with_what_it_holds() -> None:
    witness = Witness()
    loop = tulipa.new_event_loop()
    loop.call_soon(lambda loop=loop, witness=witness: None)
    loop.call_later(1000, lambda loop=loop, witness=witness: None)
    reference = weakref.ref(witness)

    def abandon() -> None:
        nonlocal loop, witness
        del loop, witness
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        abandon()
    assert reference() is None


def test_a_pending_task_that_nobody_holds_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    messages: list[str] = []
    loop.set_exception_handler(lambda _loop, context: messages.append(context["message"]))

    async def forever() -> None:
        await loop.create_future()

    loop.create_task(forever())
    loop.call_soon(loop.stop)
    loop.run_forever()
    gc.collect()
    assert messages == ["Task was destroyed but it is pending!"]
    assert asyncio.all_tasks(loop) == set()


@pytest.mark.parametrize("block", [lambda: native.timeout(None), native.Lock])
def test_a_task_that_waits_in_a_block_is_collected(
    block: Callable[[], Any], loop: asyncio.AbstractEventLoop
) -> None:
    """The interpreter holds the bound `__aexit__` meanwhile, on the task's own frame."""
    witness = Witness()

    async def waits(witness: Witness) -> None:
        async with block():
            await loop.create_future()

    task: Any = loop.create_task(waits(witness))
    task._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    reference = weakref.ref(witness)
    del task, witness
    gc.collect()
    assert reference() is None


def test_memory_that_is_used_again_brings_no_attributes_along() -> None:
    async def nothing() -> None:
        pass

    def leave_attribute(owner: Any) -> None:
        owner.colour = "red"

    def leave_nothing(owner: Any) -> None:
        owner.colour = "red"
        del owner.colour

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for leave in (leave_attribute, leave_nothing) * 2:
            task, future = loop.create_task(nothing()), loop.create_future()
            for fresh in (task, future):
                assert not hasattr(fresh, "colour")
                leave(fresh)
            await task
            del task, future, fresh

    tulipa.run(main())


def test_streams_leave_nothing(loop: asyncio.AbstractEventLoop) -> None:
    from tulipa import _streams

    async def echo(reader: Any, writer: Any) -> None:
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> None:
        async with await _streams.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await _streams.open_connection(*server.sockets[0].getsockname())
            writer.write(b"line\n")
            assert await reader.readline() == b"line\n"
            waiting = asyncio.ensure_future(reader.readexactly(5))
            await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            with contextlib.suppress(asyncio.IncompleteReadError):
                writer.write_eof()
                await reader.readuntil(b"never")
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0)

    assert growth(lambda: loop.run_until_complete(main())) < 20


def test_children_leave_nothing(loop: asyncio.AbstractEventLoop) -> None:
    from tulipa import _subprocess

    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        child = await _subprocess.create_subprocess_exec("cat", stdin=pipe, stdout=pipe, stderr=pipe)
        assert await child.communicate(b"data") == (b"data", b"")

    assert growth(lambda: loop.run_until_complete(main())) < 20


@pytest.mark.parametrize("name", ["StreamReader", "StreamWriter", "StreamReaderProtocol", "FlowControlMixin"])
def test_cycles_through_stream_classes_are_collected(name: str, loop: asyncio.AbstractEventLoop) -> None:
    native: Any = tulipa._tulipa
    transport = mock.Mock()
    transport.is_closing.return_value = True
    reader = native.StreamReader(loop=loop)
    made = {
        "StreamReader": lambda: native.StreamReader(loop=loop),
        "StreamWriter": lambda: native.StreamWriter(transport, None, reader, loop),
        "StreamReaderProtocol": lambda: native.StreamReaderProtocol(reader, loop=loop),
        "FlowControlMixin": lambda: native.FlowControlMixin(loop=loop),
    }[name]()
    attribute = {"StreamReader": "_exception", "StreamWriter": "_protocol", "StreamReaderProtocol": "_task"}
    witness = Witness()
    gone = weakref.ref(witness)
    witness.instance = made  # type: ignore[attr-defined]
    setattr(made, attribute.get(name, "anything"), witness)
    made.another = made
    del made, witness
    gc.collect()
    assert gone() is None


def test_a_reader_that_waits_for_ever_is_collected() -> None:
    loop = tulipa.new_event_loop()
    reader: Any = tulipa._tulipa.StreamReader(loop=loop)
    operation = reader.readline()
    operation.send(None)
    reader.itself = operation
    gone = weakref.ref(reader)
    del reader, operation
    gc.collect()
    assert gone() is None
    loop.close()


def test_a_job_that_was_taken_and_never_run_is_collected(loop: Any) -> None:
    async def child(witness: Witness, box: list[Any]) -> None:
        await asyncio.sleep(0)

    box: list[Any] = []
    witness = Witness()
    task = loop.create_task(child(witness, box))
    loop.stop()
    loop.run_forever()
    box.append(loop._ready.popleft())
    gone = weakref.ref(witness)
    task._log_destroy_pending = False
    del task, witness
    assert gone() is not None
    del box
    gc.collect()
    assert gone() is None


class AsksWhenItGoes:
    """A done-callback, or anything else that a task holds, which asks for all tasks when it goes."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self.ask = ask

    def __call__(self, future: asyncio.Future[Any]) -> None:
        raise AssertionError("the task is never done")

    def __del__(self) -> None:
        self.ask()


class Slotted(tulipa.Task):  # type: ignore[type-arg]
    __slots__ = ("held",)
    held: AsksWhenItGoes


@pytest.mark.parametrize("make", [tulipa.Task, Slotted])
@pytest.mark.parametrize("asked_by", ["a weak reference", "a done-callback", "a slot"])
def test_a_task_that_is_being_freed_is_not_listed(make: Any, asked_by: str) -> None:
    loop = tulipa.new_event_loop()
    seen: list[set[Any]] = []

    def ask() -> None:
        seen.append(tulipa.all_tasks(loop) | asyncio.all_tasks(loop))

    async def never_begins() -> None:
        raise AssertionError("the loop does not run")

    coroutine = never_begins()
    task: Any = make(coroutine, loop=loop)
    task._log_destroy_pending = False
    if asked_by == "a weak reference":
        weakref.finalize(task, ask)
    elif asked_by == "a done-callback":
        task.add_done_callback(AsksWhenItGoes(ask))
    elif make is Slotted:
        task.held = AsksWhenItGoes(ask)
    else:
        task.held_in_dict = AsksWhenItGoes(ask)
    del task
    loop.close()
    coroutine.close()
    assert seen == [set()]


LONG = 100_000
"""More objects than can be freed within one another on any usual stack."""

SMALL = 512 * 1024
"""Of a stack, in bytes."""


class DerivedQueue(native.PriorityQueue):
    __slots__ = ("attribute",)


def queue_with(item: Any, make: Any = native.Queue) -> Any:
    queue = make()
    queue.put_nowait(item)
    return queue


def reader_with(exception: Any, loop: Any) -> Any:
    reader: Any = native.StreamReader(loop=loop)
    reader.set_exception(exception)
    return reader


def future_with(result: Any, loop: Any) -> Any:
    future = loop.create_future()
    future.set_result(result)
    return future


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(lambda last, _: queue_with(last), id="queues"),
        pytest.param(lambda last, _: queue_with((0, last), native.PriorityQueue), id="priority queues"),
        pytest.param(lambda last, _: queue_with((0, last), DerivedQueue), id="derived queues"),
        pytest.param(lambda last, _: queue_with(last).get(), id="coroutines of queues"),
        pytest.param(lambda last, _: native.sleep(0, last), id="sleeps"),
        pytest.param(lambda last, _: native.wait_for(last, 1), id="limits"),
        pytest.param(lambda last, _: native.Timeout(last), id="timeouts"),
        pytest.param(lambda last, _: native.Condition(last), id="conditions"),
        pytest.param(reader_with, id="readers"),
        pytest.param(future_with, id="futures"),
        pytest.param(lambda last, loop: future_with(queue_with([last]), loop), id="queues, futures, lists"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_long_chains_go_without_a_deep_stack(
    link: Callable[[Any, Any], Any], loop: asyncio.AbstractEventLoop
) -> None:
    last: Any = native.Lock()
    gone = weakref.ref(last)
    for _ in range(LONG):
        last = link(last, loop)
    held = [last]
    del last
    usual = threading.stack_size(SMALL)
    thread = threading.Thread(target=held.clear)
    thread.start()
    threading.stack_size(usual)
    thread.join()
    assert gone() is None


def test_gatherings_of_gatherings_go_without_a_deep_stack(loop: asyncio.AbstractEventLoop) -> None:
    async def main(result: Witness) -> None:
        first: asyncio.Future[Any] = loop.create_future()
        last = first
        for _ in range(LONG):
            last = native.gather(last)
        first.set_result(result)
        await last

    witness = Witness()
    gone = weakref.ref(witness)
    loop.run_until_complete(main(witness))
    del witness
    assert gone() is None


def test_a_future_at_the_end_of_a_long_chain_is_reported_whole(loop: asyncio.AbstractEventLoop) -> None:
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["future"]))
    error = ValueError()
    last = loop.create_future()
    last.set_exception(error)
    for _ in range(200):
        last = future_with(last, loop)
    del last
    assert [future.exception() for future in reported] == [error]
    assert gc.is_tracked(reported[0])
