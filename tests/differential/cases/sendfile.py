"""Sending files: counts, offsets, where the file stands afterwards, what is refused."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from ..log import Log

DATA = bytes(range(256)) * 2000


@contextmanager
def file_of(data: bytes = DATA) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


async def receive(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size and (piece := await loop.sock_recv(sock, 65536)):
        data += piece
    return data


WHAT: list[tuple[int, int | None]] = [
    (0, None),
    (0, 10),
    (1000, None),
    (1000, 10),
    (1000, 10 * len(DATA)),
    (len(DATA), None),
    (len(DATA) + 5, None),
    (5, len(DATA) - 5),
]


def expected(offset: int, count: int | None) -> bytes:
    return DATA[offset:] if count is None else DATA[offset : offset + count]


def case_by_a_socket(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for offset, count in WHAT:
            with file_of() as file, socket_pair() as (left, right):
                wanted = expected(offset, count)
                receiving = asyncio.create_task(receive(right, len(wanted)))
                sent = await loop.sock_sendfile(left, file, offset, count)
                log(offset, count, sent, await receiving == wanted, file.tell())

    asyncio.run(main())


def case_by_a_transport(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for offset, count in WHAT:
            with file_of() as file, socket_pair() as (left, right):
                reader, writer = await asyncio.open_connection(sock=left)
                wanted = b"before" + expected(offset, count) + b"after"
                receiving = asyncio.create_task(receive(right, len(wanted)))
                writer.write(b"before")
                sent = await loop.sendfile(writer.transport, file, offset, count)
                writer.write(b"after")
                log(offset, count, sent, await receiving == wanted, file.tell())
                log(writer.transport.is_reading())
                right.send(b"answer")
                log(await reader.readexactly(6))
                writer.close()
                await writer.wait_closed()

    asyncio.run(main())


def case_files_that_are_none(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket_pair() as (left, right):
            for fallback in (True, False):
                await log.attempt_await(
                    "memory", loop.sock_sendfile(left, io.BytesIO(b"in memory"), fallback=fallback)
                )
            reading, writing = os.pipe()
            os.write(writing, b"through a pipe")
            os.close(writing)
            with os.fdopen(reading, "rb", 0) as pipe:
                await log.attempt_await("pipe", loop.sock_sendfile(left, pipe, fallback=False))
            log(right.recv(100))
            with file_of(b"") as empty:
                await log.attempt_await("empty", loop.sock_sendfile(left, empty))
            with open("/dev/zero", "rb", 0) as device:
                await log.attempt_await("device", loop.sock_sendfile(left, device, fallback=False))

    asyncio.run(main())


def case_wrong_arguments(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (
            file_of() as file,
            socket_pair() as (left, _),
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        ):
            for arguments in ((-1,), ("0",), (0, 0), (0, -1), (0, "1"), (0, 1.5)):
                await log.attempt_await(str(arguments), loop.sock_sendfile(left, file, *arguments))
            await log.attempt_await("datagrams", loop.sock_sendfile(datagrams, file))
            await log.attempt_await("far", loop.sock_sendfile(left, file, 1 << 62, fallback=False))
            await log.attempt_await("too far", loop.sock_sendfile(left, file, 1 << 70, fallback=False))
            with tempfile.TemporaryFile("w+") as text:
                await log.attempt_await("text", loop.sock_sendfile(left, text))

    asyncio.run(main())


def case_transports_that_refuse(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with file_of() as file, socket_pair() as (left, _):
            _, writer = await asyncio.open_connection(sock=left)
            transport = writer.transport
            transport.close()
            await log.attempt_await("closing", loop.sendfile(transport, file))
            await log.attempt_await("other", loop.sendfile(asyncio.Transport(), file))
            await writer.wait_closed()

    asyncio.run(main())


def case_writing_meanwhile(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with file_of(DATA * 10) as file, socket_pair() as (left, right):
            _, writer = await asyncio.open_connection(sock=left)
            transport: Any = writer.transport
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.attempt("write", transport.write, b"between")
            log.attempt("writelines", transport.writelines, [b"between"])
            log(transport.is_reading())
            received = await receive(right, 10 * len(DATA))
            log(await sending, received == DATA * 10, file.tell(), transport.is_reading())
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def case_a_peer_that_goes(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for way in ("socket", "transport"):
            with file_of(DATA * 10) as file, socket_pair() as (left, right):
                if way == "socket":
                    sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
                else:
                    _, writer = await asyncio.open_connection(sock=left)
                    sending = asyncio.ensure_future(loop.sendfile(writer.transport, file))
                log(len(await receive(right, 1)) > 0)
                right.close()
                await log.attempt_await(way, sending)
                log(0 < file.tell() < 10 * len(DATA))
                if way == "transport":
                    writer.close()
                    await log.attempt_await("wait_closed", writer.wait_closed())

    asyncio.run(main())


def case_another_sendfile(log: Log) -> None:
    """What a program puts in the place of os.sendfile is called."""
    original = os.sendfile

    def counting(*args: Any) -> int:
        log("os.sendfile", args[2:])
        return original(*args)

    async def main() -> None:
        with file_of(b"short") as file, socket_pair() as (left, right):
            log(await asyncio.get_running_loop().sock_sendfile(left, file))
            log(right.recv(100))

    os.sendfile = counting  # type: ignore[assignment]
    asyncio.run(main())


def case_another_sendfile_under_a_transport(log: Log) -> None:
    """The same for a transport: it is called again whenever the socket has room, and not after a cancellation."""
    original, calls = os.sendfile, []

    def counting(*args: Any) -> int:
        calls.append(args)
        return original(*args)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for cancelled in (False, True):
            with file_of(DATA * 10) as file, socket_pair() as (left, right):
                _, writer = await asyncio.open_connection(sock=left)
                sending = asyncio.create_task(loop.sendfile(writer.transport, file))
                while not calls:
                    await asyncio.sleep(0)
                log(writer.transport.is_reading())
                if cancelled:
                    sending.cancel()
                    await log.attempt_await("cancelled", sending)
                    made = len(calls)
                    right.recv(len(DATA))
                    await asyncio.sleep(0)
                    log(len(calls) == made)
                else:
                    log((await receive(right, 10 * len(DATA))) == DATA * 10, await sending, len(calls) > 1)
                log(writer.transport.is_reading())
                writer.write(b"and more")
                while not (await loop.sock_recv(right, len(DATA))).endswith(b"and more"):
                    pass
                writer.close()
                await writer.wait_closed()
                calls.clear()

    os.sendfile = counting  # type: ignore[assignment]
    asyncio.run(main())


def case_readers_of_the_same_socket(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with file_of(DATA * 10) as file, socket_pair() as (left, right):
            heard = loop.create_future()
            loop.add_reader(left, lambda: heard.done() or heard.set_result(left.recv(100)))
            sending = asyncio.create_task(loop.sock_sendfile(left, file))
            await asyncio.sleep(0)
            right.send(b"a word in between")
            log(await heard)
            log(len(await receive(right, 10 * len(DATA))), await sending)
            log(loop.remove_reader(left), loop.remove_writer(left))

    asyncio.run(main())
