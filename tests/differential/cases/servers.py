"""create_server and Server: life-cycle, bad arguments, ports in use."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from typing import Any

from ..log import Log, since
from .connecting import failing


class Recorded(asyncio.Protocol):
    """Tells when its connection comes and goes."""

    def __init__(self, log: Log, lost: asyncio.Future[None] | None = None) -> None:
        self.log, self.lost = log, lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.log("connection_made")

    def eof_received(self) -> None:
        self.log("eof_received")

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error)
        if self.lost and not self.lost.done():
            self.lost.set_result(None)


def case_life_cycle(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        log(
            server.is_serving(), type(server.sockets).__name__, len(server.sockets), server.get_loop() is loop
        )
        log(
            isinstance(server, asyncio.AbstractServer),
            type(server.sockets[0]).__name__,
            server.sockets[0].gettimeout(),
        )
        server.close()
        log(server.is_serving(), server.sockets)
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        await log.attempt_await("start_serving when closed", server.start_serving())
        await log.attempt_await("serve_forever when closed", server.serve_forever())

    asyncio.run(main())


def case_repr(log: Log) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        log(repr(server))
        server.close()
        log(repr(server))

    asyncio.run(main())


def case_started_later(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Recorded(log.channel("server"), lost), "127.0.0.1", 0, start_serving=False
        )
        log(server.is_serving(), len(server.sockets))
        await server.start_serving()
        await server.start_serving()
        log(server.is_serving())
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await lost
        server.close()

    async def with_lost() -> None:
        nonlocal lost
        lost = asyncio.get_running_loop().create_future()
        await main()

    lost: asyncio.Future[None]
    asyncio.run(with_lost())


def case_serve_forever(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
        task = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log(server.is_serving())
        await log.attempt_await("twice", server.serve_forever())
        task.cancel("enough")
        await log.attempt_await("cancelled", task)
        log(server.is_serving(), server.sockets)
        closing = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        task = asyncio.create_task(closing.serve_forever())
        await asyncio.sleep(0)
        closing.close()
        await log.attempt_await("closed", task)

    asyncio.run(main())


def case_context_manager(log: Log) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        async with server as entered:
            log(entered is server, server.is_serving())
        log(server.is_serving(), server.sockets)

    asyncio.run(main())


@since(3, 12, 1)
def case_wait_closed_waits_for_connections(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = loop.create_future()

        class Keeps(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.set_result(transport)

        server = await loop.create_server(Keeps, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await made
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        done, _ = await asyncio.wait([waiting], timeout=0.02)
        log("waits", not done)
        transport.close()
        log("ends", await asyncio.wait_for(waiting, 5))
        writer.close()

    asyncio.run(main())


@since(3, 13)
def case_close_and_abort_clients(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for method in ("close_clients", "abort_clients"):
            accepted, lost = loop.create_future(), loop.create_future()

            class Accepted(Recorded):
                def connection_made(
                    self, transport: asyncio.BaseTransport, accepted: asyncio.Future[None] = accepted
                ) -> None:
                    super().connection_made(transport)
                    accepted.set_result(None)

            factory = functools.partial(Accepted, log.channel("server"), lost)
            server: Any = await loop.create_server(factory, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await accepted
            server.close()
            getattr(server, method)()
            await asyncio.wait_for(lost, 5)
            await log.attempt_await(method, reader.read())
            writer.close()
            await asyncio.wait_for(server.wait_closed(), 5)

    asyncio.run(main())


def case_port_in_use(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
        except OSError as error:
            log(error)
        server.close()
        again = await loop.create_server(asyncio.Protocol, "127.0.0.1", port)
        log("free again", again.sockets[0].getsockname()[1] == port)
        again.close()

    asyncio.run(main())


def case_reuse_port(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await loop.create_server(asyncio.Protocol, "127.0.0.1", port, reuse_port=True)
        log(second.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        for server in (first, second):
            server.close()

    asyncio.run(main())


def case_socket_options(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for arguments in (
            {},
            {"reuse_address": False},
            {"backlog": 1},
            {"reuse_address": True, "reuse_port": True},
        ):
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, **arguments)
            (sock,) = server.sockets
            options = [
                sock.getsockopt(socket.SOL_SOCKET, name)
                for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
            ]
            log(arguments, options, sock.family, sock.type, os.get_inheritable(sock.fileno()))
            server.close()

    asyncio.run(main())


def case_hosts(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        # Every interface: bound, but without listening on it.
        for host in (None, "", []):
            server = await loop.create_server(asyncio.Protocol, host, 0, start_serving=False)
            log(host, sorted([sock.family, sock.getsockname()[0]] for sock in server.sockets))
            server.close()
        for host in ("127.0.0.1", "::1", ["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.1"]):
            server = await loop.create_server(asyncio.Protocol, host, 0)
            log(host, sorted([sock.family, sock.getsockname()[0]] for sock in server.sockets))
            server.close()
        for host in ("192.0.2.1", "no-such-host.invalid", ["127.0.0.1", "no-such-host.invalid"]):
            try:
                await loop.create_server(asyncio.Protocol, host, 0)
            except OSError as error:
                log(host, error)

    asyncio.run(main())


def case_given_socket(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost = loop.create_future()
        sock = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(lambda: Recorded(log.channel("server"), lost), sock=sock)
        log(sock.gettimeout(), server.sockets[0].fileno() == sock.fileno())
        _, writer = await asyncio.open_connection(*sock.getsockname())
        writer.close()
        await lost
        server.close()
        await asyncio.sleep(0)
        log(sock.fileno())

    asyncio.run(main())


def case_protocol_factory_that_fails(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        failed = loop.create_future()

        def factory() -> asyncio.Protocol:
            raise LookupError("no protocol today")

        def handler(_: object, context: dict[str, Any]) -> None:
            log("handler", sorted(context), context["message"], context["exception"])
            if not failed.done():
                failed.set_result(None)

        loop.set_exception_handler(handler)
        server = await loop.create_server(factory, "127.0.0.1", 0)
        loop.set_debug(True)  # only then is this error reported
        await failing(
            log.channel("client"), "connect", asyncio.open_connection(*server.sockets[0].getsockname())
        )
        await asyncio.wait_for(failed, 5)
        loop.set_debug(False)
        server.close()

    asyncio.run(main())


def case_many_connections_at_once(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        count, ended = 0, loop.create_future()

        class Counted(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                nonlocal count
                count += 1
                if count == 150:
                    ended.set_result(None)

        server = await loop.create_server(Counted, "127.0.0.1", 0, backlog=200)
        address = server.sockets[0].getsockname()
        connections = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(150)))
        for _, writer in connections:
            writer.close()
        await asyncio.wait_for(ended, 10)
        server.close()
        log(count)

    asyncio.run(main())


def case_server_is_closed_while_clients_stay(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Echo(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                self.transport.write(data.upper())

        server = await loop.create_server(Echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"first")
        log(await reader.readexactly(5))
        server.close()
        writer.write(b"second")
        log(await reader.readexactly(6))
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())
