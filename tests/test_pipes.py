"""Native ends of pipes: what they promise beyond doing as asyncio's, which tests/differential compares."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tulipa
from tulipa._tulipa import ReadPipeTransport, WritePipeTransport


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


class Ends(asyncio.Protocol):
    """Keeps what it receives, and tells when the pipe is lost."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def connected() -> tuple[Any, Ends, Any, Ends]:
    """Return the two ends of a pipe, each as a transport and a protocol, the reading one first."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    source, heard = await loop.connect_read_pipe(Ends, os.fdopen(reading, "rb", 0))
    sink, told = await loop.connect_write_pipe(Ends, os.fdopen(writing, "wb", 0))
    return source, heard, sink, told


def test_the_transports_are_the_native_ones() -> None:
    async def main() -> None:
        source, heard, sink, told = await connected()
        assert type(source) is ReadPipeTransport
        assert type(sink) is WritePipeTransport
        assert repr(source).startswith("<ReadPipeTransport fd=")
        assert repr(sink).startswith("<WritePipeTransport fd=")
        sink.close()
        await asyncio.gather(heard.lost, told.lost)

    run(main)


def test_the_first_write_of_an_iteration_goes_out_at_once_and_the_others_together_at_its_end() -> None:
    async def main() -> list[bytes]:
        # This kind of socket keeps apart what was written apart.
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        right.settimeout(10)
        sink, told = await asyncio.get_running_loop().connect_write_pipe(Ends, left)
        sink.write(b"one")
        pieces = [right.recv(100)]
        for piece in (b"two ", b"three ", b"four"):
            sink.write(piece)
        await asyncio.sleep(0)
        pieces.append(right.recv(100))
        sink.write(b"five")
        pieces.append(right.recv(100))
        sink.close()
        await told.lost
        right.close()
        return pieces

    assert run(main) == [b"one", b"two three four", b"five"]


def test_megabytes_arrive_in_order_and_the_writer_is_held_back() -> None:
    async def main() -> None:
        source, heard, sink, told = await connected()
        expected, pauses = b"", 0
        for number in range(200):
            chunk = bytes([number]) * (number * 97 % 20_000 + 1)
            expected += chunk
            sink.write(chunk)
            if told.paused:
                pauses += 1
                while told.paused:
                    await asyncio.sleep(0)
        sink.write_eof()
        assert await told.lost is None
        assert await heard.lost is None
        assert heard.received == expected
        assert pauses > 0
        assert source.is_closing()

    run(main)


def test_a_descriptor_that_was_closed_from_outside_still_ends_in_connection_lost() -> None:
    async def main() -> None:
        source, heard, sink, told = await connected()
        source.get_extra_info("pipe").close()
        sink.get_extra_info("pipe").close()
        source.close()
        sink.close()
        assert await asyncio.gather(heard.lost, told.lost) == [None, None]

    run(main)


def test_the_descriptor_belongs_to_the_transport_while_it_is_open() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        source, heard, sink, told = await connected()
        with pytest.raises(RuntimeError, match="is used by transport <ReadPipeTransport"):
            loop.add_reader(source.get_extra_info("pipe"), print)
        sink.close()
        await asyncio.gather(heard.lost, told.lost)

    run(main)


def test_reading_callbacks_run_in_the_context_of_who_connected() -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    class Seeing(Ends):
        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())
            super().data_received(data)

        def eof_received(self) -> None:
            seen.append(variable.get())

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append(variable.get())
            super().connection_lost(exc)

    async def main() -> None:
        reading, writing = os.pipe()
        variable.set("connecting")
        loop = asyncio.get_running_loop()
        _, heard = await loop.connect_read_pipe(Seeing, os.fdopen(reading, "rb", 0))
        variable.set("later")
        os.write(writing, b"x")
        await heard.changed.wait()
        os.close(writing)
        await heard.lost

    run(main)
    assert seen == ["connecting"] * 3


def test_unclosed_transports_warn_and_close_their_descriptors() -> None:
    def abandon() -> list[int]:
        loop = tulipa.new_event_loop()
        reading, writing = os.pipe()
        loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0)))
        loop.run_until_complete(loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)))
        loop.close()
        del loop
        gc.collect()
        return [reading, writing]

    gc.collect()
    with pytest.warns(ResourceWarning, match="unclosed transport") as warned:
        descriptors = abandon()
    texts = sorted(str(warning.message).partition(" fd=")[0] for warning in warned)
    assert texts == ["unclosed transport <ReadPipeTransport", "unclosed transport <WritePipeTransport"]
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_transports_take_attributes_and_weak_references() -> None:
    async def main() -> None:
        source, heard, sink, told = await connected()
        for transport in (source, sink):
            transport.note = "mine"
            assert transport.__dict__ == {"note": "mine"}
            assert weakref.ref(transport)() is transport
        sink.close()
        await asyncio.gather(heard.lost, told.lost)

    run(main)


def test_pipes_that_come_and_go_leave_no_objects_and_no_descriptors() -> None:
    async def rounds(number: int) -> None:
        for _ in range(number):
            _, heard, sink, told = await connected()
            sink.write(b"x" * 1000)
            sink.close()
            await asyncio.gather(heard.lost, told.lost)
            assert len(heard.received) == 1000

    def counts() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

    tulipa.run(rounds(20))
    objects, descriptors = counts()
    tulipa.run(rounds(200))
    objects_after, descriptors_after = counts()
    assert objects_after - objects < 100
    assert descriptors_after == descriptors


def test_a_protocol_in_a_cycle_with_its_transport_is_collected() -> None:
    async def main() -> list[weakref.ref[Ends]]:
        source, heard, sink, told = await connected()
        heard.transport, told.transport = source, sink  # type: ignore[attr-defined]
        sink.close()
        await asyncio.gather(heard.lost, told.lost)
        return [weakref.ref(heard), weakref.ref(told)]

    references = run(main)
    gc.collect()
    assert [reference() for reference in references] == [None, None]
