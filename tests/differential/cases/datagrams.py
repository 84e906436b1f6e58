"""create_datagram_endpoint: addresses, errors, flow control, closing, what protocols raise."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import tempfile
from typing import Any

from ..log import Log, since
from .scheduling import new_loop
from .sockets import refused, turns

HOST = "127.0.0.1"


class Silence:
    """A log that records nothing."""

    def channel(self, name: str) -> Silence:
        return self

    def __call__(self, *values: object) -> None: ...


class Recorder(asyncio.DatagramProtocol):
    """Records what happens to it."""

    transport: Any

    def __init__(self, log: Log, name: str = "protocol") -> None:
        self.log = log.channel(name)
        self.received: list[bytes] = []
        self.senders: list[Any] = []
        self.errors = 0
        self.lost = False
        self.resumed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.log("made", transport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.log("received", data, type(addr))
        self.received.append(data)
        self.senders.append(addr)

    def error_received(self, exc: Exception) -> None:
        self.log("error", exc)
        self.errors += 1

    def pause_writing(self) -> None:
        self.log("pause")

    def resume_writing(self) -> None:
        self.log("resume")
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.log("lost", exc)
        self.lost = True


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def run(log: Log, body: Any, debug: bool = False) -> None:
    with new_loop() as loop:
        loop.set_debug(debug)
        log.watch(loop)
        loop.run_until_complete(asyncio.wait_for(body(loop), 20))


async def endpoints(log: Log, loop: Any, host: str = HOST) -> tuple[Recorder, Recorder]:
    """A server, and a client connected to it."""
    _, server = await loop.create_datagram_endpoint(lambda: Recorder(log, "server"), local_addr=(host, 0))
    address = server.transport.get_extra_info("sockname")[:2]
    _, client = await loop.create_datagram_endpoint(lambda: Recorder(log, "client"), remote_addr=address)
    return server, client


async def close(*protocols: Recorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
    await until(lambda: all(protocol.lost for protocol in protocols))


def case_arguments(log: Log) -> None:
    async def body(loop: Any) -> None:
        create = loop.create_datagram_endpoint
        for label, arguments in (
            ("nothing", {}),
            ("no tuple", {"local_addr": "x"}),
            ("a triple", {"local_addr": (HOST, 0, 0)}),
            ("two families", {"local_addr": (HOST, 0), "remote_addr": ("::1", 9)}),
            ("unix", {"local_addr": (HOST, 0), "family": socket.AF_UNIX}),
        ):
            await log.attempt_await(label, create(lambda: Recorder(log), **arguments))
        with socket.socket() as stream:
            await log.attempt_await("stream", create(lambda: Recorder(log), sock=stream))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await log.attempt_await("both", create(lambda: Recorder(log), (HOST, 0), sock=sock))
        await log.attempt_await("factory", create(lambda: 1 / 0, (HOST, 0)))

    run(log, body)


def case_request_and_reply(log: Log) -> None:
    async def body(loop: Any) -> None:
        for host in (HOST, "::1"):
            server, client = await endpoints(log, loop, host)
            client.transport.sendto(b"request")
            await until(lambda server=server: server.received)
            log(server.senders == [client.transport.get_extra_info("sockname")])
            server.transport.sendto(b"reply", server.senders[0])
            await until(lambda client=client: client.received)
            log(client.senders == [server.transport.get_extra_info("sockname")])
            for data in (bytearray(b"bytearray"), memoryview(b"memoryview"), memoryview(b"strided")[::1]):
                client.transport.sendto(data)
            await until(lambda server=server: len(server.received) == 4)
            await close(server, client)

    run(log, body)


def case_empty_datagrams(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        client.transport.sendto(b"")
        client.transport.sendto(b"end")
        await until(lambda: b"end" in server.received)
        log(server.received)
        await close(server, client)

    run(log, body)


def case_extra_information(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        for protocol in (server, client):
            transport = protocol.transport
            log(transport.get_extra_info("sockname") == transport._sock.getsockname())
            log(transport.get_extra_info("peername") == server.transport.get_extra_info("sockname"))
            log(transport.get_extra_info("socket"), transport.get_extra_info("nothing", 5))
            log(transport.get_write_buffer_limits(), transport.get_write_buffer_size(), transport.max_size)
            log(transport.is_closing(), transport.is_reading(), transport.get_protocol() is protocol)
            log(
                transport._address is None,
                transport._conn_lost,
                transport._sock_fd == transport._sock.fileno(),
            )
            for name in ("write", "writelines", "write_eof", "can_write_eof"):
                arguments = [b""] if name == "write" else [[]] if name == "writelines" else []
                log.attempt(name, getattr(transport, name), *arguments)
        await close(server, client)
        log(server.transport, len(server.transport.get_extra_info("sockname")), server.transport.is_closing())

    run(log, body)


def case_wrong_addresses_and_data(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        log.attempt("another", client.transport.sendto, b"x", ("127.0.0.1", 1))
        log.attempt("none", client.transport.sendto, b"x", None)
        log.attempt("own", client.transport.sendto, b"x", client.transport._address)
        log.attempt("equal", client.transport.sendto, b"x", (*client.transport._address,))
        log.attempt("by name", client.transport.sendto, data=b"x", addr=None)
        for wrong in ("text", None, 5, [1]):
            log.attempt(f"data {wrong!r}", client.transport.sendto, wrong)
        await until(lambda: len(server.received) == 4)
        await close(server, client)

    run(log, body)


def case_fatal_errors(log: Log) -> None:
    async def body(loop: Any) -> None:
        for wrong in (None, "text", (HOST, "x"), (HOST, 70000)):
            _, protocol = await loop.create_datagram_endpoint(
                lambda wrong=wrong: Recorder(log, repr(wrong)), local_addr=(HOST, 0)
            )
            log.attempt(repr(wrong), protocol.transport.sendto, b"x", wrong)
            log(protocol.transport)
            await until(lambda protocol=protocol: protocol.lost)

    run(log, body)


def case_errors_of_the_network(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        await close(server)
        client.transport.sendto(b"to nobody")
        await until(lambda: client.errors == 1)
        client.transport.sendto(bytes(70_000))
        log(client.errors, client.transport.is_closing())
        await close(client)

    run(log, body)


def case_an_error_meets_a_later_send(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        await close(server)
        client.transport.pause_reading()
        client.transport.sendto(b"to nobody")
        await asyncio.sleep(0.05)
        client.transport.sendto(b"to nobody again")
        log(client.errors)
        await close(client)

    run(log, body)


def case_closing(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        client.transport.sendto(b"first")
        client.transport.sendto(b"second")
        client.transport.close()
        log(client.transport, client.transport.is_closing())
        client.transport.close()
        for _ in range(8):
            log.attempt("closing", client.transport.sendto, b"late")
        await until(lambda: client.lost)
        log.attempt("closed", client.transport.sendto, b"later")
        await until(lambda: len(server.received) == 2)
        server.transport.abort()
        server.transport.abort()
        await until(lambda: server.lost)
        log.attempt("close again", server.transport.close)

    run(log, body)


def case_aborting(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        for number in range(5):
            client.transport.sendto(b"%d" % number)
        client.transport.abort()
        await until(lambda: client.lost and len(server.received) == 5)
        log(server.received)
        await close(server)

    run(log, body)


def case_pausing_reading(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        server.transport.pause_reading()
        server.transport.pause_reading()
        log(server.transport.is_reading(), server.transport)
        for number in range(40):
            client.transport.sendto(b"%d" % number)
        await asyncio.sleep(0.02)
        log(len(server.received))
        server.transport.resume_reading()
        server.transport.resume_reading()
        await until(lambda: len(server.received) == 40)
        await close(server, client)
        log.attempt("closed", server.transport.pause_reading)
        log.attempt("closed", server.transport.resume_reading)

    run(log, body)


def case_pausing_within_a_burst(log: Log) -> None:
    class Pausing(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.pause_reading()

    async def body(loop: Any) -> None:
        _, server = await loop.create_datagram_endpoint(lambda: Pausing(log, "server"), local_addr=(HOST, 0))
        address = server.transport.get_extra_info("sockname")
        _, client = await loop.create_datagram_endpoint(lambda: Recorder(log, "client"), remote_addr=address)
        for number in range(60):
            client.transport.sendto(b"%d" % number)
        for number in range(60):
            await until(lambda number=number: len(server.received) > number)
            await turns(3)
            log(len(server.received))
            server.transport.resume_reading()
        await close(server, client)

    run(log, body)


def case_exceptions_of_the_protocol(log: Log) -> None:
    class Failing(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            raise KeyError(data)

    async def body(loop: Any) -> None:
        seen = log.channel("handler")
        loop.set_exception_handler(lambda _, context: seen(context["exception"], sorted(context)))
        _, server = await loop.create_datagram_endpoint(lambda: Failing(log, "server"), local_addr=(HOST, 0))
        address = server.transport.get_extra_info("sockname")
        _, client = await loop.create_datagram_endpoint(lambda: Recorder(log, "client"), remote_addr=address)
        for number in range(60):
            client.transport.sendto(b"%d" % number)
        await until(lambda: len(server.received) == 60)
        log(server.transport.is_closing())
        await close(server, client)

    run(log, body)


def case_closing_within_a_burst(log: Log) -> None:
    class Closing(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.received) == 45:
                self.transport.close()

    async def body(loop: Any) -> None:
        _, server = await loop.create_datagram_endpoint(lambda: Closing(log, "server"), local_addr=(HOST, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for number in range(60):
                client.sendto(b"%d" % number, server.transport.get_extra_info("sockname"))
            await until(lambda: server.lost)
        log(len(server.received))

    run(log, body)


def case_unix_datagrams(log: Log) -> None:
    async def body(loop: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path, own = os.path.join(folder, "server"), os.path.join(folder, "client")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
                stale.bind(path)
            create = loop.create_datagram_endpoint
            _, server = await create(lambda: Recorder(log, "server"), path, family=socket.AF_UNIX)
            _, named = await create(lambda: Recorder(log, "named"), own, path, family=socket.AF_UNIX)
            _, unnamed = await create(lambda: Recorder(log, "unnamed"), None, path, family=socket.AF_UNIX)
            named.transport.sendto(b"named")
            await until(lambda: server.received)
            unnamed.transport.sendto(b"unnamed")
            await until(lambda: len(server.received) == 2)
            log([sender == own for sender in server.senders], server.senders[1])
            server.transport.sendto(b"reply", server.senders[0])
            await until(lambda: named.received)
            log(named.senders == [path], named.transport.get_extra_info("peername") == path)
            await close(server)
            named.transport.sendto(b"to nobody")
            log(named.errors)
            os.unlink(path)
            await close(named, unnamed)

    run(log, body)


def named_pair(folder: str) -> tuple[socket.socket, socket.socket]:
    """Two sockets of which the first is connected to the second. A pair without names counts as not connected."""
    left, right = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    right.bind(os.path.join(folder, "right"))
    right.setblocking(False)
    left.connect(right.getsockname())
    return left, right


def case_a_pair_without_names(log: Log) -> None:
    async def body(loop: Any) -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with right:
            _, protocol = await loop.create_datagram_endpoint(lambda: Recorder(log), sock=left)
            right.send(b"data")
            await until(lambda: protocol.received)
            log(protocol.senders)
            await close(protocol)

    run(log, body)


def case_flow_control(log: Log) -> None:
    with tempfile.TemporaryDirectory() as folder:
        flow_control(log, folder)


def flow_control(log: Log, folder: str) -> None:
    async def body(loop: Any) -> None:
        left, right = named_pair(folder)
        _, protocol = await loop.create_datagram_endpoint(lambda: Recorder(log), sock=left)
        protocol.transport.set_write_buffer_limits(high=100_000)
        log(protocol.transport.get_write_buffer_limits())
        log.attempt("wrong", protocol.transport.set_write_buffer_limits, 1, 2)
        for number in range(1000):
            protocol.transport.sendto(b"%04d" % number + bytes(1000))
        log(protocol.transport.get_write_buffer_size() > 100_000, protocol.transport.is_closing())
        received = []
        while len(received) < 1000:
            try:
                received.append(int(right.recv(2000)[:4]))
            except BlockingIOError:
                await asyncio.sleep(0)
        await protocol.resumed.wait()
        log(received == list(range(1000)))
        await close(protocol)
        right.close()

    run(log, body)


def case_closing_with_something_to_send(log: Log) -> None:
    with tempfile.TemporaryDirectory() as folder:
        close_with_something_to_send(log, folder)


def close_with_something_to_send(log: Log, folder: str) -> None:
    async def body(loop: Any) -> None:
        left, right = named_pair(folder)
        for ending in ("close", "abort"):
            sock = left.dup()
            _, protocol = await loop.create_datagram_endpoint(
                lambda ending=ending: Recorder(log, ending), sock=sock
            )
            for _number in range(600):
                protocol.transport.sendto(bytes(1000))
            getattr(protocol.transport, ending)()
            log(ending, protocol.transport.is_closing())
            if ending == "close":
                log(protocol.transport.get_write_buffer_size() > 0)
            received = 0
            while True:
                try:
                    received += bool(right.recv(2000))
                except BlockingIOError:
                    if protocol.lost:
                        break
                    await asyncio.sleep(0)
            log(received == 600)
        left.close()
        right.close()

    run(log, body)


def case_contexts(log: Log) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    class InContext(Recorder):
        def connection_made(self, transport: Any) -> None:
            self.log("made in", variable.get())
            variable.set("made")
            super().connection_made(transport)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.log("received in", variable.get())
            variable.set("received")
            super().datagram_received(data, addr)

    async def body(loop: Any) -> None:
        variable.set("creating")
        _, server = await loop.create_datagram_endpoint(
            lambda: InContext(log, "server"), local_addr=(HOST, 0)
        )
        variable.set("sending")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(3):
                client.sendto(b"x", server.transport.get_extra_info("sockname"))
        await until(lambda: len(server.received) == 3)
        variable.set("closing")
        await close(server)

    run(log, body)


def case_truncation(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        server.transport.max_size = 3
        for text in (b"long", b"abc", b""):
            client.transport.sendto(text)
        client.transport.sendto(b"end")
        await until(lambda: b"end" in server.received)
        await close(server, client)

    run(log, body)


def case_options(log: Log) -> None:
    async def body(loop: Any) -> None:
        create = loop.create_datagram_endpoint
        # Which of the two gets a message, the kernel decides.
        quiet: Any = Silence()
        _, first = await create(lambda: Recorder(quiet), (HOST, 0), reuse_port=True)
        address = first.transport.get_extra_info("sockname")
        _, second = await create(lambda: Recorder(quiet), address, reuse_port=True)
        _, third = await create(lambda: Recorder(log, "third"), (HOST, 0), address, allow_broadcast=True)
        sock = third.transport.get_extra_info("socket")
        log(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST),
            third.transport.get_extra_info("peername"),
        )
        third.transport.sendto(b"x")
        await until(lambda: first.received or second.received)
        log.attempt("another", third.transport.sendto, b"x", (HOST, 9))
        await close(first, second, third)

    run(log, body)


def case_unclosed(log: Log) -> None:
    async def body(loop: Any) -> None:
        _, protocol = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, (HOST, 0))
        log(protocol)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(body(loop))
    loop.close()
    del loop
    gc.collect()


@since(3, 12)
def case_a_socket_that_a_transport_has(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        sock = server.transport._sock
        await log.attempt_await("another", loop.create_datagram_endpoint(lambda: Recorder(log), sock=sock))
        log.attempt("reader", loop.add_reader, sock, print)
        await refused(log, "recv", loop.sock_recv(sock, 1), sock)
        await close(server, client)

    run(log, body)


def case_debug_mode(log: Log) -> None:
    async def body(loop: Any) -> None:
        server, client = await endpoints(log, loop)
        client.transport.sendto(b"data")
        await until(lambda: server.received)
        server.transport.pause_reading()
        server.transport.resume_reading()
        log(server.transport)
        await close(server, client)

    run(log, body, debug=True)
