"""Native socket operations: what they promise beyond asyncio's, and where they could go wrong."""

import asyncio
import gc
import inspect
import os
import socket
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest

import tulipa

from .test_lifetimes import growth

Body = Callable[[Any], Awaitable[Any]]


def run(body: Body) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(body(asyncio.get_running_loop()), 60)

    return tulipa.run(main())


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


Pair = tuple[socket.socket, socket.socket]


async def waiting(task: asyncio.Task[Any]) -> None:
    """Wait until the task waits for its socket."""
    while task._fut_waiter is None:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


def between(future: asyncio.Future[Any], action: Callable[[], object]) -> None:
    """Act as soon as the future is done, before the task that waits for it goes on."""
    if future.done():
        action()
    else:
        asyncio.get_running_loop().call_soon(between, future, action)


@pytest.mark.parametrize("kind", ["recv", "recv_into", "recvfrom", "recvfrom_into"])
def test_cancelling_loses_no_byte(kind: str, pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        arguments = (bytearray(10),) if kind.endswith("into") else (10,)
        task = loop.create_task(getattr(loop, f"sock_{kind}")(left, *arguments))
        await waiting(task)
        # Cancelled in the moment between the socket's readiness and the task's next step.
        between(task._fut_waiter, task.cancel)
        right.send(b"data")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await loop.sock_recv(left, 10) == b"data"

    run(body)


def test_cancelling_an_accept_loses_no_connection() -> None:
    async def body(loop: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            task = loop.create_task(loop.sock_accept(server))
            await waiting(task)
            between(task._fut_waiter, task.cancel)
            with socket.create_connection(server.getsockname()) as client:
                with pytest.raises(asyncio.CancelledError):
                    await task
                connection, peer = await loop.sock_accept(server)
                assert peer == client.getsockname()
                connection.close()

    run(body)


def test_a_timeout_beside_the_data_loses_no_byte(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> bytes:
        received = b""
        sent = b"".join(b"%05d" % number for number in range(400))

        async def send() -> None:
            for start in range(0, len(sent), 5):
                right.send(sent[start : start + 5])
                await asyncio.sleep(0.0005)
            right.shutdown(socket.SHUT_WR)

        sending = asyncio.ensure_future(send())
        while True:
            try:
                data = await asyncio.wait_for(loop.sock_recv(left, 7), 0.0007)
            except TimeoutError:
                continue
            if not data:
                break
            received += data
        await sending
        assert received == sent
        return received

    run(body)


def test_nothing_happens_before_it_is_awaited(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        sending = loop.sock_sendall(right, b"data")
        with pytest.raises(BlockingIOError):
            left.recv(1)
        await sending
        receiving = loop.sock_recv(left, 4)
        assert left.recv(2) == b"da"
        assert await receiving == b"ta"

    run(body)


def test_a_socket_may_be_closed_and_its_number_used_again(pair: Pair) -> None:
    async def body(loop: Any) -> None:
        numbers = set()
        for number in range(50):
            left, right = socket.socketpair()
            with left, right:
                left.setblocking(False)
                numbers.add(left.fileno())
                task = loop.create_task(loop.sock_recv(left, 10))
                await waiting(task)
                right.send(b"%d" % number)
                assert await task == b"%d" % number
        assert len(numbers) == 1, "the test is about one number"

    run(body)


def test_a_socket_closed_while_it_is_waited_for_stays_open_until_then(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        number = left.fileno()
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        left.close()
        assert left.fileno() == number
        right.send(b"late")
        assert await task == b"late"
        assert left.fileno() == -1

    run(body)


def test_a_cancelled_operation_keeps_no_socket_open(pair: Pair) -> None:
    left, _ = pair

    async def body(loop: Any) -> None:
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        left.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left.fileno() == -1

    run(body)


def test_a_closed_loop_keeps_no_socket_open(pair: Pair) -> None:
    left, _ = pair
    loop = tulipa.new_event_loop()
    task: Any = loop.create_task(loop.sock_recv(left, 10))
    loop.run_until_complete(asyncio.sleep(0))
    left.close()
    assert left.fileno() != -1
    task._log_destroy_pending = False
    loop.close()
    assert left.fileno() == -1


def test_a_descriptor_closed_while_it_was_waited_for(pair: Pair) -> None:
    async def body(loop: Any) -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        number = left.fileno()
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        os.close(left.detach())
        right.close()
        again, other = socket.socketpair()
        with again, other:
            again.setblocking(False)
            assert again.fileno() == number
            second = loop.create_task(loop.sock_recv(again, 100))
            await waiting(second)
            other.send(b"for the second")
            assert await second == b"for the second"
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body)


def test_a_late_cancellation_does_not_touch_the_next_owner_of_the_number() -> None:
    async def body(loop: Any) -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        number = left.fileno()
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        os.close(left.detach())
        right.close()
        again, other = socket.socketpair()
        assert again.fileno() == number
        reader = asyncio.StreamReader()
        transport, _ = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), sock=again)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other.send(b"data")
        assert await reader.read(10) == b"data"
        transport.close()
        other.close()

    run(body)


def test_closed_between_readiness_and_reading(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        between(task._fut_waiter, lambda: os.close(left.detach()))
        right.send(b"data")
        with pytest.raises(OSError, match="Bad file descriptor"):
            await task

    run(body)


def test_a_socket_goes_on_as_a_transport(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        right.send(b"hello")
        assert await task == b"hello"
        # In the same turn: what the operation had the kernel watch is still there.
        reader = asyncio.StreamReader()
        transport, _ = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), sock=left)
        right.send(b"more")
        assert await reader.read(10) == b"more"
        transport.close()

    run(body)


def test_a_reader_takes_over_in_the_same_turn(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        right.send(b"a")
        assert await task == b"a"
        seen = loop.create_future()
        loop.add_reader(left, lambda: seen.done() or seen.set_result(left.recv(10)))
        right.send(b"b")
        assert await seen == b"b"
        assert loop.remove_reader(left)

    run(body)


def test_nothing_is_watched_for_long_after_an_operation(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        assert left.fileno() in loop._selector.get_map()
        right.send(b"a")
        assert await task == b"a"
        assert left.fileno() not in loop._selector.get_map()
        right.send(b"b")
        await asyncio.sleep(0)
        # Left to itself, the loop would spin if the socket were watched still: it sleeps.
        before = os.times()
        await asyncio.sleep(0.3)
        after = os.times()
        assert after.user + after.system - before.user - before.system < 0.2

    run(body)


def test_only_one_registration_for_many_messages(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        async def echo() -> None:
            while data := await loop.sock_recv(left, 100):
                await loop.sock_sendall(left, data)

        task = loop.create_task(echo())
        for number in range(1000):
            await loop.sock_sendall(right, b"%d" % number)
            assert await loop.sock_recv(right, 100) == b"%d" % number
        right.shutdown(socket.SHUT_WR)
        await task
        assert not loop._watched()

    run(body)


def test_buffers_are_let_go(pair: Pair) -> None:
    left, right = pair

    async def body(loop: Any) -> None:
        buffer = bytearray(100)
        await loop.sock_sendall(right, b"x" * 100)
        await loop.sock_recv_into(left, buffer)
        buffer.extend(b"may grow")
        task = loop.create_task(loop.sock_recv_into(left, buffer))
        await waiting(task)
        buffer.extend(b"also while it waits")
        right.send(b"y")
        assert await task == 1
        sent = bytearray(4_000_000)
        task = loop.create_task(loop.sock_sendall(right, sent))
        await waiting(task)
        with pytest.raises(BufferError):
            sent.extend(b"must not")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        sent.extend(b"may again")

    run(body)


def test_a_forgotten_operation_says_so(pair: Pair) -> None:
    left, _ = pair

    async def body(loop: Any) -> None:
        gc.collect()  # what else was left warns before it is looked for
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.sock_recv(left, 10)
            gc.collect()
        assert [str(warning.message) for warning in caught] == [
            "coroutine 'BaseSelectorEventLoop.sock_recv' was never awaited"
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop.sock_recv(left, 10).close()

    run(body)


def test_an_operation_is_a_coroutine_to_asyncio(pair: Pair) -> None:
    left, _ = pair

    async def body(loop: Any) -> None:
        operation = loop.sock_recv(left, 10)
        assert asyncio.iscoroutine(operation)
        assert isinstance(operation, Coroutine)
        assert inspect.isawaitable(operation)
        assert not inspect.iscoroutine(operation)
        assert not inspect.iscoroutinefunction(loop.sock_recv)
        operation.close()
        loop.set_debug(True)
        stock = loop.sock_recv(left, 10)
        assert inspect.iscoroutine(stock)
        stock.close()
        loop.set_debug(False)

    run(body)


def test_operations_leave_nothing() -> None:
    with closing(tulipa.new_event_loop()) as loop:

        async def work() -> None:
            left, right = socket.socketpair()
            with left, right:
                left.setblocking(False)
                right.setblocking(False)
                task = loop.create_task(loop.sock_recv(left, 10))
                await waiting(task)
                await loop.sock_sendall(right, b"data")
                await task
                cancelled = loop.create_task(loop.sock_recv_into(left, bytearray(5)))
                await waiting(cancelled)
                cancelled.cancel()
                await asyncio.wait([cancelled])

        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))
        assert growth(lambda: loop.run_until_complete(work())) < 20
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_socket_is_not_kept(pair: Pair) -> None:
    async def body(loop: Any) -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        reference = weakref.ref(left)
        task = loop.create_task(loop.sock_recv(left, 10))
        await waiting(task)
        right.send(b"x")
        await task
        left.close()
        del left, task
        for _ in range(3):
            await asyncio.sleep(0)
        assert reference() is None
        right.close()

    run(body)


def test_cycles_through_operations_are_collected() -> None:
    class Witness(bytearray):
        operation: Any = None

    with closing(tulipa.new_event_loop()) as loop:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            witness = Witness(10)
            witness.operation = loop.sock_recv_into(left, witness)
            witness.operation.send(None)
            witness.operation.close()
            witness.operation = loop.sock_recv_into(left, witness)
            reference = weakref.ref(witness)
            del witness
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gc.collect()
            assert reference() is None


def test_a_loop_closed_over_an_operation(pair: Pair) -> None:
    left, _ = pair
    loop = tulipa.new_event_loop()
    operation = loop.sock_recv(left, 10)
    future = operation.send(None)
    loop.close()
    assert not future.done()
    operation.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.sock_recv(left, 10).send(None)
