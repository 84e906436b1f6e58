"""Streams: what Tulipa's own promise beyond CPython's tests, and asyncio's own when Tulipa's transports feed them."""

import asyncio
import math
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any
from unittest import mock

import pytest

import tulipa
from tulipa import _streams, _subprocess

# The stock classes, whatever is installed.
StockReader = asyncio.StreamReader
StockProtocol = asyncio.StreamReaderProtocol


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


@asynccontextmanager
async def stock_pair(
    reader_class: type[StockReader] = StockReader,
    protocol_class: type[StockProtocol] = StockProtocol,
    limit: int = 2**16,
) -> AsyncIterator[tuple[StockReader, Any, socket.socket]]:
    """Yield a stock reader behind a native transport, the transport, and the plain socket at the other end."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    reader = reader_class(limit=limit, loop=loop)
    protocol = protocol_class(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    try:
        yield reader, transport, theirs
    finally:
        transport.close()
        theirs.close()


async def python_calls(work: Awaitable[Any]) -> tuple[Any, set[str]]:
    """Return what the work returns, and the names of the Python functions called meanwhile."""
    names = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            names.add(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        return await work, names
    finally:
        sys.setprofile(None)


def test_a_stock_reader_is_fed_without_a_call() -> None:
    async def main() -> None:
        async with stock_pair() as (reader, _, peer):
            for message in (b"waits for it", b"again"):
                asyncio.get_running_loop().call_soon(peer.send, message)
                data, calls = await python_calls(reader.read(100))
                assert data == message
                assert "read" in calls
                assert not calls & {"data_received", "feed_data", "_wakeup_waiter", "_stream_reader"}

    run(main)


class CountingReader(StockReader):
    fed = 0

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        super().feed_data(data)


class CountingProtocol(StockProtocol):
    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += 1
        super().data_received(data)


def test_a_subclass_of_the_stock_reader_or_protocol_is_called() -> None:
    async def main() -> None:
        async with stock_pair(reader_class=CountingReader) as (reader, _, peer):
            peer.send(b"data")
            assert await reader.read(100) == b"data"
            assert isinstance(reader, CountingReader)
            assert reader.fed == 1
        async with stock_pair(protocol_class=CountingProtocol) as (reader, transport, peer):
            peer.send(b"data")
            assert await reader.read(100) == b"data"
            assert transport.get_protocol().received == 1

    run(main)


@pytest.mark.parametrize("method", ["feed_data", "_wakeup_waiter"])
def test_a_replaced_method_of_the_stock_reader_is_called_until_it_is_put_back(method: str) -> None:
    async def main() -> None:
        async with stock_pair() as (reader, _, peer):

            async def calls() -> int:
                with mock.patch.object(StockReader, method, autospec=True, side_effect=original) as double:
                    peer.send(b"data")
                    assert await reader.read(100) == b"data"
                    return double.call_count

            original = getattr(StockReader, method)
            assert await calls() == 1
            peer.send(b"data")
            _, names = await python_calls(reader.read(100))
            assert method not in names
            assert await calls() == 1

    run(main)


def test_an_attribute_over_a_method_of_the_stock_classes_is_called() -> None:
    async def main() -> None:
        async with stock_pair() as (reader, transport, peer):
            with mock.patch.object(reader, "feed_data", wraps=reader.feed_data) as double:
                peer.send(b"one")
                assert await reader.read(100) == b"one"
                double.assert_called_once_with(b"one")
            protocol = transport.get_protocol()
            with mock.patch.object(protocol, "data_received", wraps=protocol.data_received) as double:
                peer.send(b"two")
                assert await reader.read(100) == b"two"
                double.assert_called_once_with(b"two")

    run(main)


def test_a_stock_reader_above_twice_its_limit_pauses_the_transport() -> None:
    async def main() -> None:
        async with stock_pair(limit=100) as (reader, transport, peer):
            peer.send(b"x" * 150)
            assert await reader.readexactly(1) == b"x"
            assert transport.is_reading()
            peer.send(b"x" * 150)
            while transport.is_reading():
                await asyncio.sleep(0)
            assert await reader.readexactly(299) == b"x" * 299
            assert transport.is_reading()

    run(main)


def test_data_for_a_stock_reader_after_its_end_is_reported() -> None:
    async def main() -> None:
        reports: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        async with stock_pair() as (reader, transport, peer):
            reader.feed_eof()
            peer.send(b"late")
            while not transport.is_closing():
                await asyncio.sleep(0)
        [report] = reports
        assert report["message"] == "Fatal error: protocol.data_received() call failed."
        assert str(report["exception"]) == "feed_data after feed_eof"

    run(main)


def test_a_stock_buffer_that_is_looked_at_refuses_to_grow() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: reports.append(context))
        async with stock_pair() as (reader, transport, peer):
            buffer: bytearray = vars(reader)["_buffer"]
            buffer += b"some"
            with memoryview(buffer):
                peer.send(b"more")
                while not transport.is_closing():
                    await asyncio.sleep(0)
            assert buffer == b"some"
        assert isinstance(reports[0]["exception"], BufferError)

    run(main)


def test_a_cancelled_read_of_a_stock_reader_loses_no_byte() -> None:
    async def main() -> None:
        async with stock_pair() as (reader, _, peer):
            task = asyncio.ensure_future(reader.read(100))
            await asyncio.sleep(0)
            peer.send(b"data")
            while not vars(reader)["_buffer"]:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await reader.read(100) == b"data"

    run(main)


@asynccontextmanager
async def native_pair(limit: int = 2**16) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """Yield a native reader and writer, and the plain socket at the other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    reader, writer = await _streams.open_connection(sock=ours, limit=limit)
    try:
        yield reader, writer, theirs
    finally:
        writer.close()
        theirs.close()


def test_reading_what_is_there_takes_one_call() -> None:
    reader = _streams.StreamReader(loop=mock.Mock())
    reader.feed_data(b"line\nexact;rest")
    for read, result in (
        (reader.readline(), b"line\n"),
        (reader.readexactly(5), b"exact"),
        (reader.readuntil(b";"), b";"),
        (reader.read(100), b"rest"),
    ):
        with pytest.raises(StopIteration) as stop:
            read.send(None)
        assert stop.value.value == result


def test_a_native_reader_is_fed_without_a_call() -> None:
    async def main() -> None:
        async with native_pair() as (reader, writer, peer):

            async def echo() -> bytes:
                data: bytes = await reader.readline()
                writer.write(data)
                await writer.drain()
                return data

            asyncio.get_running_loop().call_soon(peer.send, b"line\n")
            data, calls = await python_calls(echo())
            assert data == b"line\n"
            # Those of the coroutines that wait for this one are all.
            assert calls <= {"echo", "python_calls", "main", "entry", "wait_for"}
            assert await asyncio.to_thread(peer.recv, 10) == data

    run(main)


def test_what_comes_in_one_piece_is_returned_as_it_is() -> None:
    async def main() -> None:
        reader = _streams.StreamReader()
        piece = b"x" * 1000
        reader.feed_data(piece)
        assert await reader.read(1000) is piece

    run(main)


@pytest.mark.parametrize("call", ["read_all", "readexactly", "readuntil", "readline"])
def test_a_cancelled_native_read_loses_no_byte(call: str) -> None:
    async def main() -> None:
        async with native_pair() as (reader, _, peer):
            read = {
                "read_all": reader.read,
                "readexactly": lambda: reader.readexactly(20),
                "readuntil": lambda: reader.readuntil(b"|"),
                "readline": reader.readline,
            }[call]
            for piece in (b"first ", b"second "):
                task = asyncio.ensure_future(read())
                await asyncio.sleep(0)
                peer.send(piece)
                # Until the piece is there, and the task has looked at it.
                while True:
                    await asyncio.sleep(0)
                    taken = call == "read_all" and reader._waiter is not None and not len(reader._buffer)
                    if taken or reader._buffer.endswith(piece):
                        break
                for _ in range(3):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            peer.close()
            assert await reader.read() == b"first second "

    run(main)


def test_limits_count_across_chunks() -> None:
    async def main() -> None:
        reader = _streams.StreamReader(limit=8)
        task = asyncio.ensure_future(reader.readuntil(b"||"))
        for chunk in (b"1234", b"5678", b"9|"):
            await asyncio.sleep(0)
            reader.feed_data(chunk)
        with pytest.raises(asyncio.LimitOverrunError) as overrun:
            await task
        assert overrun.value.consumed == 9
        assert await reader.read(100) == b"123456789|"

    run(main)


def test_a_long_line_in_many_chunks_is_searched_once() -> None:
    async def main() -> None:
        reader = _streams.StreamReader(limit=2**26)
        task = asyncio.ensure_future(reader.readline())
        started = time.process_time()
        # Searching from the beginning each time would look at 125 GB.
        for _ in range(10_000):
            reader.feed_data(b"x" * 2500)
            await asyncio.sleep(0)
        reader.feed_data(b"\n")
        assert len(await task) == 25_000_001
        assert time.process_time() - started < 30

    run(main)


def test_a_subclass_or_a_replaced_method_of_the_native_classes_is_called() -> None:
    class Reader(_streams.StreamReader):
        fed = 0

        def feed_data(self, data: Any) -> None:
            self.fed += 1
            super().feed_data(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reader = Reader(loop=loop)
        transport, _ = await loop.create_connection(
            lambda: _streams.StreamReaderProtocol(reader, loop=loop), sock=ours
        )
        theirs.send(b"data")
        assert await reader.read(10) == b"data"
        assert reader.fed == 1
        transport.close()
        theirs.close()
        async with native_pair() as (native, _, peer):
            with mock.patch.object(native, "feed_data", wraps=native.feed_data) as double:
                peer.send(b"one")
                assert await native.read(10) == b"one"
                double.assert_called_once_with(b"one")
        with mock.patch.object(_streams.StreamReader, "feed_data", autospec=True) as double:
            async with native_pair() as (native, _, peer):
                peer.send(b"two")
                while not double.called:
                    await asyncio.sleep(0)
        async with native_pair() as (native, _, peer):
            peer.send(b"three")
            assert await native.read(10) == b"three"

    run(main)


def test_native_and_stock_streams_mix() -> None:
    async def stock(reader: StockReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(stock, "127.0.0.1", 0) as server:
            reader, writer = await _streams.open_connection(*server.sockets[0].getsockname())
            writer.write(b"native to stock\n")
            assert await reader.read() == b"NATIVE TO STOCK\n"
            writer.close()
            await writer.wait_closed()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reader = StockReader(loop=loop)
        protocol = StockProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        writer = _streams.StreamWriter(transport, protocol, reader, loop)
        writer.write(b"a native writer over a stock protocol")
        await writer.drain()
        assert await asyncio.to_thread(theirs.recv, 100) == b"a native writer over a stock protocol"
        writer.close()
        await writer.wait_closed()
        theirs.close()

    run(main)


@pytest.mark.parametrize("base", [StockProtocol, tulipa.StreamReaderProtocol], ids=["asyncio", "tulipa"])
def test_a_protocols_attributes_can_be_copied_and_put_back(base: Any) -> None:
    """aioconsole does so, for a standard stream that goes on without its transport."""

    class Lasting(base):  # type: ignore[misc]
        def connection_lost(self, exc: Exception | None) -> None:
            state = self.__dict__.copy()
            super().connection_lost(exc)
            self.__dict__.update(state)

    async def main() -> None:
        reader, transport = tulipa.StreamReader(), mock.Mock()
        transport.get_extra_info.return_value = None
        protocol = Lasting(reader)
        protocol.colour = "red"
        protocol.connection_made(transport)
        protocol.connection_lost(None)
        assert (protocol._connection_lost, protocol._transport, protocol._stream_reader) == (
            False,
            transport,
            reader,
        )
        await protocol._drain_helper()
        assert reader.at_eof()
        assert await protocol._closed is None

        shown = vars(protocol)
        assert isinstance(shown, dict)
        assert {"colour", "_loop", "_paused", "_transport"} <= set(dir(protocol))
        assert (shown["colour"], shown["_paused"], shown["_loop"]) == (
            "red",
            False,
            asyncio.get_running_loop(),
        )
        shown["_paused"] = True
        shown |= {"shape": "round"}
        assert (protocol._paused, protocol.shape) == (True, "round")
        assert (shown.pop("shape"), shown.setdefault("size", 1), protocol.size) == ("round", 1, 1)
        assert not hasattr(protocol, "shape")
        assert vars(protocol).keys() == shown.keys()
        with pytest.raises(KeyError):
            del shown["shape"]
        protocol.__dict__ = shown.copy() | {"_paused": False, "colour": "blue"}
        assert (protocol._paused, protocol.colour, protocol.size) == (False, "blue", 1)
        with pytest.raises(TypeError):
            protocol.__dict__ = 7

    run(main)


@pytest.mark.parametrize("base", [StockProtocol, tulipa.StreamReaderProtocol], ids=["asyncio", "tulipa"])
def test_a_method_of_a_protocol_can_be_patched_and_restored(base: Any) -> None:
    async def main() -> None:
        protocol = base(None)
        with mock.patch.object(protocol, "eof_received", return_value="patched"):
            assert protocol.eof_received() == "patched"
        assert protocol.eof_received() is True
        with mock.patch.object(protocol, "_over_ssl", True):
            assert protocol.eof_received() is False
        assert protocol.eof_received() is True

    run(main)


def test_native_streams_work_on_a_stock_loop() -> None:
    async def echo(reader: Any, writer: Any) -> None:
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> list[bytes]:
        async with await _streams.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await _streams.open_connection(*server.sockets[0].getsockname())
            writer.writelines([b"one\n", b"two\n"])
            writer.write_eof()
            lines = [line async for line in reader]
            writer.close()
            await writer.wait_closed()
            return lines

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) == [b"one\n", b"two\n"]


def test_the_reader_follows_its_stream_into_tls(certificates: Any) -> None:
    server_context, client_context = certificates

    async def serve(reader: Any, writer: Any) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(server_context)
        assert reader._transport is writer.transport
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main() -> None:
        async with await _streams.start_server(serve, "127.0.0.1", 0, limit=200_000) as server:
            reader, writer = await _streams.open_connection(*server.sockets[0].getsockname(), limit=1000)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            plain = writer.transport
            await writer.start_tls(client_context, server_hostname="localhost")
            assert writer.transport is not plain
            assert reader._transport is writer.transport
            assert writer.get_extra_info("sslcontext") is client_context
            for _ in range(3):
                writer.write(b"over tls\n")
                assert await reader.readline() == b"OVER TLS\n"
            # More than twice the limit pauses the new transport, not the old.
            writer.write(b"x" * 100_000 + b"\n")
            assert await reader.readexactly(100_001) == b"X" * 100_000 + b"\n"
            writer.close()
            await writer.wait_closed()

    run(main)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Contexts of a server and of a client that trusts it, with a certificate made for the occasion."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    return server, client


def test_a_child_writes_into_the_reader_without_a_call() -> None:
    async def main() -> None:
        child = await _subprocess.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(2):
            child.stdin.write(b"line\n")
            data, calls = await python_calls(child.stdout.readline())
            assert data == b"line\n"
            assert not calls & {"pipe_data_received", "data_received", "_pipe_data_received", "feed_data"}
        output, _ = await child.communicate(b"the rest")
        assert output == b"the rest"
        assert child.returncode == 0

    run(main)


def test_a_protocol_of_ones_own_gets_what_a_child_writes() -> None:
    class Protocol(_subprocess.SubprocessStreamProtocol):
        seen = b""

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            self.seen += data
            super().pipe_data_received(fd, data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: Protocol(2**16, loop), "echo", "words", stdin=None
        )
        child = _subprocess.Process(transport, protocol, loop)
        assert child.stdout is not None
        assert await child.stdout.read() == b"words\n"
        assert protocol.seen == b"words\n"
        await child.wait()

    run(main)


def test_a_child_with_more_output_than_the_limit_is_held_back() -> None:
    async def main() -> None:
        child = await _subprocess.create_subprocess_exec(
            "head", "-c", "3000000", "/dev/zero", stdout=asyncio.subprocess.PIPE, limit=1000
        )
        assert child.stdout is not None
        while not child.stdout._paused:
            await asyncio.sleep(0)
        assert len(await child.stdout.read()) == 3_000_000
        assert await child.wait() == 0

    run(main)


def test_any_number_is_a_limit() -> None:
    reader: Any = _streams.StreamReader(limit=math.inf, loop=mock.Mock())  # type: ignore[arg-type]  # asyncio's takes it
    assert reader._limit == math.inf
    reader._limit = 2**70
    assert reader._limit == 2**70
    assert f"limit={2**70}" in repr(reader)


def test_a_cancelled_task_of_a_connection_closes_it() -> None:
    async def serve(reader: Any, writer: Any) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        async with await _streams.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await _streams.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(main)


def test_much_data_arrives_as_it_was_sent() -> None:
    async def main() -> None:
        sent = bytes(range(256)) * 20_000
        async with native_pair(limit=2**20) as (reader, _, peer):
            sending = asyncio.ensure_future(asyncio.to_thread(peer.sendall, sent))
            assert await reader.readexactly(len(sent)) == sent
            await sending
        async with stock_pair(limit=2**20) as (stock, _, peer):
            sending = asyncio.ensure_future(asyncio.to_thread(peer.sendall, sent))
            assert await stock.readexactly(len(sent)) == sent
            await sending

    run(main)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((), {}),
        ((), {"default": 1}),
        (("name", 1, 2), {}),
        (("name",), {"name": "name"}),
        (("name",), {"other": 1}),
        (("name", 1, 2), {"other": 1}),
    ],
)
def test_a_writer_says_what_is_wrong_with_a_call_in_asyncios_words(given: Any, named: Any) -> None:
    async def main() -> None:
        stock, ours = (
            kind(mock.Mock(), mock.Mock(), None, asyncio.get_running_loop())
            for kind in (asyncio.StreamWriter, tulipa.StreamWriter)
        )
        with pytest.raises(TypeError) as expected:
            stock.get_extra_info(*given, **named)
        with pytest.raises(TypeError) as found:
            ours.get_extra_info(*given, **named)
        assert str(found.value) == str(expected.value)

    run(main)
