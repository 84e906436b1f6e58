"""Native datagram transports: what they promise beyond asyncio's, faults, and what they leave behind."""

import asyncio
import contextvars
import gc
import os
import socket
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tulipa

from .test_lifetimes import growth

HOST = "127.0.0.1"


def run(body: Callable[[Any], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(body(asyncio.get_running_loop()), 60)

    return tulipa.run(main())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.pauses = 0
        self.resumes = 0
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def pause_writing(self) -> None:
        self.pauses += 1

    def resume_writing(self) -> None:
        self.resumes += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Echo(Recorder):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


async def endpoint(loop: Any, factory: type[Recorder] = Recorder, **arguments: Any) -> Recorder:
    arguments = arguments or {"local_addr": (HOST, 0)}
    _, protocol = await loop.create_datagram_endpoint(factory, **arguments)
    assert isinstance(protocol, Recorder)
    return protocol


def address(protocol: Recorder) -> Any:
    return protocol.transport.get_extra_info("sockname")


@contextmanager
def sender(protocol: Recorder, count: int) -> Iterator[socket.socket]:
    """A plain socket that has sent the endpoint so many messages, which are numbered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        for number in range(count):
            peer.sendto(b"%d" % number, address(protocol))
        yield peer


async def close(*protocols: Recorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
    await until(lambda: all(protocol.lost for protocol in protocols))


def test_the_transport_is_native() -> None:
    async def body(loop: Any) -> None:
        protocol = await endpoint(loop)
        kind = type(protocol.transport)
        assert kind.__module__ == "tulipa._tulipa"
        assert isinstance(protocol.transport, asyncio.DatagramTransport)
        assert isinstance(protocol.transport, asyncio.Transport)
        assert repr(protocol.transport).startswith("<DatagramTransport fd=")
        await close(protocol)

    run(body)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40, 150])
def test_bursts_keep_their_order(count: int) -> None:
    async def body(loop: Any) -> None:
        server = await endpoint(loop, Echo)
        client = await endpoint(loop, remote_addr=address(server))
        messages = [b"%d" % number * (number % 7) for number in range(count)]
        expected = [message for message in messages if message or sys.version_info >= (3, 13)]
        for _ in range(3):
            client.received.clear()
            for message in messages:
                client.transport.sendto(message)
            await until(lambda: len(client.received) >= len(expected))
            assert [data for data, _ in client.received] == expected
        await close(server, client)

    run(body)


def test_many_clients_of_one_endpoint() -> None:
    async def body(loop: Any) -> None:
        server = await endpoint(loop, Echo)
        # More than the loop remembers addresses of.
        clients = [await endpoint(loop, remote_addr=address(server)) for _ in range(300)]
        for _ in range(3):
            for start in range(0, 300, 50):
                for client in clients[start : start + 50]:
                    client.transport.sendto(b"%d" % id(client))
                some = clients[start : start + 50]
                await until(lambda some=some: all(client.received for client in some))
            for client in clients:
                assert client.received == [(b"%d" % id(client), address(server))]
                client.received.clear()
        senders = {sender for _, sender in server.received}
        assert senders == {address(client) for client in clients}
        await close(server, *clients)

    run(body)


def test_one_turns_messages_to_different_addresses_go_out_together() -> None:
    async def body(loop: Any) -> None:
        sender = await endpoint(loop)
        receivers = [await endpoint(loop) for _ in range(5)]
        for number in range(30):
            sender.transport.sendto(b"%d" % number, address(receivers[number % 5]))
        sender.transport.sendto(b"by name", ("localhost", address(receivers[0])[1]))
        await until(lambda: sum(len(receiver.received) for receiver in receivers) == 31)
        for place, receiver in enumerate(receivers):
            numbers = [data for data, _ in receiver.received if data != b"by name"]
            assert numbers == [b"%d" % number for number in range(place, 30, 5)]
        assert receivers[0].received[-1][0] == b"by name"
        await close(sender, *receivers)

    run(body)


def test_the_first_message_of_a_turn_is_sent_at_once() -> None:
    async def body(loop: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((HOST, 0))
            peer.settimeout(20)
            protocol = await endpoint(loop, remote_addr=peer.getsockname())
            protocol.transport.sendto(b"first")
            assert peer.recv(100) == b"first"
            protocol.transport.sendto(b"second")
            protocol.transport.sendto(b"third")
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(100)
            assert protocol.transport.get_write_buffer_size() == 0
            assert [peer.recv(100), peer.recv(100)] == [b"second", b"third"]
            await close(protocol)

    run(body)


def test_messages_that_wait_for_the_end_of_the_turn_are_copies() -> None:
    async def body(loop: Any) -> None:
        server = await endpoint(loop)
        client = await endpoint(loop, remote_addr=address(server))
        data = bytearray(b"0")
        for number in range(10):
            data[:] = b"%d" % number
            client.transport.sendto(data)
            client.transport.sendto(memoryview(data))
        data[:] = b"changed"
        await until(lambda: len(server.received) == 20)
        expected = [b"%d" % (number // 2) for number in range(20)]
        assert [data for data, _ in server.received] == expected
        await close(server, client)

    run(body)


def test_an_error_costs_the_message_that_it_met() -> None:
    async def body(loop: Any) -> None:
        server = await endpoint(loop)
        client = await endpoint(loop)
        target = address(server)
        for data in (b"one", b"two", bytes(70_000), b"three", bytes(80_000), b"four"):
            client.transport.sendto(data, target)
        await until(lambda: len(server.received) == 4 and len(client.errors) == 2)
        assert [data for data, _ in server.received] == [b"one", b"two", b"three", b"four"]
        assert all(isinstance(error, OSError) for error in client.errors)
        assert not client.transport.is_closing()
        await close(server, client)

    run(body)


def test_a_refusal_is_told_and_ends_nothing() -> None:
    async def body(loop: Any) -> None:
        server = await endpoint(loop)
        client = await endpoint(loop, remote_addr=address(server))
        target = address(server)
        await close(server)
        for expected in range(1, 5):
            client.transport.sendto(b"to nobody")
            await until(lambda expected=expected: len(client.errors) >= expected)
        assert all(isinstance(error, ConnectionRefusedError) for error in client.errors)
        again = await endpoint(loop, local_addr=target)
        client.transport.sendto(b"to somebody")
        await until(lambda: again.received)
        await close(again, client)

    run(body)


def test_what_error_received_raises_is_reported() -> None:
    class Failing(Recorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise KeyError("from error_received")

    async def body(loop: Any) -> None:
        reported: list[Any] = []
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        server = await endpoint(loop)
        client = await endpoint(loop, Failing, remote_addr=address(server))
        await close(server)
        client.transport.sendto(b"to nobody")
        await until(lambda: client.errors)
        with pytest.raises(KeyError):
            client.transport.sendto(bytes(70_000))
        client.transport.sendto(bytes(70_000))
        await until(lambda: len(reported) == 2)
        assert {type(exception) for exception in reported} == {KeyError}
        await close(client)

    run(body)


def test_an_unix_peer_that_is_gone(tmp_path: Path) -> None:
    async def body(loop: Any) -> None:
        path = str(tmp_path / "peer")
        server = await endpoint(loop, local_addr=path, family=socket.AF_UNIX)
        client = await endpoint(loop, remote_addr=path, family=socket.AF_UNIX)
        client.transport.sendto(b"data")
        await until(lambda: server.received)
        server.transport.pause_reading()
        for _ in range(200):
            client.transport.sendto(bytes(1000))
        assert client.transport.get_write_buffer_size() > 0
        await close(server)
        await until(lambda: client.errors)
        assert not client.transport.is_closing()
        await until(lambda: client.transport.get_write_buffer_size() == 0)
        assert all(isinstance(error, ConnectionError | OSError) for error in client.errors)
        await close(client)

    run(body)


def test_writing_pauses_and_resumes(tmp_path: Path) -> None:
    async def body(loop: Any) -> None:
        path = str(tmp_path / "peer")
        server = await endpoint(loop, local_addr=path, family=socket.AF_UNIX)
        client = await endpoint(loop, remote_addr=path, family=socket.AF_UNIX)
        client.transport.set_write_buffer_limits(high=10_000, low=1000)
        server.transport.pause_reading()
        await asyncio.sleep(0)
        sent = 0
        while not client.pauses:
            client.transport.sendto(b"%06d" % sent + bytes(500))
            sent += 1
        assert "write=<polling" in repr(client.transport)
        size = client.transport.get_write_buffer_size()
        header = 8 if sys.version_info >= (3, 13) else 0
        assert 10_000 < size <= 10_000 + 506 + header
        assert size % (506 + header) == 0
        server.transport.resume_reading()
        await until(lambda: client.resumes)
        await until(lambda: len(server.received) == sent)
        assert client.transport.get_write_buffer_size() == 0
        assert [int(data[:6]) for data, _ in server.received] == list(range(sent))
        assert (client.pauses, client.resumes) == (1, 1)
        await close(server, client)

    run(body)


def test_writing_pauses_when_the_end_of_the_turn_finds_no_room(tmp_path: Path) -> None:
    async def body(loop: Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.settimeout(20)
            peer.bind(str(tmp_path / "peer"))
            client = await endpoint(loop, local_addr=str(tmp_path / "own"), family=socket.AF_UNIX)
            client.transport.set_write_buffer_limits(high=100)
            count = 40
            for _ in range(count):
                client.transport.sendto(bytes(1000), peer.getsockname())
            await until(lambda: client.pauses)
            for _ in range(count):
                await asyncio.to_thread(peer.recv, 2000)
            await until(lambda: client.resumes)
            assert (client.pauses, client.resumes, client.errors) == (1, 1, [])
            await close(client)

    run(body)


@pytest.mark.parametrize("count", [5, 20])
def test_pausing_within_a_burst_keeps_what_is_left_of_it(count: int) -> None:
    class Pausing(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) == count:
                self.transport.pause_reading()

    async def body(loop: Any) -> None:
        server = await endpoint(loop, Pausing)
        with sender(server, 60) as peer:
            await until(lambda: len(server.received) >= count)
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(server.received) == count
            server.transport.resume_reading()
            await until(lambda: len(server.received) == 60)
            await asyncio.sleep(0)
            assert [data for data, _ in server.received] == [b"%d" % number for number in range(60)]
            assert [peer.recv(10) for _ in range(60)] == [b"%d" % number for number in range(60)]
        await close(server)

    run(body)


def test_answers_of_several_messages_keep_their_order() -> None:
    class Several(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            for part in range(3):
                self.transport.sendto(b"%b/%d" % (data, part), addr)

    async def body(loop: Any) -> None:
        server = await endpoint(loop, Several)
        with sender(server, 40) as peer:
            await until(lambda: len(server.received) == 40)
            await asyncio.sleep(0)
            expected = [b"%d/%d" % (number, part) for number in range(40) for part in range(3)]
            assert [peer.recv(10) for _ in expected] == expected
        await close(server)

    run(body)


# Within messages that come one by one, and within a burst.
@pytest.mark.parametrize("count", [7, 20])
def test_leaving_the_loop_within_a_burst_loses_nothing(count: int) -> None:
    class Leaving(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) % count == 0:
                raise KeyboardInterrupt

    loop = tulipa.new_event_loop()
    protocol = loop.run_until_complete(endpoint(loop, Leaving))
    with sender(protocol, 100):
        pass
    interrupts = 0
    while len(protocol.received) < 100:
        try:
            loop.run_until_complete(asyncio.wait_for(until(lambda: len(protocol.received) == 100), 20))
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts >= 100 // count - 1
    assert [data for data, _ in protocol.received] == [b"%d" % number for number in range(100)]
    loop.run_until_complete(close(protocol))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_stopping_the_loop_sends_what_was_written() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((HOST, 0))
        peer.settimeout(20)
        loop = tulipa.new_event_loop()
        protocol = loop.run_until_complete(endpoint(loop, remote_addr=peer.getsockname()))

        def write_and_stop() -> None:
            for number in range(5):
                protocol.transport.sendto(b"%d" % number)
            loop.stop()

        loop.call_soon(write_and_stop)
        loop.run_forever()
        protocol.transport.sendto(b"5")
        assert [peer.recv(10) for _ in range(6)] == [b"%d" % number for number in range(6)]
        loop.run_until_complete(close(protocol))
        loop.close()


def test_another_thread_sends_at_once() -> None:
    async def body(loop: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((HOST, 0))
            peer.settimeout(20)
            protocol = await endpoint(loop, remote_addr=peer.getsockname())
            thread = threading.Thread(target=protocol.transport.sendto, args=(b"data",))
            thread.start()
            thread.join()
            assert peer.recv(100) == b"data"
            await close(protocol)

    run(body)


def test_sockets_of_a_class_of_the_programs_own() -> None:
    class Shouting(socket.socket):
        def recvfrom(self, *arguments: Any) -> Any:
            data, sender = super().recvfrom(*arguments)
            return data.upper(), sender

    async def body(loop: Any) -> None:
        sock = Shouting(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((HOST, 0))
        protocol = await endpoint(loop, sock=sock)
        protocol.transport.sendto(b"data", sock.getsockname())
        await until(lambda: protocol.received)
        assert protocol.received[0][0] == b"DATA"
        await close(protocol)

    run(body)


def test_callbacks_run_in_the_transports_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen = []

    class InContext(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            seen.append(variable.get())
            super().datagram_received(data, addr)

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(variable.get())
            super().connection_lost(exc)

    async def body(loop: Any) -> None:
        variable.set("made")
        protocol = await endpoint(loop, InContext)
        variable.set("closing")
        protocol.transport.sendto(b"data", address(protocol))
        await until(lambda: protocol.received)
        await close(protocol)
        assert seen == ["made", "made"]

    run(body)


def test_transports_take_attributes_and_weak_references() -> None:
    async def body(loop: Any) -> None:
        protocol = await endpoint(loop)
        sent: list[bytes] = []
        protocol.transport.sendto = lambda data, addr=None: sent.append(data)
        protocol.transport.sendto(b"data")
        assert sent == [b"data"]
        assert weakref.ref(protocol.transport)() is protocol.transport
        protocol.transport.max_size = 10
        assert protocol.transport.max_size == 10
        await close(protocol)

    run(body)


def test_what_is_sent_through_a_closed_transport_goes_nowhere() -> None:
    async def body(loop: Any) -> None:
        protocol = await endpoint(loop)
        address = protocol.transport.get_extra_info("sockname")
        await close(protocol)
        protocol.transport.sendto(b"late", address)
        assert protocol.transport.get_write_buffer_size() == 0

    run(body)


def test_the_end_of_a_pair_sends_without_an_address() -> None:
    async def body(loop: Any) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            theirs.settimeout(20)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=ours)
            transport.sendto(b"to the other end")
            assert await asyncio.to_thread(theirs.recv, 100) == b"to the other end"
            transport.close()

    run(body)


def test_an_unclosed_transport_warns() -> None:
    async def body(loop: Any) -> int:
        protocol = await endpoint(loop)
        return protocol.transport.get_extra_info("socket").fileno()  # type: ignore[no-any-return]

    loop = tulipa.new_event_loop()
    number = loop.run_until_complete(body(loop))
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport <DatagramTransport fd="):
        gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_endpoints_leave_nothing() -> None:
    loop = tulipa.new_event_loop()

    async def work() -> None:
        server = await endpoint(loop, Echo)
        client = await endpoint(loop, remote_addr=address(server))
        for number in range(40):
            client.transport.sendto(b"%d" % number)
        await until(lambda: len(client.received) == 40)
        client.transport.sendto(bytes(70_000))
        client.transport.sendto(b"left over")
        client.transport.abort()
        await close(server)
        await until(lambda: client.lost)

    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    assert growth(lambda: loop.run_until_complete(work())) < 40
    assert len(os.listdir("/proc/self/fd")) == descriptors
    loop.close()


def test_cycles_through_a_transport_are_collected() -> None:
    loop = tulipa.new_event_loop()
    protocol = loop.run_until_complete(endpoint(loop))
    # In a cycle: what waits in the transport itself, and an attribute.
    protocol.transport.own = protocol
    reference = weakref.ref(protocol)
    loop.run_until_complete(close(protocol))
    loop.close()
    del protocol
    gc.collect()
    assert reference() is None
