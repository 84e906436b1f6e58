"""Streams over Tulipa's transports: reading in every way, ends, limits, half-close."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..log import Log


@asynccontextmanager
async def stream_pair(
    **options: Any,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]]:
    """A reader and a writer, and the plain socket at the other end."""
    left, right = socket.socketpair()
    right.settimeout(5)
    reader, writer = await asyncio.open_connection(sock=left, **options)
    try:
        yield reader, writer, right
    finally:
        writer.close()
        right.close()


def case_reading(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (reader, _, peer):
            peer.send(b"line one\nline two\nexactly ten|until;rest")
            log(await reader.readline(), await reader.readline())
            log(await reader.readexactly(7), await reader.readuntil(b"|"), await reader.readuntil(b";"))
            log(await reader.read(2), reader.at_eof())
            peer.close()
            log(await reader.read(), reader.at_eof(), await reader.read(), await reader.readline())
            await log.attempt_await("readexactly", reader.readexactly(1))
            await log.attempt_await("readuntil", reader.readuntil())

    asyncio.run(main())


def case_iteration(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (reader, _, peer):
            peer.send(b"one\ntwo\nno newline")
            peer.close()
            log([line async for line in reader])

    asyncio.run(main())


def case_incomplete_reads(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (reader, _, peer):
            peer.send(b"short")
            peer.close()
            try:
                await reader.readexactly(100)
            except asyncio.IncompleteReadError as error:
                log(error, error.partial, error.expected)

    asyncio.run(main())


def case_limits(log: Log) -> None:
    async def main() -> None:
        async with stream_pair(limit=16) as (reader, _, peer):
            peer.send(b"x" * 40 + b"\n")
            # readuntil() leaves what it found too long, readline() drops it.
            await log.attempt_await("readuntil", reader.readuntil(b"\n"))
            await log.attempt_await("readline", reader.readline())
            peer.close()
            log(await reader.read())

    asyncio.run(main())


def case_reading_twice_at_once(log: Log) -> None:
    async def main() -> None:
        async with stream_pair() as (reader, _, peer):
            first = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0)
            await log.attempt_await("second", reader.readline())
            peer.send(b"x")
            log(await first)

    asyncio.run(main())


def case_reset(log: Log) -> None:
    import struct

    async def main() -> None:
        server = await asyncio.start_server(lambda *pair: accepted.set_result(pair), "127.0.0.1", 0)
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        _, served = await accepted
        sock = served.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served.transport.abort()
        await log.attempt_await("read", reader.read())
        await log.attempt_await("read again", reader.read())
        writer.close()
        await log.attempt_await("wait_closed", writer.wait_closed())
        server.close()

    asyncio.run(main())


def case_echo_server(log: Log) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            writer.write(data.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        log.channel("server")("closed")
        closed.set()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for text in ("first", "second"):
                writer.write(f"{text}\n".encode())
                log(await reader.readline())
            writer.writelines([b"several ", b"parts\n"])
            log(await reader.readline())
            log(writer.can_write_eof())
            writer.write_eof()
            log(await reader.read(), writer.is_closing())
            writer.close()
            await writer.wait_closed()
            log(writer.is_closing())
            await closed.wait()

    closed = asyncio.Event()
    asyncio.run(main())


def case_handler_that_fails(log: Log) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raise LookupError("in the handler")
        finally:
            writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reported = loop.create_future()

        def handler(_: object, context: dict[str, Any]) -> None:
            log(sorted(context), context["message"], context.get("exception"))
            if not reported.done():
                reported.set_result(None)

        loop.set_exception_handler(handler)
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        log(await reader.read())
        # Up to 3.11 the error is reported when the task is collected.
        import gc

        await asyncio.sleep(0)
        gc.collect()
        await asyncio.wait_for(reported, 5)
        writer.close()
        server.close()

    asyncio.run(main())


def case_backpressure_of_a_slow_reader(log: Log) -> None:
    async def main() -> None:
        async with stream_pair(limit=1024) as (reader, _, peer):
            peer.settimeout(5)
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, b"x" * 1_000_000))
            done, _ = await asyncio.wait([sending], timeout=0.05)
            log("sender held back", not done)
            count = 0
            while count < 1_000_000:
                count += len(await reader.read(65536))
            await sending
            log(count)

    asyncio.run(main())


def case_reader_alone(log: Log) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"fed ")
        asyncio.get_running_loop().call_soon(reader.feed_data, b"later")
        asyncio.get_running_loop().call_soon(reader.feed_eof)
        log(await reader.read())
        failing = asyncio.StreamReader()
        failing.set_exception(LookupError("set"))
        await log.attempt_await("read", failing.read())
        log(failing.exception())

    asyncio.run(main())
