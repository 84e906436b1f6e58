"""Streams whose peers, or whose system, fail: nothing is leaked, and no exception is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import struct
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tulipa

from .loops import LOOPS

PATIENCE = 120.0
"""Seconds."""


def run(main: Callable[[], Awaitable[Any]], loop_factory: Callable[[], Any] = tulipa.new_event_loop) -> Any:
    async def entry() -> Any:
        hasty = isinstance(asyncio.get_running_loop(), HastyLoop)
        return await asyncio.wait_for(main(), PATIENCE * (100 if hasty else 1))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(entry())


class HastyLoop(tulipa.EventLoop):  # type: ignore[misc]
    """A loop whose second lasts a hundredth of one, so that what waits for a second is soon tried again."""

    def time(self) -> float:
        return 100 * super().time()


async def busy_for(seconds: float) -> None:
    """Let so much time pass by the loop's clock, without the loop's falling asleep, which is by the real one."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await asyncio.sleep(0)


class Peer(asyncio.Protocol):
    """Keeps what it receives, and tells when the connection is made and lost."""

    def __init__(self, made: asyncio.Queue[Peer] | None = None) -> None:
        self.made = made
        self.received = b""
        self.changed = asyncio.Event()
        self.paused = asyncio.Event()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.made is not None:
            self.made.put_nowait(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.changed.set()
        return True

    def pause_writing(self) -> None:
        self.paused.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


def reset(sock: socket.socket) -> None:
    """Close a connection in such a way that the other side is told of an error."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Take every descriptor that the process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_accepting_without_descriptors_waits_says_so_once_and_recovers(family: int, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []

    async def outage(server: asyncio.Server, made: asyncio.Queue[Peer], clients: list[socket.socket]) -> None:
        with none_left():
            for client in clients:
                client.connect(server.sockets[0].getsockname())
            before = len(said)
            while len(said) == before:
                await asyncio.sleep(0)
            # Tried again ten times meanwhile.
            await busy_for(10.5)
            assert len(said) == before + 1
            assert made.empty()
        for client in clients:
            peer = await made.get()
            peer.transport.close()
            await peer.lost
            client.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context))
        made: asyncio.Queue[Peer] = asyncio.Queue()
        if family == socket.AF_UNIX:
            server = await loop.create_unix_server(lambda: Peer(made), str(tmp_path / "socket"))
        else:
            server = await loop.create_server(lambda: Peer(made), "127.0.0.1", 0)
        for _ in range(2):
            await outage(server, made, [socket.socket(family) for _ in range(5)])
        server.close()
        await server.wait_closed()

    run(main, HastyLoop)
    assert [context["message"] for context in said] == ["socket.accept() out of system resource"] * 2
    assert [type(context["exception"]) for context in said] == [OSError] * 2
    assert all("Too many open files" in str(context["exception"]) for context in said)
    assert all(isinstance(context["socket"], asyncio.trsock.TransportSocket) for context in said)


def test_a_server_closed_while_it_waits_for_descriptors_stays_closed() -> None:
    said: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context))
        server = await loop.create_server(Peer, "127.0.0.1", 0)
        with socket.socket() as client:
            with none_left():
                client.connect(server.sockets[0].getsockname())
                while not said:
                    await asyncio.sleep(0)
                server.close()
            await busy_for(2)
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    run(main, HastyLoop)
    assert len(said) == 1


def test_a_factory_that_fails_closes_the_connection_and_is_heard_in_debug_mode() -> None:
    said: list[Any] = []

    def failing() -> asyncio.Protocol:
        raise ZeroDivisionError("in the factory")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context["exception"]))
        server = await loop.create_server(failing, "127.0.0.1", 0)
        before = descriptors()
        for debug in (False, True):
            loop.set_debug(debug)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.setblocking(False)
                assert await loop.sock_recv(client, 1) == b""
        assert descriptors() == before
        server.close()
        await server.wait_closed()

    run(main)
    assert [type(exception) for exception in said] == [ZeroDivisionError]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_is_no_protocol_is_named_in_debug_mode(new_loop: Any) -> None:
    said: list[dict[str, Any]] = []
    wrong: Any = object()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context))
        loop.set_debug(True)
        server = await loop.create_server(lambda: wrong, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            while not said:
                await asyncio.sleep(0)
        server.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio leaves the socket to the collector
        run(main, new_loop)
        gc.collect()
    assert [sorted(context) for context in said] == [["exception", "message", "protocol"]]
    assert said[0]["message"] == "Error on transport creation for incoming connection"
    assert said[0]["protocol"] is wrong


async def served() -> tuple[asyncio.Server, Peer, socket.socket]:
    """Return a server, its side of one connection, and the socket at the other end."""
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[Peer] = asyncio.Queue()
    server = await loop.create_server(lambda: Peer(made), "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    return server, await made.get(), client


def test_a_reset_is_told_as_the_reason_of_the_loss_whatever_the_stream_was_doing() -> None:
    async def main() -> None:
        for doing in ("reading", "nothing", "writing", "closing"):
            server, peer, client = await served()
            if doing == "nothing":
                peer.transport.pause_reading()
            if doing in ("writing", "closing"):
                peer.transport.write(b"x" * (64 << 20))
                assert peer.transport.get_write_buffer_size() > 0
            if doing == "closing":
                peer.transport.close()
            reset(client)
            if doing == "nothing":
                # Nobody looks: the reset is found out by who writes.
                while not peer.lost.done():
                    peer.transport.write(b"x")
                    await asyncio.sleep(0)
            assert isinstance(await peer.lost, ConnectionResetError | BrokenPipeError), doing
            assert peer.transport.get_write_buffer_size() == 0
            server.close()
            await server.wait_closed()

    run(main)


def test_after_the_peers_half_close_all_that_was_written_still_arrives() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, peer, client = await served()
        client.send(b"question")
        client.shutdown(socket.SHUT_WR)
        while peer.received != b"question":
            await peer.changed.wait()
        peer.transport.write(b"y" * (8 << 20))
        peer.transport.close()
        size = 0
        while data := await loop.sock_recv(client, 1 << 20):
            size += len(data)
        assert size == 8 << 20
        assert await peer.lost is None
        client.close()
        server.close()
        await server.wait_closed()

    run(main)


def test_a_peer_that_reads_nothing_pauses_the_writer_and_delays_closing_until_abort() -> None:
    async def main() -> None:
        server, peer, client = await served()
        while not peer.paused.is_set():
            peer.transport.write(b"z" * 100_000)
        peer.transport.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not peer.lost.done()
        assert peer.transport.is_closing()
        peer.transport.abort()
        assert await peer.lost is None
        assert peer.transport.get_write_buffer_size() == 0
        client.close()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.fixture
def most_connections() -> Iterator[int]:
    """Allow as many descriptors as the system lets us have; each connection takes two here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = 20_200 if hard == resource.RLIM_INFINITY else hard
    yield min(10_000, (allowed - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident() -> int:
    """Bytes of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("drop", [reset, socket.socket.close], ids=["reset", "close"])
def test_thousands_of_connections_dropped_at_once_leave_nothing(
    most_connections: int, drop: Callable[[socket.socket], None]
) -> None:
    count = most_connections

    class Unruly(asyncio.Protocol):
        """One of a hundred fails when it is told."""

        def __init__(self, losses: list[BaseException | None]) -> None:
            self.losses = losses

        def connection_lost(self, exc: BaseException | None) -> None:
            self.losses.append(exc)
            if len(self.losses) % 100 == 0:
                raise ZeroDivisionError(str(len(self.losses)))

    async def connect(address: Any) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, address)
        return client

    async def main() -> None:
        loop = asyncio.get_running_loop()
        losses: list[BaseException | None] = []
        said: list[str] = []
        loop.set_exception_handler(lambda _, context: said.append(str(context["exception"])))
        accepted = 0

        def factory() -> Unruly:
            nonlocal accepted
            accepted += 1
            return Unruly(losses)

        server = await loop.create_server(factory, "127.0.0.1", 0, backlog=4096)
        tasks = asyncio.all_tasks()
        clients: list[socket.socket] = []
        for _ in range(0, count, 500):
            batch = [connect(server.sockets[0].getsockname()) for _ in range(min(500, count - len(clients)))]
            clients += await asyncio.gather(*batch)
        while accepted < count:
            await asyncio.sleep(0)
        for client in clients:
            drop(client)
        while len(losses) < count:
            await asyncio.sleep(0)
        kinds = {type(exc) for exc in losses}
        assert kinds == ({ConnectionResetError} if drop is reset else {type(None)})
        assert said == [str(number) for number in range(100, count + 1, 100)]
        assert asyncio.all_tasks() == tasks
        server.close()
        await server.wait_closed()

    gc.collect()
    before = descriptors()
    run(main)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()
    for _ in range(2):
        run(main)
    gc.collect()
    assert descriptors() == before
    assert len(gc.get_objects()) - objects < 100
    # The allocator's own untidiness is some 2 MB at most. The smallest transport, left behind, would be 12 MB.
    assert resident() - memory < 4_000_000


def test_a_full_device_and_a_closed_pipe_are_told_as_the_reason_of_the_loss() -> None:
    class Told(asyncio.BaseProtocol):
        def __init__(self) -> None:
            self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    async def main() -> list[BaseException | None]:
        loop = asyncio.get_running_loop()
        full, told_full = await loop.connect_write_pipe(Told, Path("/dev/full").open("wb", 0))  # noqa: SIM115
        full.write(b"no room")
        reading, writing = os.pipe()
        closed, told_closed = await loop.connect_write_pipe(Told, os.fdopen(writing, "wb", 0))
        os.close(reading)
        closed.write(b"nobody")
        assert full.is_closing()
        assert closed.is_closing()
        return [await told_full.lost, await told_closed.lost]

    full, closed = run(main)
    assert isinstance(full, OSError)
    assert str(full) == "[Errno 28] No space left on device"
    assert isinstance(closed, BrokenPipeError)


def test_a_socket_object_that_could_not_be_made_leaves_the_connection_its_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = socket.socket.__init__

    def make_and_be_interrupted(self: socket.socket, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        raise KeyboardInterrupt

    async def main() -> None:
        server, peer, sock = await served()
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "__init__", make_and_be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                peer.transport.get_extra_info("socket")
        gc.collect()
        peer.transport.write(b"still here")
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"still here"
        assert peer.transport.get_extra_info("socket").getpeername() == sock.getsockname()
        peer.transport.abort()
        await peer.lost
        sock.close()
        server.close()

    run(main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_cannot_be_watched_for_room_is_refused(new_loop: Any) -> None:
    """Behind another descriptor's number the driver does not know what it watches."""

    async def main() -> None:
        server, peer, sock = await served()
        fd = peer.transport.get_extra_info("socket").fileno()
        aside = os.dup(fd)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        os.dup2(ours.fileno(), fd)
        with pytest.raises(FileNotFoundError):
            peer.transport.write(bytes(10_000_000))
        assert peer.transport.get_write_buffer_size() == 0
        peer.transport.close()
        assert await peer.lost is None
        os.close(aside)
        ours.close()
        theirs.close()
        sock.close()
        server.close()

    run(main, new_loop)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_loop_for_which_there_are_no_descriptors_left_says_so(
    new_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # asyncio's finalizer fails with a loop that was never whole.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    arguments: tuple[Any, ...] = ()
    with none_left():
        try:
            new_loop()
        except OSError as error:
            arguments = error.args
    assert arguments == (errno.EMFILE, os.strerror(errno.EMFILE))
