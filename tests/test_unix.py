"""Unix sockets over native transports: what they promise beyond doing as asyncio, which tests/differential compares."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import tulipa
from tulipa._tulipa import StreamTransport


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


class Recorder(asyncio.Protocol):
    """Keeps its transport and what it receives, and tells when the connection is made and lost."""

    def __init__(self, made: asyncio.Queue[Recorder] | None = None, *, echoes: bool = False) -> None:
        self.made = made
        self.echoes = echoes
        self.received = b""
        self.changed = asyncio.Event()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.made is not None:
            self.made.put_nowait(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()
        if self.echoes:
            self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


async def connected(path: str) -> tuple[asyncio.AbstractServer, Recorder, Recorder]:
    """Return a server and the two protocols of one connection to it: the server's, which echoes, and the client's."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Queue[Recorder] = asyncio.Queue()
    server = await loop.create_unix_server(lambda: Recorder(accepted, echoes=True), path)
    _, client = await loop.create_unix_connection(Recorder, path)
    return server, await accepted.get(), client


async def close(server: asyncio.AbstractServer, *protocols: Recorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
        await protocol.lost
    server.close()
    await server.wait_closed()


def test_both_sides_are_native_transports_with_attributes(tmp_path: Path) -> None:
    async def main() -> None:
        server, served, client = await connected(str(tmp_path / "socket"))
        for side in (served, client):
            assert type(side.transport) is StreamTransport
            side.transport.note = "mine"
            assert side.transport.__dict__ == {"note": "mine"}
        await close(server, client, served)

    run(main)


def test_no_task_runs_for_an_accepted_connection(tmp_path: Path) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        server, served, client = await connected(str(tmp_path / "socket"))
        assert asyncio.all_tasks() == before
        await close(server, client, served)

    run(main)


def test_megabytes_are_echoed(tmp_path: Path) -> None:
    sent = bytes(range(256)) * 20_000

    async def main() -> None:
        server, served, client = await connected(str(tmp_path / "socket"))
        client.transport.write(sent)
        while len(client.received) < len(sent):
            client.changed.clear()
            await client.changed.wait()
        assert client.received == sent
        await close(server, client, served)

    run(main)


def test_addresses_are_known_after_the_socket_was_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        server, served, client = await connected(path)
        await close(server, client, served)
        assert served.transport.get_extra_info("sockname") == path
        assert served.transport.get_extra_info("peername") == ""

    run(main)


def test_an_abstract_name_with_null_bytes_in_it_is_shown_whole() -> None:
    name = f"\0tulipa {os.getpid()}\0rest"

    async def main() -> None:
        server, served, client = await connected(name)
        for info in (
            served.transport.get_extra_info("sockname"),
            client.transport.get_extra_info("peername"),
        ):
            assert info == name.encode()
        await close(server, client, served)

    run(main)


def test_connections_that_come_and_go_leave_no_objects_and_no_descriptors(tmp_path: Path) -> None:
    async def rounds(number: int) -> None:
        for _ in range(number):
            server, served, client = await connected(str(tmp_path / "socket"))
            client.transport.write(b"x" * 1000)
            await client.changed.wait()
            await close(server, client, served)

    def counts() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

    tulipa.run(rounds(20))
    objects, descriptors = counts()
    tulipa.run(rounds(200))
    objects_after, descriptors_after = counts()
    assert objects_after - objects < 100
    assert descriptors_after == descriptors
    # Older Pythons leave the path, and replace it when it is used again.
    assert os.listdir(tmp_path) == ([] if sys.version_info >= (3, 13) else ["socket"])
