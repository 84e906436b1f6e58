"""Streams: what Tulipa's own promise beyond CPython's tests, and asyncio's own when Tulipa's transports feed them."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any
from unittest import mock

import pytest

import tulipa

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
