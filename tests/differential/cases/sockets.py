"""sock_recv and its sisters: arguments, ready and unready sockets, cancellation, two that want the same socket."""

from __future__ import annotations

import array
import asyncio
import inspect
import socket
import ssl
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..log import Log
from .readers import pair
from .scheduling import new_loop

METHODS = (
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
)


@contextmanager
def datagram_sockets(count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            made.append(sock)
        yield made


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def readable(sock: socket.socket) -> None:
    """Wait until the kernel has something for the socket, without taking it."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await asyncio.sleep(0.001)
        else:
            break
    assert loop.is_running()


async def refused(log: Log, label: str, operation: Any, sock: socket.socket) -> None:
    """Record the refusal of a transport's socket without the number of its descriptor."""
    try:
        await operation
    except RuntimeError as error:
        log(label, str(error).replace(f"descriptor {sock.fileno()} is", "descriptor is"))


def run(log: Log, body: Any, debug: bool = False) -> None:
    with new_loop() as loop:
        loop.set_debug(debug)
        log.watch(loop)
        loop.run_until_complete(asyncio.wait_for(body(loop), 20))


def case_wrong_numbers_of_arguments(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        for name in METHODS:
            method = getattr(loop, name)
            log.attempt(name, method)
            log.attempt(name, method, None, None, None, None, None)
            log.attempt(name, method, None, nonsense=1)


def case_wrong_kinds_of_arguments(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right), datagram_sockets(1) as (datagrams,):
            for wrong in (-1, 1.5, "x", None, 1 << 70):
                await log.attempt_await(f"recv {wrong!r}", loop.sock_recv(left, wrong))
                await log.attempt_await(f"recvfrom {wrong!r}", loop.sock_recvfrom(left, wrong))
            for wrong in (b"immutable", "text", None, 5, [1]):
                await log.attempt_await(f"recv_into {wrong!r}", loop.sock_recv_into(left, wrong))
                await log.attempt_await(f"recvfrom_into {wrong!r}", loop.sock_recvfrom_into(left, wrong))
            for wrong in ("text", None, 5, [1]):
                await log.attempt_await(f"sendall {wrong!r}", loop.sock_sendall(right, wrong))
                await log.attempt_await(
                    f"sendto {wrong!r}", loop.sock_sendto(datagrams, wrong, ("127.0.0.1", 9))
                )
            for wrong in (
                None,
                "text",
                ("127.0.0.1",),
                ("127.0.0.1", "x"),
                ("127.0.0.1", 70000),
                (1, 2),
                [1, 2],
            ):
                await log.attempt_await(f"sendto {wrong!r}", loop.sock_sendto(datagrams, b"x", wrong))
            await log.attempt_await("too large", loop.sock_recvfrom_into(left, bytearray(3), 5))
            await log.attempt_await("negative", loop.sock_recvfrom_into(left, bytearray(3), -5))

    run(log, body)


def case_what_is_no_socket(log: Log) -> None:
    async def body(loop: Any) -> None:
        for wrong in (None, 5, "text"):
            await log.attempt_await(f"recv {wrong!r}", loop.sock_recv(wrong, 1))
            await log.attempt_await(f"accept {wrong!r}", loop.sock_accept(wrong))
            await log.attempt_await(f"sendall {wrong!r}", loop.sock_sendall(wrong, b""))
        with (
            pair() as (left, _),
            ssl.create_default_context().wrap_socket(
                left, server_hostname="x", do_handshake_on_connect=False
            ) as wrapped,
        ):
            for name, arguments in (("recv", (1,)), ("sendall", (b"x",)), ("connect", (("127.0.0.1", 9),))):
                await log.attempt_await(name, getattr(loop, f"sock_{name}")(wrapped, *arguments))

    run(log, body)


def case_closed_sockets(log: Log) -> None:
    async def body(loop: Any) -> None:
        closed = socket.socket()
        closed.setblocking(False)
        closed.close()
        await log.attempt_await("recv", loop.sock_recv(closed, 1))
        await log.attempt_await("recv nothing", loop.sock_recv(closed, 0))
        await log.attempt_await("recv_into", loop.sock_recv_into(closed, bytearray(1)))
        await log.attempt_await("recvfrom", loop.sock_recvfrom(closed, 1))
        await log.attempt_await("sendall", loop.sock_sendall(closed, b"x"))
        await log.attempt_await("sendto", loop.sock_sendto(closed, b"x", ("127.0.0.1", 9)))
        await log.attempt_await("connect", loop.sock_connect(closed, ("127.0.0.1", 9)))
        await log.attempt_await("accept", loop.sock_accept(closed))

    run(log, body)


def case_ready_sockets(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            for data in (
                b"bytes",
                bytearray(b"bytearray"),
                memoryview(b"memoryview"),
                array.array("b", b"array"),
            ):
                log(await loop.sock_sendall(right, data))
                log(await loop.sock_recv(left, 100))
            log(await loop.sock_sendall(right, memoryview(b"0123456789")[::2].tobytes()))
            log(await loop.sock_sendall(right, b""))
            buffer = bytearray(3)
            log(await loop.sock_recv_into(left, buffer), buffer)
            log(await loop.sock_recv_into(left, memoryview(buffer)[1:]), buffer)
            log(await loop.sock_recv_into(left, bytearray()))
            log(await loop.sock_recv(left, 0))
            await loop.sock_sendall(right, b"address?")
            log(await loop.sock_recvfrom(left, 2))
            log(await loop.sock_recvfrom_into(left, buffer, 2), buffer)
            log(await loop.sock_recvfrom_into(left, buffer), buffer)
            right.close()
            log(await loop.sock_recv(left, 100), await loop.sock_recv(left, 1 << 20))

    run(log, body)


def case_unready_sockets(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):

            async def later(data: bytes) -> None:
                await turns()
                log("sends")
                await loop.sock_sendall(right, data)

            buffer = bytearray(4)
            for operation in (
                lambda: loop.sock_recv(left, 100),
                lambda: loop.sock_recv_into(left, buffer),
                lambda: loop.sock_recvfrom(left, 100),
                lambda: loop.sock_recvfrom_into(left, buffer),
            ):
                sending = asyncio.ensure_future(later(b"data"))
                log(await operation(), buffer)
                await sending
            right.close()
            log(await loop.sock_recv(left, 1))

    run(log, body)


def case_order_of_things(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):

            async def reader() -> None:
                log("received", await loop.sock_recv(left, 10))

            task = asyncio.ensure_future(reader())
            await turns(3)
            right.send(b"x")
            loop.call_soon(log, "soon")
            for number in range(4):
                await asyncio.sleep(0)
                log(number)
            await task

    run(log, body)


def case_more_than_the_kernel_takes(log: Log) -> None:
    async def body(loop: Any) -> None:
        for data in (bytes(3_000_000), bytearray(3_000_000)):
            with pair() as (left, right):

                async def drain(left: socket.socket = left) -> int:
                    received = 0
                    while received < 3_000_000:
                        received += len(await loop.sock_recv(left, 1 << 20))
                    return received

                sending = asyncio.ensure_future(loop.sock_sendall(right, data))
                await turns()
                if isinstance(data, bytearray):
                    log.attempt("resize", data.extend, b"more")
                log(await drain(), await sending)

    run(log, body)


def case_peers_that_are_gone(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            filling = asyncio.ensure_future(loop.sock_sendall(left, bytes(5_000_000)))
            await turns()
            right.close()
            await log.attempt_await("waiting", filling)
            await log.attempt_await("ready", loop.sock_sendall(left, b"x"))

    run(log, body)


def case_cancelled(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            task = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            task.cancel("reason")
            await log.attempt_await("cancelled", task)
            await log.attempt_await("wait_for", asyncio.wait_for(loop.sock_recv(left, 10), 0.01))
            await loop.sock_sendall(right, b"data")
            log(await loop.sock_recv(left, 10))
            log(loop.remove_reader(left), loop.remove_writer(right))

    run(log, body)


def case_as_a_coroutine(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            made = loop.sock_recv(left, 10)
            log(asyncio.iscoroutine(made), inspect.isawaitable(made), made.__name__, made.__qualname__, made)
            log.attempt("not None", made.send, 1)
            future = made.send(None)
            log(asyncio.isfuture(future))
            log.attempt("throw", made.throw, KeyError("thrown"))
            log.attempt("again", made.send, None)
            log.attempt("throw again", made.throw, KeyError("thrown"))
            log.attempt("close", made.close)
            closed = loop.sock_recv(left, 10)
            log.attempt("close", closed.close)
            log.attempt("send", closed.send, None)
            right.send(b"data")
            ready = loop.sock_recv(left, 10)
            try:
                ready.send(None)
            except StopIteration as stop:
                log(stop.value)
            task = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            log(task.get_coro(), "wait_for=<Future pending" in repr(task))
            right.send(b"more")
            log(await task, await asyncio.gather(loop.sock_sendall(right, b"x"), loop.sock_recv(left, 1)))

    run(log, body)


def case_never_awaited(log: Log) -> None:
    with new_loop() as loop, pair() as (left, _):
        del loop.sock_recv(left, 10).__class__
        log("end")


def case_run_until_complete(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        log(loop.run_until_complete(loop.sock_sendall(right, b"data")))
        log(loop.run_until_complete(loop.sock_recv(left, 10)))
        log.attempt("closed loop", loop.close)
        left.setblocking(False)
        for name in ("sock_recv",):
            coroutine = getattr(loop, name)(left, 1)
            log.attempt(name, coroutine.send, None)


def case_two_readers_of_one_socket(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            first = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            second = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            right.send(b"data")
            log(await second)
            right.send(b"more")
            await turns(10)
            log(first.done())
            first.cancel()
            await log.attempt_await("first", first)
            log(await loop.sock_recv(left, 10))

    run(log, body)


def case_beside_a_reader(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            task = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            loop.add_reader(left, lambda: log("reader", left.recv(10)))
            right.send(b"data")
            await turns(10)
            log(task.done(), loop.remove_reader(left))
            task.cancel()
            await log.attempt_await("operation", task)
            loop.add_reader(left, log, "never")
            task = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            right.send(b"data")
            log(await task, loop.remove_reader(left))
            task = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            log(loop.remove_reader(left))
            right.send(b"data")
            await turns(10)
            log(task.done())
            task.cancel()
            await log.attempt_await("removed", task)

    run(log, body)


def case_reading_and_writing_at_once(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            sending = loop.create_task(loop.sock_sendall(left, bytes(2_000_000)))
            receiving = loop.create_task(loop.sock_recv(left, 10))
            await turns()
            right.send(b"data")
            log(await receiving, sending.done())
            received = 0
            while received < 2_000_000:
                received += len(await loop.sock_recv(right, 1 << 18))
            log(await sending)

    run(log, body)


def case_sockets_of_transports(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
            for name, arguments in (("recv", (10,)), ("recv_into", (bytearray(1),)), ("recvfrom", (10,))):
                await refused(log, name, getattr(loop, f"sock_{name}")(left, *arguments), left)
            await log.attempt_await("sendall", loop.sock_sendall(left, b"data"))
            log(await loop.sock_recv(right, 10))
            transport.close()
            await turns()

    run(log, body)


def case_connecting(log: Log) -> None:
    async def body(loop: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            for address in (server.getsockname(), ("localhost", server.getsockname()[1])):
                with socket.socket() as client:
                    client.setblocking(False)
                    accepting = loop.create_task(loop.sock_accept(server))
                    log(await loop.sock_connect(client, address))
                    connection, peer = await accepting
                    log(type(connection), connection.gettimeout(), peer == client.getsockname())
                    log(connection.family, connection.type, connection.proto)
                    await log.attempt_await("again", loop.sock_connect(client, server.getsockname()))
                    connection.close()
            dead = server.getsockname()
        for address in (dead, ("127.0.0.1", "http-alt"), ("127.0.0.1", -1), ("127.0.0.1",), None, "text"):
            with socket.socket() as client:
                client.setblocking(False)
                await log.attempt_await(f"to {type(address).__name__}", loop.sock_connect(client, address))
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            for path in ("/nonexistent/socket", b"/nonexistent", "\0" + "nobody", "x" * 200, ("a", 1)):
                await log.attempt_await("unix", loop.sock_connect(client, path))

    run(log, body)


def case_accepting(log: Log) -> None:
    async def body(loop: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            task = loop.create_task(loop.sock_accept(server))
            await turns()
            task.cancel()
            await log.attempt_await("cancelled", task)
            with socket.create_connection(server.getsockname()):
                connection, _ = await loop.sock_accept(server)
                connection.close()
        with socket.socket() as plain:
            plain.setblocking(False)
            await log.attempt_await("not listening", loop.sock_accept(plain))

    run(log, body)


def case_datagrams(log: Log) -> None:
    async def body(loop: Any) -> None:
        with datagram_sockets(2) as (left, right):
            log(await loop.sock_sendto(left, b"data", right.getsockname()))
            data, sender = await loop.sock_recvfrom(right, 100)
            log(data, sender == left.getsockname())
            log(
                await loop.sock_sendto(left, b"", right.getsockname()),
                (await loop.sock_recvfrom(right, 0))[0],
            )
            receiving = loop.create_task(loop.sock_recvfrom(right, 2))
            await turns()
            log(await loop.sock_sendto(left, bytearray(b"truncated"), ("localhost", right.getsockname()[1])))
            log((await receiving)[0])
            await log.attempt_await("too long", loop.sock_sendto(left, bytes(70_000), right.getsockname()))
            await log.attempt_await("no address", loop.sock_sendto(left, b"x", ("", 0)))
            log(await loop.sock_connect(left, right.getsockname()))
            log(await loop.sock_sendall(left, b"connected"), await loop.sock_recv(right, 100))

    run(log, body)


def case_debug_mode(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            left.setblocking(True)
            right.settimeout(1)
            address = ("127.0.0.1", 9)
            for name, arguments in (
                ("recv", (1,)),
                ("recv_into", (bytearray(1),)),
                ("recvfrom", (1,)),
                ("recvfrom_into", (bytearray(1),)),
                ("sendall", (b"x",)),
                ("sendto", (b"x", address)),
                ("connect", (address,)),
                ("accept", ()),
            ):
                for sock in (left, right):
                    await log.attempt_await(name, getattr(loop, f"sock_{name}")(sock, *arguments))
            left.setblocking(False)
            right.setblocking(False)
            await loop.sock_sendall(right, b"x")
            log(await loop.sock_recv(left, 1))

    run(log, body, debug=True)


def case_blocking_sockets(log: Log) -> None:
    async def body(loop: Any) -> None:
        with pair() as (left, right):
            left.settimeout(0.01)
            await log.attempt_await("with a timeout", loop.sock_recv(left, 1))
            right.setblocking(True)
            await log.attempt_await("blocking", loop.sock_sendall(right, b"x"))
            log(await loop.sock_recv(left, 1))

    run(log, body)


def case_classes_of_the_programs_own(log: Log) -> None:
    class Counting(socket.socket):
        def recv(self, *arguments: Any) -> bytes:
            log("recv", arguments)
            return super().recv(*arguments)

        def send(self, *arguments: Any) -> int:
            log("send", len(arguments))
            return super().send(*arguments)

    class Plain(socket.socket):
        pass

    async def body(loop: Any) -> None:
        for kind in (Counting, Plain):
            with pair() as (left, right):
                mine = kind(fileno=left.detach())
                with mine:
                    await loop.sock_sendall(mine, b"data")
                    log(await loop.sock_recv(right, 10))
                    right.send(b"back")
                    log(await loop.sock_recv(mine, 10))

    run(log, body)


def case_audited(log: Log) -> None:
    seen = log.channel("audit")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.sendto", "socket.connect"):
            seen(event, type(arguments[0]), arguments[1][0])

    async def body(loop: Any) -> None:
        with datagram_sockets(2) as (left, right):
            await loop.sock_sendto(left, b"x", right.getsockname())
            await loop.sock_connect(left, right.getsockname())
        log("end")

    sys.addaudithook(hook)
    warnings.simplefilter("default")
    run(log, body)
