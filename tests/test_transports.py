"""Native stream transports: what they promise beyond the conformance suites."""

import asyncio
import contextvars
import gc
import os
import resource
import select
import socket
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tulipa
from tulipa._tulipa import StreamTransport

from .loops import LOOPS


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


class Recorder(asyncio.Protocol):
    """Keeps its transport and what it receives, and tells when the connection is lost."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        self.changed.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def connected() -> tuple[asyncio.AbstractServer, Recorder, Recorder]:
    """Return a server and the two protocols of one connection to it: the server's, and the client's."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Queue[Recorder] = asyncio.Queue()

    def factory() -> Recorder:
        protocol = Recorder()
        accepted.put_nowait(protocol)
        return protocol

    server = await loop.create_server(factory, "127.0.0.1", 0)
    _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    return server, await accepted.get(), client


async def close(server: asyncio.AbstractServer, *protocols: Recorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
        await protocol.lost
    server.close()
    await server.wait_closed()


def test_what_is_written_in_one_iteration_arrives_in_one_piece() -> None:
    async def main() -> None:
        server, served, client = await connected()
        for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", bytearray(b"ok")):
            served.transport.write(piece)
        await client.changed.wait()
        assert client.received == [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
        await close(server, client, served)

    run(main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_is_written_just_before_the_process_is_ended_by_force_is_lost(new_loop: Any) -> None:
    program = f"""
        import asyncio.unix_events, os, socket, sys, tulipa
        async def main():
            sock = socket.socket(fileno=int(sys.argv[1]))
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.write(b"sent")
            await asyncio.sleep(0)
            writer.write(b", lost")
            os._exit(0)
        with asyncio.Runner(loop_factory={new_loop.__module__}.{new_loop.__qualname__}) as runner:
            runner.run(main())
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-c", textwrap.dedent(program), str(theirs.fileno())]
            subprocess.run(command, pass_fds=[theirs.fileno()], check=True, timeout=60)
        ours.settimeout(10)
        assert ours.recv(100) == (b"sent" if new_loop is tulipa.EventLoop else b"sent, lost")


def test_the_write_buffer_counts_only_what_the_kernel_did_not_take() -> None:
    async def main() -> None:
        server, served, client = await connected()
        client.transport.pause_reading()
        served.transport.write(b"small")
        assert served.transport.get_write_buffer_size() == 0
        served.transport.write(bytes(32 * 1024 * 1024))
        assert served.transport.get_write_buffer_size() > 0
        served.transport.abort()
        assert await served.lost is None
        await close(server, client)

    run(main)


def test_a_changed_bytearray_does_not_change_what_was_written() -> None:
    async def main() -> None:
        server, served, client = await connected()
        data = bytearray(b"before")
        served.transport.write(data)
        data[:] = b"after!"
        await client.changed.wait()
        assert client.received == [b"before"]
        await close(server, client, served)

    run(main)


def test_transports_have_a_dict_and_weak_references_and_are_asyncio_transports() -> None:
    async def main() -> None:
        server, served, client = await connected()
        transport = client.transport
        assert isinstance(transport, asyncio.Transport)
        assert weakref.ref(transport)() is transport
        calls: list[bytes] = []
        transport.write = calls.append
        transport.write(b"intercepted")
        del transport.write
        assert calls == [b"intercepted"]
        await close(server, client, served)

    run(main)


def test_extra_information_of_an_accepted_connection() -> None:
    async def main() -> None:
        server, served, client = await connected()
        ours, theirs = served.transport, client.transport
        assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
        assert ours.get_extra_info("sockname") == theirs.get_extra_info("peername")
        sock = ours.get_extra_info("socket")
        assert sock.fileno() == ours._sock_fd
        assert sock.gettimeout() == 0
        assert ours.get_extra_info("nothing", 42) == 42
        await close(server, client, served)
        assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")

    run(main)


def test_addresses_are_known_after_the_connection_is_gone() -> None:
    async def main() -> None:
        server, served, client = await connected()
        address = client.transport.get_extra_info("sockname")
        await close(server, client, served)
        assert served.transport.get_extra_info("peername") == address
        assert served.transport.get_extra_info("socket").fileno() == -1

    run(main)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_accepted_connections_do_not_wait_to_fill_packets(family: socket.AddressFamily) -> None:
    async def main() -> None:
        listener = socket.socket(family)
        listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        loop = asyncio.get_running_loop()
        made = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.set_result(transport)

        server = await loop.create_server(Server, sock=listener)
        transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname()[:2])
        accepted = await made
        assert accepted.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()
        accepted.abort()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("proto", [0, socket.IPPROTO_TCP])
def test_sockets_that_a_program_brings_do_not_wait_to_fill_packets(
    family: socket.AddressFamily, proto: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_STREAM, proto) as listener:
            listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
            listener.listen()
            connecting = socket.socket(family, socket.SOCK_STREAM, proto)
            connecting.connect(listener.getsockname())
            accepted, _ = listener.accept()
        client, _ = await loop.create_connection(asyncio.Protocol, sock=connecting)
        server, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
        for transport, sock in ((client, connecting), (server, accepted)):
            assert type(transport) is StreamTransport
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.abort()
            await asyncio.sleep(0)
            # The program's own object, closed with the transport.
            assert sock.fileno() == -1

    run(main)


def test_calls_on_a_lost_connection_do_nothing() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Recorder, sock=left)
        transport.close()
        await protocol.lost
        transport.write(b"x")
        transport.writelines([b"x", b"y"])
        transport.close()
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        right.close()

    run(main)


def test_a_socket_class_of_the_programs_own_is_used_through_its_methods() -> None:
    class Shouting(socket.socket):
        def recv(self, *args: Any) -> bytes:
            return super().recv(*args).upper()

    async def main() -> None:
        left, right = Shouting(*_pair()), _plain()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        right.send(b"whisper")
        await protocol.changed.wait()
        assert protocol.received == [b"WHISPER"]
        transport.close()
        await protocol.lost
        right.close()

    ends: list[socket.socket] = []

    def _pair() -> tuple[int, int, int, int]:
        first, second = socket.socketpair()
        ends.append(second)
        return first.family, first.type, first.proto, first.detach()

    def _plain() -> socket.socket:
        return ends[0]

    run(main)


def test_a_connections_callbacks_see_the_context_of_its_server() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    class Server(Echo):
        def __init__(self) -> None:
            seen.append(variable.get())

        def connection_made(self, transport: Any) -> None:
            seen.append(variable.get())
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())
            variable.set("changed by a callback")
            super().data_received(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set("server")
        server = await loop.create_server(Server, "127.0.0.1", 0)
        variable.set("main")
        for _ in range(2):
            _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            client.transport.write(b"x")
            await client.changed.wait()
            client.transport.close()
            await client.lost
        server.close()
        assert variable.get() == "main"

    run(main)
    assert seen == ["server"] * 6


@pytest.fixture
def most_connections() -> Iterator[int]:
    """Allow as many descriptors as the system lets us have; each connection takes two here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = 20_100 if hard == resource.RLIM_INFINITY else hard
    yield min(10_000, (allowed - 100) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_all_callbacks_of_a_protocol_see_the_context_of_its_connection() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: dict[str, str] = {}

    class Client(Recorder):
        def connection_made(self, transport: Any) -> None:
            seen["made"] = variable.get()
            super().connection_made(transport)

        def pause_writing(self) -> None:
            seen["paused"] = variable.get()

        def resume_writing(self) -> None:
            seen["resumed"] = variable.get()
            self.changed.set()

        def connection_lost(self, exc: BaseException | None) -> None:
            seen["lost"] = variable.get()
            super().connection_lost(exc)

    class Waits(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()
            accepted.append(transport)

    accepted: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Waits, "127.0.0.1", 0)
        variable.set("connects")
        _, client = await loop.create_connection(Client, *server.sockets[0].getsockname())
        variable.set("writes")
        while "paused" not in seen:
            client.transport.write(bytes(1 << 20))
            await asyncio.sleep(0)
        accepted[0].resume_reading()
        await client.changed.wait()
        variable.set("closes")
        client.transport.close()
        await client.lost
        server.close()

    run(main)
    assert seen == dict.fromkeys(("made", "paused", "resumed", "lost"), "connects")


def test_a_protocol_of_any_class_may_lend_its_buffer() -> None:
    class Lender(asyncio.BaseProtocol):
        def connection_made(self, transport: Any) -> None:
            self.buffer = bytearray(3)
            self.received = b""
            self.ended = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, count: int) -> None:
            self.received += self.buffer[:count]

        def eof_received(self) -> None:
            self.ended.set_result(self.received)

    async def main() -> bytes:
        left, right = socket.socketpair()
        _, lender = await asyncio.get_running_loop().connect_accepted_socket(Lender, left)
        with right:
            right.sendall(b"more than three")
        received: bytes = await lender.ended
        return received

    assert run(main) == b"more than three"


def test_thousands_of_connections_are_held_and_echoed_and_leave_nothing(most_connections: int) -> None:
    count = most_connections
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096)
        address = server.sockets[0].getsockname()
        clients: list[Recorder] = []
        for _ in range(0, count, 500):
            batch = [
                loop.create_connection(Recorder, *address) for _ in range(min(500, count - len(clients)))
            ]
            clients += [protocol for _, protocol in await asyncio.gather(*batch)]
        for number, client in enumerate(clients):
            client.transport.write(number.to_bytes(4, "big"))
        for number, client in enumerate(clients):
            await client.changed.wait()
            assert client.received == [number.to_bytes(4, "big")]
        for client in clients:
            client.transport.close()
        for client in clients:
            assert await client.lost is None
        server.close()
        await server.wait_closed()

    run(main)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_connections_that_come_and_go_leave_no_objects() -> None:
    async def rounds(number: int) -> None:
        for _ in range(number):
            server, served, client = await connected()
            client.transport.write(b"x" * 1000)
            await served.changed.wait()
            await close(server, client, served)

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    tulipa.run(rounds(20))
    before = objects()
    tulipa.run(rounds(200))
    assert objects() - before < 100


def test_a_protocol_in_a_cycle_with_its_transport_is_collected() -> None:
    async def main() -> weakref.ref[Recorder]:
        server, served, client = await connected()
        await close(server, client, served)
        return weakref.ref(client)

    reference = run(main)
    gc.collect()
    assert reference() is None


def test_an_unclosed_transport_warns_and_closes_its_descriptor() -> None:
    left, right = socket.socketpair()

    async def main() -> int:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=left)
        return int(transport.get_extra_info("socket").fileno())

    def abandoned() -> int:
        fd = int(run(main))
        gc.collect()
        return fd

    with pytest.warns(ResourceWarning, match=r"unclosed transport <StreamTransport fd="):
        fd = abandoned()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    right.close()


async def many_connected(count: int) -> tuple[asyncio.AbstractServer, list[Any], list[socket.socket]]:
    """Return a server, its transports, and the plain sockets that are their peers."""
    loop = asyncio.get_running_loop()
    transports: list[Any] = []
    accepted = asyncio.Semaphore(0)

    class Kept(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transports.append(transport)
            accepted.release()

    server = await loop.create_server(Kept, "127.0.0.1", 0, backlog=count)
    address = server.sockets[0].getsockname()
    peers = [socket.create_connection(address) for _ in range(count)]
    for _ in peers:
        await accepted.acquire()
    order = {peer.getsockname(): index for index, peer in enumerate(peers)}
    transports.sort(key=lambda transport: order[transport.get_extra_info("peername")])
    return server, transports, peers


def close_all(server: asyncio.AbstractServer, transports: list[Any], peers: list[socket.socket]) -> None:
    server.close()
    for transport in transports:
        transport.abort()
    for peer in peers:
        peer.close()


def read_exactly(peer: socket.socket, size: int) -> bytes:
    peer.settimeout(30)
    received = b""
    while len(received) < size and (data := peer.recv(size - len(received))):
        received += data
    return received


def test_answers_to_many_peers_in_one_turn_all_arrive() -> None:
    async def main() -> None:
        server, transports, peers = await many_connected(100)
        for turn in range(3):
            for index, transport in enumerate(transports):
                transport.write(b"%d/%d;" % (turn, index))
                if index % 7 == 0:
                    transport.write(b"more;")
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        for index, peer in enumerate(peers):
            more = b"more;" if index % 7 == 0 else b""
            expected = b"".join(b"%d/%d;%b" % (turn, index, more) for turn in range(3))
            assert read_exactly(peer, len(expected)) == expected
        close_all(server, transports, peers)

    run(main)


@pytest.mark.parametrize(("count", "answered"), [(4, [0, 1, 2, 3]), (100, [0] * 64 + [64] * 36)])
def test_answers_go_out_at_once_in_a_short_turn_and_together_in_a_long_one(
    count: int, answered: list[int]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(count)]
        peers = [peer for _, peer in pairs]
        done, found = asyncio.Event(), []

        class Answers(Recorder):
            def data_received(self, data: bytes) -> None:
                found.append(len(select.select(peers, [], [], 0)[0]))
                self.transport.write(b"ans")
                self.transport.write(b"wer")
                if len(found) == count:
                    loop.call_soon(done.set)

        served = [await loop.connect_accepted_socket(Answers, sock=end) for end, _ in pairs]
        for peer in peers:
            peer.send(b"question")
        await done.wait()
        assert found == answered
        assert [peer.recv(100) for peer in peers] == [b"answer"] * count
        for transport, protocol in served:
            transport.close()
            await protocol.lost
        for peer in peers:
            peer.close()

    run(main)


def test_among_many_answers_each_has_its_own_fate() -> None:
    async def main() -> None:
        server, transports, peers = await many_connected(8)
        full, reset, *others = transports
        full.set_write_buffer_limits(high=1 << 20)
        while not full.get_write_buffer_size():
            full.write(bytes(1 << 16))
            await asyncio.sleep(0)
        protocol = Recorder()
        reset.pause_reading()
        reset.set_protocol(protocol)
        peers[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peers[1].close()
        waiting = full.get_write_buffer_size()
        for transport in transports:
            transport.write(b"answer")
        assert isinstance(await protocol.lost, ConnectionError)
        assert full.get_write_buffer_size() == waiting + len(b"answer")
        for transport, peer in zip(others, peers[2:], strict=True):
            assert not transport.is_closing()
            assert read_exactly(peer, 6) == b"answer"
        close_all(server, transports, peers)

    run(main)


def test_a_forked_child_may_use_the_loop_it_inherited() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, transports, peers = await many_connected(8)
        for transport in transports:
            transport.write(b"parent;")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            # asyncio has the child forget which loop runs. From 3.14 on its tasks ask for that, and end with an error.
            asyncio._set_running_loop(loop)
        for transport in transports:
            transport.write(b"child;" if child == 0 else b"parent;")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if child == 0:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        for peer in peers:
            texts = read_exactly(peer, 2 * 7 + 6)
            assert texts.startswith(b"parent;")
            assert sorted(texts.split(b";")[1:3]) == [b"child", b"parent"]
        close_all(server, transports, peers)

    run(main)


def test_a_loop_may_answer_many_from_one_thread_after_another() -> None:
    loop = tulipa.new_event_loop()

    async def answer() -> None:
        server, transports, peers = await many_connected(8)
        for transport in transports:
            transport.write(b"answer")
        await asyncio.sleep(0)
        for peer in peers:
            assert await loop.run_in_executor(None, read_exactly, peer, 6) == b"answer"
        close_all(server, transports, peers)
        await asyncio.sleep(0)

    try:
        for _ in range(2):
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: loop.run_until_complete(asyncio.wait_for(answer(), 60))).result(60)
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
