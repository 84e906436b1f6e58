"""TLS connections: what ends one and leaves the others alone, what they leave behind, and what an idle one costs."""

import asyncio
import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import tulipa

from .test_tls import Echo, Recorder, client, run, serving
from .tls import accept, client_context, connect, listening, server_context


def released_view() -> memoryview:
    view = memoryview(bytearray(4))
    view.release()
    return view


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_callback_leaves_the_loop_and_loses_nothing(error: type[BaseException]) -> None:
    class Interrupting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"written before")
            if data == b"first":
                raise error

    with asyncio.Runner(loop_factory=tulipa.new_event_loop) as runner:
        transport, protocol, peer = runner.run(client(Interrupting))
        loop = runner.get_loop()
        task = loop.create_task(peer.send(b"first"))
        with pytest.raises(error):
            loop.run_forever()

        async def rest() -> None:
            await task
            assert await peer.receive(14) == b"written before"
            transport.abort()
            await protocol.lost
            peer.sock.close()

        runner.run(rest())


def test_a_slow_handshake_of_one_does_not_hold_up_another() -> None:
    async def main() -> None:
        async with serving(Echo) as address:
            slow = await connect(address)
            await asyncio.get_running_loop().sock_sendall(slow, b"\x16\x03\x01")
            tasks = len(asyncio.all_tasks())
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, *address, ssl=client_context(), server_hostname="localhost"
            )
            transport.write(b"fast")
            assert await protocol.data(4) == b"fast"
            assert len(asyncio.all_tasks()) == tasks, "no task waits for a handshake"
            transport.close()
            await protocol.lost
            slow.close()

    run(main)


def test_an_unclosed_transport_is_warned_of() -> None:
    async def main() -> None:
        transport, _, peer = await client()
        # As if the loop had gone away below it.
        below = transport._ssl_protocol._transport
        reference = weakref.ref(transport)
        below.set_protocol(Recorder())
        del transport, _
        with pytest.warns(ResourceWarning, match="unclosed transport <asyncio._SSLProtocolTransport object>"):
            gc.collect()
        assert reference() is None
        below.abort()
        peer.sock.close()

    run(main)


def test_connections_leave_nothing() -> None:
    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    async def converse() -> None:
        async with serving(Echo) as address:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, *address, ssl=client_context(), server_hostname="localhost"
            )
            transport.write(b"hello")
            await protocol.data(5)
            transport.close()
            await protocol.lost
        failing = listening()
        making = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(
                Recorder, *failing.getsockname(), ssl=client_context(), server_hostname="localhost"
            )
        )
        sock = await accept(failing)
        sock.close()
        with pytest.raises(ConnectionResetError):
            await making

    async def main() -> None:
        for _ in range(3):
            await converse()
        before = objects()
        for _ in range(20):
            await converse()
        assert objects() - before < 20

    run(main)


def resident() -> int:
    gc.collect()
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell the resident memory")


CONNECTIONS = 300


def test_an_idle_connection_costs_little_more_than_its_session() -> None:
    # In a process of its own: what other tests left to the allocator would count.
    program = "from tests.test_tls_connections import cost_of_an_idle_connection as cost; print(cost())"
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4096, f"{done.stdout} bytes above the session"


def cost_of_an_idle_connection() -> float:
    """Return the bytes that one end takes above its session; it has sent and received a little.

    Both ends are in this process, so the difference counts for two.
    """

    def bare() -> tuple[ssl.SSLObject, ...]:
        bios = [ssl.MemoryBIO() for _ in range(4)]
        one = clients.wrap_bio(bios[0], bios[1], server_hostname="localhost")
        two = servers.wrap_bio(bios[2], bios[3], server_side=True)
        for step in (one.do_handshake, two.do_handshake, one.do_handshake, two.do_handshake):
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
            bios[2].write(bios[1].read())
            bios[0].write(bios[3].read())
        one.write(b"hello")
        bios[2].write(bios[1].read())
        two.write(two.read(5))
        bios[0].write(bios[3].read())
        assert one.read(5) == b"hello"
        return one, two

    class Asking(asyncio.Protocol):
        """As little as a program can have for a connection."""

        __slots__ = ("answered",)

        def data_received(self, data: bytes) -> None:
            assert data == b"hello"
            self.answered.set_result(None)
            del self.answered

    async def whole(address: Any) -> Any:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(
            Asking, *address, ssl=clients, server_hostname="localhost"
        )
        protocol.answered = answered = loop.create_future()
        transport.write(b"hello")
        await answered
        return transport

    async def main() -> float:
        async with serving(Echo, servers) as address:
            warm = [bare() for _ in range(20)], [await whole(address) for _ in range(20)]
            start = resident()
            sessions = [bare() for _ in range(CONNECTIONS)]
            between = resident()
            transports = [await whole(address) for _ in range(CONNECTIONS)]
            end = resident()
            extra = ((end - between) - (between - start)) / CONNECTIONS / 2
            for transport in warm[1] + transports:
                transport.abort()
            del sessions
            await asyncio.sleep(0)
            return extra

    clients, servers = client_context(), server_context()
    return cast(float, run(main))


@pytest.mark.parametrize("writes_first", [True, False])
def test_a_broken_record_is_that_connections_end_alone(writes_first: bool) -> None:
    """In the iteration in which something else is written to it, which its session then refuses."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, report: reports.append(report))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport, protocol, peer = await client()
        record = bytearray(peer.ciphertext(b"not to be trusted"))
        record[-1] ^= 1

        def relay() -> None:
            ours.recv(1)
            transport.write(b"from elsewhere")

        loop.add_reader(ours, relay)
        # Both come in together: this thread does not look at either in between.
        if writes_first:
            theirs.send(b"!")
        peer.sock.send(record)
        if not writes_first:
            theirs.send(b"!")
        assert isinstance(await protocol.lost, ssl.SSLError)
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
        peer.sock.close()
        assert not reports

    run(main)


def test_a_high_water_mark_of_zero_lets_requests_be_answered() -> None:
    async def main() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.set_write_buffer_limits(high=0)
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
        for number in range(20):
            writer.write(b"%d" % number)
            assert await reader.read(100) == b"%d" % number
        writer.close()
        server.close()

    run(main)


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (lambda: None, "object of type 'NoneType' has no len()"),
        (lambda: b"four", "read() argument 2 must be read-write bytes-like object, not bytes"),
        (released_view, "operation forbidden on released memoryview object"),
    ],
    ids=["none", "readonly", "released"],
)
def test_what_is_no_buffer_ends_the_connection_with_asyncios_error(
    buffer: Callable[[], Any], error: str
) -> None:
    class Lender(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        buffer: Callable[[], Any] = bytearray(8).copy

        def get_buffer(self, sizehint: int) -> Any:
            return self.buffer()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        _transport, protocol, peer = await client(Lender)
        protocol.buffer = buffer
        await peer.send(b"data")
        assert str(await protocol.lost) == error
        peer.sock.close()

    run(main)


def test_start_tls_takes_any_truth_for_server_side() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.connect_accepted_socket(Recorder, ours)
        upgrading = asyncio.ensure_future(
            loop.start_tls(transport, protocol, server_context(), server_side=cast(bool, 1))
        )
        reader, writer = await asyncio.open_connection(
            sock=theirs, ssl=client_context(), server_hostname="localhost"
        )
        upgraded = await upgrading
        assert upgraded is not None
        upgraded.write(b"welcome")
        assert await reader.readexactly(7) == b"welcome"
        writer.close()
        await protocol.lost

    run(main)
