"""Unix sockets: names of every kind, what is left of a path, arguments that exclude each other."""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..log import Log, since


@contextmanager
def folder() -> Iterator[None]:
    """A folder of our own as the current one, so that names are the same in every process."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield
        finally:
            os.chdir(before)


def abstract() -> str:
    """A name in Linux's own space that nobody else uses; it is not to be recorded."""
    return f"\0tulipa-test-{os.getpid()}"


async def echo_once(log: Log, path: Any, **options: Any) -> None:
    """Serve one connection, log what both sides know of each other."""
    served: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        served.set_result([writer.get_extra_info(name) for name in ("peername", "sockname")])
        writer.close()

    server = await asyncio.start_unix_server(serve, path, **options)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"to be shouted\n")
    log(await reader.read(), plain(await served))
    log(plain([writer.get_extra_info(name) for name in ("peername", "sockname")]))
    for sock in (writer.get_extra_info("socket"), *server.sockets):
        log(type(sock).__name__, sock.family, sock.type, sock.proto)
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    log(server.sockets)


def plain(values: list[Any]) -> list[Any]:
    """Our own abstract name carries a number of this process."""
    own = (abstract(), abstract().encode())
    return [(type(value).__name__, "abstract") if value in own else value for value in values]


def case_kinds_of_names(log: Log) -> None:
    async def main() -> None:
        for path in ("by name", b"in bytes", pathlib.Path("a path"), "n\u00e4me", abstract()):
            await echo_once(log, path)
        await echo_once(log, abstract().encode())

    with folder():
        asyncio.run(main())


def case_a_bound_client(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                seen.set_result(transport.get_extra_info("peername"))
                transport.close()

        server = await loop.create_unix_server(Server, "server")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("client")
            sock.connect("server")
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=sock)
            log(await seen, transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
            transport.close()
            await asyncio.sleep(0)
        server.close()

    with folder():
        asyncio.run(main())


def case_addresses_after_the_end(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def connection_lost(self, exc: BaseException | None) -> None:
                loop.call_soon(gone.set_result, self.transport)

        server = await loop.create_unix_server(Server, "server")
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, "server")
        transport.close()
        served = await gone
        await asyncio.sleep(0)
        for side in (served, transport):
            log(side, side.get_extra_info("sockname"), side.get_extra_info("peername"))
        server.close()

    with folder():
        asyncio.run(main())


def case_what_is_left_of_a_path(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(asyncio.Protocol, "path")
        log(os.listdir())
        server.close()
        log(os.listdir())
        # Somebody else's socket in the place of ours.
        server = await loop.create_unix_server(asyncio.Protocol, "path")
        os.rename("path", "elsewhere")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind("path")
            server.close()
            log(sorted(os.listdir()))
        # A stale one is replaced, a plain file is not.
        server = await loop.create_unix_server(asyncio.Protocol, "path")
        server.close()
        log(sorted(os.listdir()))
        pathlib.Path("file").touch()
        await log.attempt_await("file", loop.create_unix_server(asyncio.Protocol, "file"))
        await log.attempt_await("folder", loop.create_unix_server(asyncio.Protocol, "missing/path"))
        server = await loop.create_unix_server(asyncio.Protocol, "path")
        os.unlink("path")
        server.close()
        log(sorted(os.listdir()))

    with folder():
        asyncio.run(main())


@since(3, 13)
def case_a_path_that_stays(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(asyncio.Protocol, "path", cleanup_socket=False)
        server.close()
        log(os.listdir())

    with folder():
        asyncio.run(main())


def case_two_servers_on_one_path(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def naming(name: str) -> type[asyncio.Protocol]:
            class Naming(asyncio.Protocol):
                def connection_made(self, transport: Any) -> None:
                    log("connected to", name)
                    transport.close()

            return Naming

        first = await loop.create_unix_server(naming("first"), "path")
        second = await loop.create_unix_server(naming("second"), "path")
        reader, writer = await asyncio.open_unix_connection("path")
        log(await reader.read())
        writer.close()
        first.close()
        log(os.listdir())
        second.close()
        log(os.listdir())

    with folder():
        asyncio.run(main())


def case_arguments(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as internet, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            for wrong in (internet, datagrams):
                kind = f"{wrong.family.name} {wrong.type.name}"
                for make in (loop.create_unix_connection, loop.create_unix_server):
                    try:
                        await make(asyncio.Protocol, sock=wrong)
                    except ValueError as error:
                        log(kind, str(error).partition(", got")[0])
        with socket.socket(socket.AF_UNIX) as sock:
            for make in (loop.create_unix_connection, loop.create_unix_server):
                await log.attempt_await("both", make(asyncio.Protocol, "path", sock=sock))
                await log.attempt_await("none", make(asyncio.Protocol))
        await log.attempt_await("long", loop.create_unix_server(asyncio.Protocol, "x" * 200))
        await log.attempt_await("nobody", loop.create_unix_connection(asyncio.Protocol, "nobody"))
        await log.attempt_await(
            "tls", loop.create_unix_connection(asyncio.Protocol, "x", server_hostname="name")
        )
        await log.attempt_await("tls", loop.create_unix_server(asyncio.Protocol, "x", ssl=True))

    with folder():
        asyncio.run(main())


def case_a_listening_socket_of_the_programs_own(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("path")
            ended = asyncio.Event()

            class Server(asyncio.Protocol):
                def connection_lost(self, exc: BaseException | None) -> None:
                    ended.set()

            server = await loop.create_unix_server(Server, sock=sock, start_serving=False)
            log(server.is_serving(), len(server.sockets), sock.getblocking())
            await server.start_serving()
            log(server.is_serving())
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, "path")
            transport.abort()
            await ended.wait()
            server.close()
            await asyncio.sleep(0)
            log(sock.fileno(), server.is_serving(), os.listdir())

    with folder():
        asyncio.run(main())


def case_half_close_and_reset(log: Log) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=left)
        writer.write(b"last words")
        writer.write_eof()
        log(await loop_recv(right), await loop_recv(right))
        right.send(b"answer")
        log(await reader.readexactly(6))
        right.close()
        log(await reader.read())
        writer.close()
        await writer.wait_closed()
        # A peer that closes with bytes unread resets the connection.
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=left)
        writer.write(b"unread")
        await asyncio.sleep(0)
        right.close()
        await log.attempt_await("read", reader.read())
        writer.close()
        await log.attempt_await("wait_closed", writer.wait_closed())

    asyncio.run(main())


async def loop_recv(sock: socket.socket) -> bytes:
    sock.setblocking(False)
    return await asyncio.get_running_loop().sock_recv(sock, 100)


def case_accepted_sockets(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("path")
            listener.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect("path")
                accepted, address = listener.accept()
                log(address)
                transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
                log(transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
                transport.write(b"greetings")
                await asyncio.sleep(0)
                log(client.recv(100))
                transport.close()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                log(accepted.fileno(), client.recv(100))
        with socket.socket(type=socket.SOCK_DGRAM) as wrong:
            try:
                await loop.connect_accepted_socket(asyncio.Protocol, wrong)
            except ValueError as error:
                log(str(error).partition(", got")[0])

    with folder():
        asyncio.run(main())
