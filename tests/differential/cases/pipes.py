"""The ends of pipes: reading, writing, who closes first, what is said of it."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import socket
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from ..log import Log


class Reporting(asyncio.Protocol):
    """Logs each call; `lost` is done after the last one."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.lost = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.log("connection_made", transport.is_closing())

    def data_received(self, data: bytes) -> None:
        self.log("data_received", len(data), data[:20])
        self.heard.set()

    def eof_received(self) -> bool | None:
        self.log("eof_received", self.transport.is_closing())
        return True

    def pause_writing(self) -> None:
        self.log("pause_writing")

    def resume_writing(self) -> None:
        self.log("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.log("connection_lost", exc, self.transport)
        self.lost.set_result(None)


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both ends of a pipe, closed in the end. Reading what is not there answers None."""
    reading, writing = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    os.set_blocking(reading.fileno(), False)
    try:
        yield reading, writing
    finally:
        reading.close()
        writing.close()


async def reader_of(log: Log, end: object) -> tuple[Any, Reporting]:
    return await asyncio.get_running_loop().connect_read_pipe(lambda: Reporting(log), end)


async def writer_of(log: Log, end: object) -> tuple[Any, Reporting]:
    return await asyncio.get_running_loop().connect_write_pipe(lambda: Reporting(log), end)


def fill(transport: Any) -> int:
    """Write until something stays behind, and more; how much was written."""
    written = 0
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 50_000)
        written += 50_000
    transport.write(b"y" * 50_000)
    return written + 50_000


def drain(end: BinaryIO, size: int) -> int:
    """Read so much, or what there is."""
    got = 0
    while got < size and (data := end.read(min(65536, size - got))):
        got += len(data)
    return got


def case_reading_to_the_end(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await reader_of(log, reading)
            log(transport, transport.is_reading(), transport.get_extra_info("pipe") is reading)
            log(isinstance(transport, asyncio.ReadTransport), isinstance(transport, asyncio.WriteTransport))
            writing.write(b"some bytes")
            await protocol.heard.wait()
            writing.write(b"last bytes")
            writing.close()
            await protocol.lost
            log(transport, transport.is_closing(), transport.is_reading(), reading.closed)
            transport.close()

    asyncio.run(main())


def case_closing_while_reading(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await reader_of(log, reading)
            writing.write(b"unread")
            transport.close()
            transport.close()
            log(transport, transport.is_closing(), transport.is_reading())
            await protocol.lost
            log(reading.closed, transport.get_protocol())

    asyncio.run(main())


def case_pausing(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await reader_of(log, reading)
            transport.pause_reading()
            transport.pause_reading()
            log(transport.is_reading())
            writing.write(b"waits")
            for _ in range(5):
                await asyncio.sleep(0)
            log(transport, "nothing so far")
            transport.resume_reading()
            transport.resume_reading()
            log(transport)
            await protocol.heard.wait()
            transport.close()
            await protocol.lost

    asyncio.run(main())


def case_a_protocol_that_fails_to_take_data(log: Log) -> None:
    class Failing(Reporting):
        failures = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.failures += 1
            if self.failures == 1:
                raise ZeroDivisionError("in data_received")

    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        with pipe() as (reading, writing):
            transport, protocol = await asyncio.get_running_loop().connect_read_pipe(
                lambda: Failing(log), reading
            )
            writing.write(b"first")
            await protocol.heard.wait()
            await asyncio.sleep(0)
            log(transport)
            protocol.heard.clear()
            writing.write(b"second")
            await protocol.heard.wait()
            writing.close()
            await protocol.lost

    asyncio.run(main())


def case_another_protocol_takes_over(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, first = await reader_of(log, reading)
            second = Reporting(log.channel("second"))
            second.transport = transport
            transport.set_protocol(second)
            log(transport.get_protocol() is second)
            writing.write(b"for the second")
            await second.heard.wait()
            writing.close()
            await second.lost
            log(first.lost.done())

    asyncio.run(main())


def case_writing(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            log(transport, transport.can_write_eof(), transport.get_extra_info("pipe") is writing)
            log(isinstance(transport, asyncio.ReadTransport), isinstance(transport, asyncio.WriteTransport))
            log(transport.get_write_buffer_limits(), transport.get_write_buffer_size())
            transport.write(b"at once")
            log(reading.read(100))
            transport.write(bytearray(b"one "))
            transport.write(memoryview(b"two "))
            transport.write(b"")
            transport.writelines([b"three", b" four"])
            await asyncio.sleep(0)
            log(reading.read(100))
            for wrong in ("text", None, 5):
                log.attempt("write", transport.write, wrong)
            transport.close()
            log(transport, transport.is_closing())
            await protocol.lost
            log(transport, reading.read(), writing.closed)
            transport.close()
            transport.write_eof()

    asyncio.run(main())


def case_flow_control(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.set_write_buffer_limits(high=20_000, low=10_000)
            log(transport.get_write_buffer_limits())
            written = fill(transport)
            log(transport.get_write_buffer_size() > 0)
            got = 0
            while got < written:
                got += drain(reading, 4096)
                await asyncio.sleep(0)
            log(got == written, transport.get_write_buffer_size())
            for wrong in ({"high": 1, "low": 2}, {"low": -1}):
                log.attempt("limits", transport.set_write_buffer_limits, **wrong)
            transport.close()
            await protocol.lost

    asyncio.run(main())


def case_flow_control_failures(log: Log) -> None:
    class Failing(Reporting):
        def pause_writing(self) -> None:
            super().pause_writing()
            raise ZeroDivisionError("in pause_writing")

        def resume_writing(self) -> None:
            super().resume_writing()
            raise ZeroDivisionError("in resume_writing")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        log.watch(loop)
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_write_pipe(lambda: Failing(log), writing)
            transport.set_write_buffer_limits(0)
            written = fill(transport)
            got = 0
            while got < written:
                got += drain(reading, 65536)
                await asyncio.sleep(0)
            transport.close()
            await protocol.lost

    asyncio.run(main())


def case_closing_with_bytes_waiting(log: Log) -> None:
    async def main(how: str) -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.set_write_buffer_limits(1 << 30)
            written = fill(transport)
            getattr(transport, how)()
            log(how, transport.is_closing(), transport.get_write_buffer_size() > 0)
            transport.write(b"too late")
            got = 0
            while got < written:
                got += drain(reading, 65536)
                await asyncio.sleep(0)
            await protocol.lost
            log(got == written, reading.read())

    for how in ("close", "write_eof"):
        asyncio.run(main(how))


def case_aborting_with_bytes_waiting(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.set_write_buffer_limits(1 << 30)
            written = fill(transport)
            transport.abort()
            log(transport.is_closing(), transport.get_write_buffer_size())
            await protocol.lost
            log(0 < drain(reading, written) < written)

    asyncio.run(main())


def case_the_reader_goes_first(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.write(b"never read")
            reading.close()
            await protocol.lost
            log(transport.is_closing(), writing.closed)

    asyncio.run(main())


def case_the_reader_goes_with_bytes_waiting(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.set_write_buffer_limits(1 << 30)
            fill(transport)
            reading.close()
            await protocol.lost

    asyncio.run(main())


def case_the_reader_goes_while_closing(log: Log) -> None:
    async def main() -> None:
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            transport.set_write_buffer_limits(1 << 30)
            fill(transport)
            transport.close()
            reading.close()
            await protocol.lost

    asyncio.run(main())


def case_writing_to_a_broken_pipe(log: Log) -> None:
    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        with pipe() as (reading, writing):
            transport, protocol = await writer_of(log, writing)
            reading.close()
            transport.write(b"nobody reads this")
            log("found out at once", transport.is_closing())
            for _ in range(8):
                transport.write(b"nor this")
            await protocol.lost
            for _ in range(3):
                transport.write(b"nor that")

    asyncio.run(main())


def case_a_stream_learns_of_a_broken_pipe(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, writing)
            writer = asyncio.StreamWriter(transport, protocol, None, loop)
            writer.write(b"one")
            await log.attempt_await("drain", writer.drain())
            reading.close()
            # Nothing was written in this turn of the loop so far.
            await asyncio.sleep(0)
            writer.write(b"two")
            await log.attempt_await("drain", writer.drain())

    asyncio.run(main())


def case_writes_to_a_closing_pipe(log: Log) -> None:
    async def main() -> None:
        with pipe() as (_, writing):
            transport, protocol = await writer_of(log, writing)
            transport.close()
            for _ in range(8):
                transport.write(b"too late")
            await protocol.lost

    asyncio.run(main())


def case_what_is_no_pipe(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with open(__file__, "rb") as file:
            await log.attempt_await("read", loop.connect_read_pipe(asyncio.Protocol, file))
            await log.attempt_await("write", loop.connect_write_pipe(asyncio.BaseProtocol, file))
            log(file.closed)

    asyncio.run(main())


def case_sockets_as_pipes(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        left_side, left_protocol = await reader_of(log.channel("left"), left)
        right_side, right_protocol = await writer_of(log.channel("right"), right)
        log(left_side.get_extra_info("pipe") is left, right_side.get_extra_info("socket"))
        right_side.write(b"over a socket")
        await left_protocol.heard.wait()
        right_side.close()
        await right_protocol.lost
        await left_protocol.lost
        log(left.fileno(), right.fileno())

    asyncio.run(main())


def case_a_full_device(log: Log) -> None:
    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        with open("/dev/full", "wb", 0) as device:
            transport, protocol = await writer_of(log, device)
            log(transport)
            transport.write(b"no room for this")
            log(transport.is_closing())
            await protocol.lost
            log(device.closed)

    asyncio.run(main())


def case_a_device_that_takes_all(log: Log) -> None:
    async def main() -> None:
        with open("/dev/null", "wb", 0) as device:
            transport, protocol = await writer_of(log, device)
            transport.write(b"x" * 1_000_000)
            log(transport, transport.get_write_buffer_size())
            transport.close()
            await protocol.lost

    asyncio.run(main())


def case_a_device_that_cannot_be_watched(log: Log) -> None:
    async def main() -> None:
        seen: list[type] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(type(context["exception"])))
        with open("/dev/null", "rb", 0) as device:
            transport, protocol = await reader_of(log, device)
            await asyncio.sleep(0)
            log(seen, transport.is_reading())
            transport.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(protocol.lost, 5)

    asyncio.run(main())


def case_a_terminal_that_hangs_up(log: Log) -> None:
    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        ours, theirs = pty.openpty()
        tty.setraw(ours)
        with os.fdopen(ours, "rb", 0) as end:
            transport, protocol = await reader_of(log, end)
            os.write(theirs, b"typed")
            await protocol.heard.wait()
            os.close(theirs)
            await protocol.lost
            log(transport)

    asyncio.run(main())


def case_one_terminal_for_both_directions(log: Log) -> None:
    async def main() -> None:
        ours, theirs = pty.openpty()
        tty.setraw(ours)
        tty.setraw(theirs)
        reading, writing = os.fdopen(ours, "rb", 0), os.fdopen(ours, "wb", 0, closefd=False)
        source, heard = await reader_of(log.channel("reader"), reading)
        sink, told = await writer_of(log.channel("writer"), writing)
        sink.write(b"out")
        log(os.read(theirs, 10))
        os.write(theirs, b"in")
        await heard.heard.wait()
        sink.write(b"out again")
        await asyncio.sleep(0)
        log(os.read(theirs, 10))
        source.close()
        await heard.lost
        sink.close()
        await told.lost
        os.close(theirs)

    asyncio.run(main())


def case_connection_lost_that_fails(log: Log) -> None:
    class Failing(asyncio.Protocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            log("connection_lost", exc)
            raise ZeroDivisionError("in connection_lost")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Before 3.12 the message has the callback's arguments, which native transports do not go by.
        loop.set_exception_handler(lambda _, context: log("exception handler", context["exception"]))
        with pipe() as (reading, writing):
            source, _ = await loop.connect_read_pipe(Failing, reading)
            sink, _ = await loop.connect_write_pipe(Failing, writing)
            source.close()
            sink.abort()
            for _ in range(3):
                await asyncio.sleep(0)
            log(source, sink, reading.closed, writing.closed)

    asyncio.run(main())


def case_debug_mode_tells(log: Log) -> None:
    async def main() -> None:
        logger = logging.getLogger("asyncio")
        logger.setLevel(logging.DEBUG)
        # It names descriptors.
        logger.addFilter(lambda record: "connected: " not in str(record.msg))
        with pipe() as (reading, writing):
            source, heard = await reader_of(log, reading)
            source.pause_reading()
            source.resume_reading()
            writing.close()
            await heard.lost
        with pipe() as (reading, writing):
            sink, told = await writer_of(log, writing)
            reading.close()
            await told.lost
        with pipe() as (reading, writing):
            sink, told = await writer_of(log, writing)
            reading.close()
            sink.write(b"nobody reads this")
            await told.lost

    asyncio.run(main(), debug=True)


def case_names_of_what_they_hold(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pipe() as (reading, writing):
            source, heard = await reader_of(log, reading)
            sink, told = await writer_of(log, writing)
            for transport, end, protocol in ((source, reading, heard), (sink, writing, told)):
                log(transport._loop is loop, transport._pipe is end, transport._fileno == end.fileno())
                log(transport._protocol is protocol, transport._closing, transport._extra == {"pipe": end})
            log(source._paused, sink._conn_lost, sink._high_water, sink._low_water)
            sink.close()
            await told.lost
            await heard.lost
            log(source._loop, source._pipe, source._protocol, sink._loop, sink._pipe, sink._protocol)

    asyncio.run(main())
