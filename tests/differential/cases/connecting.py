"""create_connection: refused ports, names, addresses, and the errors of each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..log import Log, since


@contextmanager
def refused_port(family: int = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[int]:
    """A port that is bound but not listened on, so that connecting to it is refused and nobody else takes it."""
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[1]


async def failing(log: Log, label: str, awaitable: Any) -> None:
    """Record how connecting failed."""
    try:
        made = await awaitable
    except (Exception, asyncio.CancelledError) as error:
        log(label, error)
    else:
        log(label, "connected")
        made[-1].close() if hasattr(made[-1], "close") else made[0].close()


def case_refused(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with refused_port() as port:
            await failing(log, "address", loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
            await failing(
                log, "port as text", loop.create_connection(asyncio.Protocol, "127.0.0.1", str(port))
            )
            await failing(log, "streams", asyncio.open_connection("127.0.0.1", port))

    asyncio.run(main())


def case_refused_on_several_addresses(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with refused_port() as port:
            # What `localhost` means is the machine's business; that both processes say the same is what counts.
            for arguments in ({}, {"happy_eyeballs_delay": 0.05}, {"interleave": 1}):
                await failing(
                    log,
                    repr(arguments),
                    loop.create_connection(asyncio.Protocol, "localhost", port, **arguments),
                )

    asyncio.run(main())


@since(3, 12)
def case_all_errors(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with refused_port() as port:
            for arguments in ({}, {"happy_eyeballs_delay": 0.05}):
                await failing(
                    log,
                    repr(arguments),
                    loop.create_connection(asyncio.Protocol, "127.0.0.1", port, all_errors=True, **arguments),
                )

    asyncio.run(main())


def case_names_that_do_not_resolve(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for host in ("no-such-host.invalid", "", "a" * 70 + ".invalid", "bad host name"):
            # An empty name means this machine, where nobody listens on port 1.
            await failing(log, host, loop.create_connection(asyncio.Protocol, host, 1))

    asyncio.run(main())


def case_bad_ports_and_families(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for port in (-1, 65536, 10**12, "x", 1.5):
            await failing(log, f"port {port}", loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
        await failing(
            log, "family", loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, family=socket.AF_INET6)
        )
        await failing(
            log, "proto", loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, proto=socket.IPPROTO_UDP)
        )
        await failing(
            log,
            "flags",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, flags=socket.AI_NUMERICHOST),
        )

    asyncio.run(main())


def case_local_address(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(
            asyncio.Protocol, "127.0.0.1", port, local_addr=("127.0.0.2", 0)
        )
        log(transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0])
        transport.close()
        with refused_port() as taken:
            await failing(
                log,
                "taken",
                loop.create_connection(asyncio.Protocol, "127.0.0.1", port, local_addr=("127.0.0.1", taken)),
            )
        await failing(
            log,
            "foreign",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", port, local_addr=("192.0.2.1", 0)),
        )
        await failing(
            log,
            "no name",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", port, local_addr=("x.invalid", 0)),
        )
        server.close()

    asyncio.run(main())


def case_connected_socket(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        log(left.gettimeout(), transport.get_extra_info("socket").fileno() == left.fileno())
        transport.write(b"through the socket")
        right.settimeout(5)
        # Received in another thread: the loop may send at the end of the iteration.
        log(await loop.run_in_executor(None, right.recv, 100))
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log(left.fileno())
        right.close()

    asyncio.run(main())


def case_protocol_factory_that_fails(log: Log) -> None:
    def factory() -> asyncio.Protocol:
        raise LookupError("no protocol today")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await failing(log, "client", loop.create_connection(factory, *server.sockets[0].getsockname()))
        server.close()

    asyncio.run(main())


def case_connection_made_that_fails(log: Log) -> None:
    class Failing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()
            raise LookupError("in connection_made")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: log(
                "handler", sorted(context), context["message"].partition("(")[0], context["exception"]
            )
        )
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await failing(log, "client", loop.create_connection(Failing, *server.sockets[0].getsockname()))
        server.close()
        await asyncio.sleep(0)

    asyncio.run(main())


def case_cancelled_while_connecting(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        port = listening.getsockname()[1]
        # Nobody accepts: once the queue is full, further connects wait for ever.
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        task = asyncio.create_task(loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
        done, _ = await asyncio.wait([task], timeout=0.05)
        log("done", len(done))
        task.cancel()
        await failing(log, "cancelled", task)
        await failing(log, "timeout", asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 0.05))
        for sock in (*fillers, listening):
            sock.close()

    asyncio.run(main())


def case_resolver_calls(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        log(await loop.getaddrinfo("127.0.0.1", 80))
        log(await loop.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM))
        log(
            await loop.getaddrinfo(
                "::1", 80, family=socket.AF_INET6, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        )
        log(await loop.getaddrinfo(None, 80, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
        log(await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
        await failing(log, "unknown name", loop.getaddrinfo("no-such-host.invalid", 80))
        await failing(log, "port too large", loop.getaddrinfo("127.0.0.1", 2**70))
        await failing(log, "bad family", loop.getaddrinfo("127.0.0.1", 80, family=9999))
        await failing(log, "nothing", loop.getaddrinfo(None, None))
        await failing(log, "bad sockaddr", loop.getnameinfo("x"))
        await failing(log, "not numeric", loop.getnameinfo(("no address", 80), 0))

    asyncio.run(main())


def case_patched_resolver_is_used(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stock = socket.getaddrinfo

        def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
            log("asked for", host)
            return stock("127.0.0.1", *args, **kwargs)

        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        socket.getaddrinfo = resolve
        transport, _ = await loop.create_connection(asyncio.Protocol, "anything.invalid", port)
        log(transport.get_extra_info("peername")[0])
        transport.close()
        server.close()

    asyncio.run(main())
