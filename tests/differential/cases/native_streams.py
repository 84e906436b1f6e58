"""Tulipa's own streams beside asyncio's: every case of `streams`, with the names swapped, and more of the kind.

In the process that has Tulipa, asyncio's names for streams and child processes stand for Tulipa's.
"""

from __future__ import annotations

import asyncio
import asyncio.streams
import asyncio.subprocess
import functools
import gc
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

from ..log import Log, since
from . import streams
from .streams import stream_pair


def swap() -> None:
    """Put Tulipa's names where asyncio's are, if this process has Tulipa."""
    if "tulipa" not in sys.modules:
        return
    import tulipa._streams
    import tulipa._subprocess

    for ours, theirs in (
        (tulipa._streams, asyncio.streams),
        (tulipa._subprocess, asyncio.subprocess),
    ):
        for name in ours.__all__:
            for owner in (asyncio, theirs):
                if hasattr(owner, name):
                    setattr(owner, name, getattr(ours, name))


def swapped(case: Callable[[Log], None]) -> Callable[[Log], None]:
    """A case that runs with the names swapped."""

    @functools.wraps(case)
    def run(log: Log) -> None:
        swap()
        case(log)

    return run


for _name, _case in list(vars(streams).items()):
    if _name.startswith("case_"):
        globals()[_name] = swapped(_case)


@swapped
def case_a_reader_fed_by_hand(log: Log) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=8)
        log(repr(reader), reader.at_eof(), reader.exception())
        reader.feed_data(b"")
        reader.feed_data(bytearray(b"abc"))
        reader.feed_data(memoryview(b"def"))
        log(repr(reader), vars_of(reader, "_buffer", "_eof", "_paused", "_limit", "_waiter", "_transport"))
        log(await reader.read(2), await reader.readexactly(3), await reader.read(0))
        reader.feed_eof()
        log(repr(reader), reader.at_eof())
        log.attempt("after the end", reader.feed_data, b"x")
        log(await reader.read(), reader.at_eof(), repr(reader))

    asyncio.run(main())


def vars_of(owner: object, *names: str) -> list[object]:
    return [getattr(owner, name) for name in names]


@swapped
def case_wrong_arguments(log: Log) -> None:
    async def main() -> None:
        log.attempt("limit 0", asyncio.StreamReader, 0)
        log.attempt("limit -1", asyncio.StreamReader, limit=-1)
        log.attempt("limit text", asyncio.StreamReader, limit="8")
        reader = asyncio.StreamReader()
        reader.feed_data(b"data")
        await log.attempt_await("negative", call(reader.readexactly, -1))
        await log.attempt_await("no separator", call(reader.readuntil, b""))
        await log.attempt_await("text", call(reader.readuntil, "x"))
        await log.attempt_await("number", call(reader.readuntil, 5))
        log.attempt("text fed", reader.feed_data, "text")
        log.attempt("numbers fed", reader.feed_data, [1, 2, 300])
        log(await reader.read(100))

    asyncio.run(main())


async def call(function: Callable[..., Any], *arguments: object) -> Any:
    """Await what the function gives: whether it checks its arguments at once or when awaited is nobody's business."""
    return await function(*arguments)


@swapped
def case_limits_around_separators(log: Log) -> None:
    async def main() -> None:
        for data in (b"12345678|", b"123456789|", b"1234567890", b"12345678", b"", b"|"):
            for separator in (b"|", b"||", b"9|"):
                reader = asyncio.StreamReader(limit=8)
                reader.feed_data(data)
                reader.feed_eof()
                try:
                    log(data, separator, await reader.readuntil(separator))
                except asyncio.LimitOverrunError as error:
                    log(data, separator, error, error.args, error.consumed)
                except asyncio.IncompleteReadError as error:
                    log(data, separator, error, error.args, error.partial, error.expected)
                log(vars_of(reader, "_buffer"))

    asyncio.run(main())


@swapped
def case_lines_longer_than_the_limit(log: Log) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader(limit=4)
        reader.feed_data(b"12345678\nab\ncd")
        await log.attempt_await("found too far", reader.readline())
        log(vars_of(reader, "_buffer"), await reader.readline())
        reader.feed_data(b"efghij")
        try:
            await reader.readline()
        except ValueError as error:
            log(error, error.args, type(error.__context__).__name__, error.__cause__)
        log(vars_of(reader, "_buffer"))

    asyncio.run(main())


@swapped
def case_separators_across_chunks(log: Log) -> None:
    async def main() -> None:
        for chunks in ([b"a", b"b\r", b"\nc"], [b"\r", b"\n"], [b"ab\r\r", b"\r", b"\n\n"]):
            reader = asyncio.StreamReader()
            task = asyncio.ensure_future(reader.readuntil(b"\r\n"))
            for chunk in chunks:
                await asyncio.sleep(0)
                reader.feed_data(chunk)
            log(await task, vars_of(reader, "_buffer"))

    asyncio.run(main())


@since(3, 13)
@swapped
def case_several_separators(log: Log) -> None:
    async def main() -> None:
        for separators in (
            (b"|", b";"),
            (b"ab", b"b"),
            (b"long separator", b"p"),
            (bytearray(b";"),),
            (),
            (b"",),
        ):
            reader = asyncio.StreamReader(limit=12)
            reader.feed_data(b"xxab;long sep|arator")
            reader.feed_eof()
            for _ in range(2):
                await log.attempt_await(str(separators), call(reader.readuntil, separators))

    asyncio.run(main())


@swapped
def case_an_exception_for_the_reader(log: Log) -> None:
    async def main() -> None:
        for name, arguments in (("read", (1,)), ("readline", ()), ("readexactly", (1,)), ("readuntil", ())):
            reader = asyncio.StreamReader()
            task = asyncio.ensure_future(getattr(reader, name)(*arguments))
            await asyncio.sleep(0)
            log(repr(reader).partition("waiter=")[0])
            reader.set_exception(LookupError("set"))
            await log.attempt_await(name, task)
            await log.attempt_await(name, getattr(reader, name)(*arguments))
            log(repr(reader))

    asyncio.run(main())


@swapped
def case_cancelled_reads(log: Log) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        for name, arguments in (
            ("read", (4,)),
            ("readline", ()),
            ("readexactly", (4,)),
            ("readuntil", (b"d",)),
        ):
            task = asyncio.ensure_future(getattr(reader, name)(*arguments))
            await asyncio.sleep(0)
            log(task.cancel("enough"))
            await log.attempt_await(name, task)
            log(vars_of(reader, "_waiter"))
            # Woken and cancelled in the same iteration.
            task = asyncio.ensure_future(getattr(reader, name)(*arguments))
            await asyncio.sleep(0)
            reader.feed_data(b"word")
            task.cancel()
            await log.attempt_await(name, task)
            log(await reader.read(10))

    asyncio.run(main())


@swapped
def case_a_transport_is_paused_and_resumed(log: Log) -> None:
    async def main() -> None:
        transport = mock.Mock(spec=["pause_reading", "resume_reading"])
        reader = asyncio.StreamReader(limit=4)
        reader.set_transport(transport)
        log.attempt("again", reader.set_transport, transport)
        for data in (b"12345678", b"9", b"0"):
            reader.feed_data(data)
            log([entry[0] for entry in transport.method_calls])
        for count in (3, 2, 1, 4):
            log(await reader.read(count), [entry[0] for entry in transport.method_calls])
        reader.feed_data(b"x" * 9)
        asyncio.get_running_loop().call_soon(reader.feed_data, b"x")
        log(await reader.readexactly(10), [entry[0] for entry in transport.method_calls])
        transport.pause_reading.side_effect = NotImplementedError
        reader.feed_data(b"x" * 9)
        log(vars_of(reader, "_transport", "_paused"))

    asyncio.run(main())


@swapped
def case_the_buffer_is_changed_from_outside(log: Log) -> None:
    async def main() -> None:
        reader: Any = asyncio.StreamReader()
        reader.feed_data(b"one two three")
        buffer = reader._buffer
        del buffer[:4]
        log(await reader.readuntil(b" "), bytes(buffer), buffer is reader._buffer)
        buffer.extend(b"!")
        reader.feed_data(b"?")
        log(bytes(buffer), await reader.read(3), bytes(buffer))
        buffer.clear()
        log(reader.at_eof(), repr(reader))
        reader._buffer = bytearray(b"another")
        log(await reader.read(100))

    asyncio.run(main())


@swapped
def case_subclasses(log: Log) -> None:
    class Reader(asyncio.StreamReader):
        async def readuntil(self, separator: Any = b"\n") -> bytes:
            log("readuntil", separator)
            return await super().readuntil(separator)

        async def read(self, n: int = -1) -> bytes:
            log("read", n)
            return await super().read(n)

        def feed_data(self, data: Any) -> None:
            super().feed_data(bytes(data).upper())

    async def main() -> None:
        reader = Reader(limit=6)
        reader.feed_data(b"one\ntwo\nabcdefghij")
        log(await reader.readline(), [line async for line in first(reader)])
        await log.attempt_await("too long", reader.readline())
        reader.feed_data(b"the rest\nof it")
        reader.feed_eof()
        log(await reader.read(3), await reader.read())
        log(await reader.readline(), [line async for line in reader])
        log(isinstance(reader, asyncio.StreamReader), issubclass(Reader, asyncio.StreamReader))

    async def first(reader: Any) -> Any:
        async for line in reader:
            yield line
            break

    asyncio.run(main())


@swapped
def case_draining(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (_, writer, peer):
            writer.transport.set_write_buffer_limits(0)
            writer.write(b"x" * 4_000_000)
            waiting = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting[1].cancel()
            received = await asyncio.to_thread(receive, peer, 4_000_000)
            log(received, await asyncio.gather(*waiting, return_exceptions=True))
            writer.close()
            log(writer.is_closing())
            await log.attempt_await("drain", writer.drain())
            await log.attempt_await("wait_closed", writer.wait_closed())

    asyncio.run(main())


def receive(peer: socket.socket, count: int) -> int:
    got = 0
    while got < count:
        got += len(peer.recv(1 << 20))
    return got


@swapped
def case_a_connection_lost_while_draining(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (reader, writer, peer):
            writer.transport.set_write_buffer_limits(0)
            writer.write(b"x" * 4_000_000)
            waiting = asyncio.ensure_future(writer.drain())
            await asyncio.sleep(0)
            peer.close()
            await log.attempt_await("drain", waiting)
            await log.attempt_await("drain again", writer.drain())
            await log.attempt_await("read", reader.read())
            writer.close()
            await log.attempt_await("wait_closed", writer.wait_closed())

    asyncio.run(main())


@swapped
def case_flow_control_alone(log: Log) -> None:
    async def main() -> None:
        protocol: Any = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        await log.attempt_await("nothing to wait for", protocol._drain_helper())
        protocol.pause_writing()
        log.attempt("twice", protocol.pause_writing)
        waiting = asyncio.ensure_future(protocol._drain_helper())
        await asyncio.sleep(0)
        protocol.resume_writing()
        log(await waiting)
        log.attempt("twice", protocol.resume_writing)
        protocol.pause_writing()
        waiting = asyncio.ensure_future(protocol._drain_helper())
        await asyncio.sleep(0)
        protocol.connection_lost(LookupError("lost"))
        await log.attempt_await("waiting", waiting)
        await log.attempt_await("after", protocol._drain_helper())
        await log.attempt_await("closed", protocol._get_close_waiter(None))

    asyncio.run(main())


@swapped
def case_a_plain_function_as_callback(log: Log) -> None:
    async def main() -> None:
        accepted = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda *pair: accepted.set_result(pair), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            theirs, ours = await accepted
            log(type(theirs).__name__, type(ours).__name__, repr(ours) == repr(ours))
            ours.write(b"hello")
            ours.close()
            log(await reader.read(), reader.at_eof())
            writer.close()
            await writer.wait_closed()
            await ours.wait_closed()

    asyncio.run(main())


@swapped
def case_a_callback_that_raises(log: Log) -> None:
    def callback(reader: object, writer: Any) -> None:
        writer.close()
        raise LookupError("in the callback")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log(context["message"].split("(<")[0], context["exception"])
        )
        server = await asyncio.start_server(callback, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            log(await reader.read())
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@since(3, 13)
@swapped
def case_a_connection_whose_task_is_cancelled(log: Log) -> None:
    async def handle(reader: object, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        raise asyncio.CancelledError

    writers: list[asyncio.StreamWriter] = []

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            log(await reader.read(), writers[0].is_closing())
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@swapped
def case_a_writer_that_nobody_closes(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        transport = writer.transport
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del writer
            gc.collect()
        for warning in caught:
            log(warning.category.__name__, str(warning.message).split(" transport=")[0])
        log(transport.is_closing(), await reader.read())
        right.close()

    asyncio.run(main())


@swapped
def case_what_a_writer_knows(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (_, writer, _):
            log(writer.get_extra_info("nothing"), writer.get_extra_info("nothing", 5))
            log(writer.get_extra_info("sslcontext", default="none"), writer.can_write_eof())
            log(writer.transport is vars_of(writer, "_transport")[0])
            log(type(writer.get_extra_info("socket")).__name__)
            log.attempt("text", writer.write, "text")
            log.attempt("none", writer.writelines, None)
            writer.writelines(part for part in (b"a", b"b"))

    asyncio.run(main())


@swapped
def case_half_close(log: Log) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()
        log.channel("server")(everything, reader.at_eof(), writer.is_closing())
        writer.write(everything[::-1])
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"question")
            writer.write_eof()
            log.attempt("after the end", writer.write, b"more")
            log(await reader.read(), reader.at_eof())
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@swapped
def case_unix_streams(log: Log) -> None:
    import tempfile
    from pathlib import Path

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.swapcase())
            await writer.drain()
        writer.close()

    async def main(path: str) -> None:
        server = await asyncio.start_unix_server(handle, path)
        async with server:
            reader, writer = await asyncio.open_unix_connection(path, limit=100)
            writer.write(b"Over a Unix Socket\nwithout end")
            log(await reader.readline())
            writer.write_eof()
            log(await reader.read())
            writer.close()
            await writer.wait_closed()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(str(Path(folder) / "s")))


@swapped
def case_a_child_process(log: Log) -> None:
    code = "import sys; data = sys.stdin.read(); print(data.upper()); print('oops', file=sys.stderr); sys.exit(3)"

    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=pipe, stdout=pipe, stderr=pipe
        )
        log(type(child).__name__, child.returncode)
        log(await child.communicate(b"input"), child.returncode, await child.wait())
        child = await asyncio.create_subprocess_shell("printf 'a\\nb\\nc'; exec 1>&-; exit 2", stdout=pipe)
        log(child.stdin, child.stderr, [line async for line in child.stdout or ()], await child.wait())
        child = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        assert child.stdin is not None
        assert child.stdout is not None
        for text in (b"one\n", b"two\n"):
            child.stdin.write(text)
            await child.stdin.drain()
            log(await child.stdout.readline())
        child.stdin.close()
        await child.stdin.wait_closed()
        log(await child.stdout.read(), await child.wait())

    asyncio.run(main())


@swapped
def case_a_child_that_reads_nothing(log: Log) -> None:
    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("true", stdin=pipe, stdout=pipe)
        log(await child.communicate(b"x" * 1_000_000), child.returncode)
        child = await asyncio.create_subprocess_exec("true", stdin=pipe)
        await child.wait()
        assert child.stdin is not None
        child.stdin.write(b"x")
        await log.attempt_await("drain", drained(child.stdin))

    async def drained(writer: asyncio.StreamWriter) -> str:
        try:
            for _ in range(1000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError as error:
            return type(error).__name__
        return "no error"

    asyncio.run(main())


@swapped
def case_any_count_of_bytes(log: Log) -> None:
    async def main() -> None:
        for count in (None, "x", 2.5, -1, True, 10**30, -(10**30), 0.0, object()):
            for name in ("read", "readexactly"):
                reader = asyncio.StreamReader()
                reader.feed_data(b"abcdef")
                reader.feed_eof()
                reading = getattr(reader, name)(count)
                log(name, repr(count).partition(" at ")[0])
                try:
                    log("got", await reading)
                except BaseException as error:
                    log("raised", error, vars(error))

    asyncio.run(main())


@swapped
def case_lines_of_a_reader_that_was_given_an_exception(log: Log) -> None:
    async def main() -> None:
        for error in (
            asyncio.IncompleteReadError(b"part", 9),
            asyncio.IncompleteReadError(b"", 9),
            asyncio.LimitOverrunError("too long", 3),
            LookupError("lines"),
        ):
            for waits in (False, True):
                for name in ("readline", "__anext__", "readuntil"):
                    reader = asyncio.StreamReader()
                    reader.feed_data(b"abc")
                    if not waits:
                        reader.set_exception(error)
                    reading = asyncio.ensure_future(getattr(reader, name)())
                    await asyncio.sleep(0)
                    if waits:
                        reader.set_exception(error)
                    await log.attempt_await(f"{name}, waits: {waits}", reading)
                    log(bytes(reader._buffer))

    asyncio.run(main())


@swapped
def case_what_a_class_derived_from_the_streams_says(log: Log) -> None:
    class Reader(asyncio.StreamReader):
        def exception(self) -> BaseException | None:
            return LookupError("asked")

    class Writer(asyncio.StreamWriter):
        def __repr__(self) -> str:
            return "<a writer>"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reader = Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        writer = Writer(transport, protocol, reader, loop)
        await log.attempt_await("drain", writer.drain())
        del writer
        gc.collect()
        theirs.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    log([str(each.message) for each in caught])
