"""add_reader and add_writer: what may be watched, how often callbacks run, what goes wrong."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from ..log import Log
from .scheduling import new_loop, print_nothing, turns


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def case_arguments_of_the_wrong_kind(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        for method in (loop.add_reader, loop.add_writer):
            for wrong in (None, "text", 1.5, [], object):
                log.attempt(f"{method.__name__} {wrong!r}", method, wrong, print_nothing)
            log.attempt(f"{method.__name__} negative", method, -1, print_nothing)
            log.attempt(f"{method.__name__} without callback", method, 0)
        for method in (loop.remove_reader, loop.remove_writer):
            for wrong in (None, "text", -1):
                log.attempt(f"{method.__name__} {wrong!r}", method, wrong)
            log.attempt(f"{method.__name__} not watched", method, 999)


class Stated:
    """A file object whose descriptor is whatever was said."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        if isinstance(self.number, BaseException):
            raise self.number
        return self.number

    def __repr__(self) -> str:
        return f"Stated({self.number!r})"


def case_numbers_that_no_descriptor_has(log: Log) -> None:
    numbers = [10**30, 2**40, 2**31, 2**31 - 1, -1, -(10**30), -(2**40)]
    with new_loop() as any_loop:
        loop: Any = any_loop
        for number in [*numbers, *map(Stated, numbers)]:
            for method in (loop.remove_reader, loop.remove_writer):
                log.attempt(f"{method.__name__} {number}", method, number)
            for method in (loop.add_reader, loop.add_writer):
                log.attempt(f"{method.__name__} {number}", method, number, print_nothing)


def case_what_stands_for_a_descriptor(log: Log) -> None:
    with new_loop() as any_loop, pair() as (left, _):
        loop: Any = any_loop
        number = left.fileno()
        for stated in (str(number), number + 0.5, Fraction(number), str(number).encode()):
            file = Stated(stated)
            loop.add_reader(file, print_nothing)
            log(type(stated), loop.remove_reader(number), loop.remove_reader(file))
        errors = [OSError(5, "text"), LookupError("text"), ValueError("text"), KeyboardInterrupt("text")]
        for wrong in (Stated("text"), Stated(math.inf), Stated(math.nan), Stated(None), *map(Stated, errors)):
            log.attempt(f"add {wrong}", loop.add_reader, wrong, print_nothing)
            log.attempt(f"remove {wrong}", loop.remove_reader, wrong)


def case_descriptors_that_are_not_open(log: Log) -> None:
    with new_loop() as loop, pair() as (left, _):
        number = os.dup(left.fileno())
        os.close(number)
        for method in (loop.add_reader, loop.add_writer):
            try:
                method(number, print_nothing)
            except OSError as error:
                log(method.__name__, type(error).__name__, error.errno, error.strerror)
        log(loop.remove_reader(number), loop.remove_writer(number))


def case_closed_socket_object(log: Log) -> None:
    with new_loop() as loop, pair() as (left, _):
        left.close()
        log.attempt("add", loop.add_reader, left, print_nothing)
        log.attempt("remove", loop.remove_reader, left)


def case_plain_files(log: Log) -> None:
    with new_loop() as loop, tempfile.TemporaryFile() as file:
        for method in (loop.add_reader, loop.add_writer):
            try:
                method(file, print_nothing)
            except OSError as error:
                log(method.__name__, type(error).__name__, error.errno, error.strerror)
        log(loop.remove_reader(file))


def case_level_triggered(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.send(b"abc")

        def read_one() -> None:
            log(left.recv(1))

        loop.add_reader(left, read_one)
        turns(loop, 8)
        log(loop.remove_reader(left), loop.remove_reader(left))


def case_reader_and_writer_of_one_socket(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.send(b"x")
        loop.add_writer(left, lambda: log("writable", loop.remove_writer(left)))
        loop.add_reader(left, lambda: log("readable", loop.remove_reader(left)))
        turns(loop)


def case_replacing_a_callback(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.send(b"x")
        loop.add_reader(left, log, "replaced: must not run")
        loop.add_reader(left, lambda: log("the second", loop.remove_reader(left)))
        turns(loop)


def case_reader_removed_by_an_earlier_callback(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.send(b"x")
        # Ready in the same turn: whoever comes first removes both.
        calls = []

        def callback(name: str) -> None:
            calls.append(name)
            loop.remove_reader(left)
            loop.remove_writer(left)

        loop.add_reader(left, callback, "reader")
        loop.add_writer(left, callback, "writer")
        turns(loop)
        log(len(calls))


def case_add_again_after_removal(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.send(b"x")

        def first() -> None:
            log("first", loop.remove_reader(left))
            loop.add_reader(left, second)

        def second() -> None:
            log("second", loop.remove_reader(left))

        loop.add_reader(left, first)
        turns(loop, 8)


def case_descriptor_number_used_again(log: Log) -> None:
    """The kernel forgets a closed descriptor; the number comes back as another socket."""
    with new_loop() as loop:
        first, peer = socket.socketpair()
        number = first.fileno()
        loop.add_reader(number, log, "of the first: must not run")
        loop.remove_reader(number)
        with pair() as (left, right):
            first.close()
            os.dup2(left.fileno(), number)
            right.send(b"x")
            loop.add_reader(number, lambda: log("of the second", loop.remove_reader(number)))
            turns(loop)
            os.close(number)
        peer.close()


def case_hang_up_is_readable(log: Log) -> None:
    with new_loop() as loop, pair() as (left, right):
        right.close()
        loop.add_reader(left, lambda: log(left.recv(10), loop.remove_reader(left)))
        turns(loop)


def case_pipes(log: Log) -> None:
    with new_loop() as loop:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        loop.add_writer(
            writing, lambda: log("writable", loop.remove_writer(writing), os.write(writing, b"x"))
        )
        loop.add_reader(reading, lambda: log("readable", loop.remove_reader(reading), os.read(reading, 9)))
        turns(loop, 8)
        # A pipe without readers reports an error, which counts as writable.
        os.close(reading)
        loop.add_writer(writing, lambda: log("broken", loop.remove_writer(writing)))
        turns(loop)
        os.close(writing)


def case_idle_loop_is_woken_by_a_descriptor(log: Log) -> None:
    import threading

    with new_loop() as loop, pair() as (left, right):
        loop.add_reader(left, lambda: (log(left.recv(5)), loop.stop()))
        threading.Thread(target=right.send, args=(b"hello",)).start()
        loop.run_forever()


def case_descriptor_of_a_transport(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        sock = transport.get_extra_info("socket")
        for method in (loop.add_reader, loop.add_writer, loop.remove_reader, loop.remove_writer):
            try:
                method(sock, *([print_nothing] if "add" in method.__name__ else []))
            except RuntimeError as error:
                log(method.__name__, str(error).partition(" is used by transport")[1])
        transport.abort()
        server.close()
        await asyncio.sleep(0)

    asyncio.run(main())


def case_watching_on_a_closed_loop(log: Log) -> None:
    loop = asyncio.new_event_loop()
    with pair() as (left, _):
        loop.close()
        log.attempt("add_reader", loop.add_reader, left, print_nothing)
        log.attempt("add_writer", loop.add_writer, left, print_nothing)
        log.attempt("remove_reader", loop.remove_reader, left)
        log.attempt("remove_writer", loop.remove_writer, left)


def case_watchers_left_when_the_loop_closes(log: Log) -> None:
    with pair() as (left, _):
        loop = asyncio.new_event_loop()
        loop.add_reader(left, print_nothing)
        loop.close()
        log("closed", left.fileno() > 0)
