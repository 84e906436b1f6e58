"""Rows of datagrams, and of operations on sockets of the program's own."""

import asyncio
import socket
from typing import cast

from benchmarks.echo import KIB, load
from benchmarks.model import Served, Serving

RECEIVED = 64 * KIB


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def serve_datagrams() -> Serving:
    """One endpoint for all clients."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", 0))
    return Serving(transport.get_extra_info("sockname")[1], transport)


async def serve_sockets() -> Serving:
    """A task for each connection, which receives and sends by the loop's own methods."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listening.setblocking(False)
    tasks = asyncio.TaskGroup()
    await tasks.__aenter__()
    accepting = tasks.create_task(accept(listening, tasks))
    return Serving(listening.getsockname()[1], (listening, tasks, accepting))


async def accept(listening: socket.socket, tasks: asyncio.TaskGroup) -> None:
    """Starts a task for each connection."""
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listening)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tasks.create_task(echo(connection))


async def echo(connection: socket.socket) -> None:
    """Sends back what comes, until the peer has had enough."""
    loop = asyncio.get_running_loop()
    with connection:
        while data := await loop.sock_recv(connection, RECEIVED):
            await loop.sock_sendall(connection, data)


def datagrams(sockets: int) -> Served:
    """A row of datagrams."""
    arguments = ("datagram-load", *load(KIB, sockets)[1:])
    return Served(f"udp_1k_{sockets}", f"UDP echo 1 KiB, {sockets} clients", serve_datagrams, arguments)


def operations(kib: int, connections: int) -> Served:
    """A row of `sock_recv` and `sock_sendall`."""
    title = f"sock_recv, sock_sendall echo {kib} KiB, {connections} conn"
    return Served(
        f"sock_{kib}k_{connections}", title, serve_sockets, load(kib * KIB, connections), floor=True
    )


ROWS = (datagrams(1), datagrams(10), datagrams(100), operations(1, 10), operations(1, 100))
