"""TLS: what it promises beyond asyncio's own tests, which compare it with stock asyncio elsewhere."""

import asyncio
import contextlib
import hashlib
import os
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import tulipa
from tulipa import _tulipa

from .tls import Peer, accept, client_context, connect, listening, server_context


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def entry() -> Any:
        return await asyncio.wait_for(main(), 60)

    return tulipa.run(entry())


class Recorder(asyncio.Protocol):
    """Keeps its transport and what it receives, and tells when the connection is lost."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.changed = asyncio.Event()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        self.changed.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)

    async def data(self, count: int) -> bytes:
        """Wait for so many bytes in all, and return them."""
        while len(data := b"".join(self.received)) < count:
            self.changed.clear()
            await self.changed.wait()
        return data


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def client(
    factory: Callable[[], Any] = Recorder,
    context: ssl.SSLContext | None = None,
    serving: ssl.SSLContext | None = None,
) -> tuple[Any, Any, Peer]:
    """Return the transport and the protocol of a TLS client, and the peer that serves it."""
    listener = listening()
    accepting = asyncio.ensure_future(accept(listener))
    making = asyncio.ensure_future(
        asyncio.get_running_loop().create_connection(
            factory, *listener.getsockname(), ssl=context or client_context(), server_hostname="localhost"
        )
    )
    peer = Peer(await accepting, serving)
    await peer.handshake()
    return *await making, peer


@contextlib.asynccontextmanager
async def serving(factory: Callable[[], Any], context: ssl.SSLContext | None = None) -> Any:
    """Serve TLS, and yield the address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context or server_context())
    yield server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()


def records(ciphertext: bytes) -> Iterator[bytes]:
    """Take TLS records apart."""
    while ciphertext:
        size = 5 + int.from_bytes(ciphertext[3:5], "big")
        yield ciphertext[:size]
        ciphertext = ciphertext[size:]


def test_the_classes() -> None:
    async def main() -> None:
        transport, protocol, peer = await client()
        assert type(transport) is _tulipa.SSLTransport
        assert isinstance(transport, asyncio.Transport)
        assert type(transport._ssl_protocol) is _tulipa.SSLProtocol
        assert isinstance(transport._ssl_protocol, asyncio.BufferedProtocol)
        transport.note = "attributes can be set"
        assert weakref.ref(transport)() is transport
        with pytest.raises(TypeError):
            type(transport)()
        transport.abort()
        assert await protocol.lost is None
        peer.sock.close()

    run(main)


@pytest.mark.parametrize("size", [1, 5, 6, 22, 1000, 16_384, 40_000])
def test_records_arrive_whole_however_they_are_split(size: int) -> None:
    async def main() -> None:
        _, protocol, peer = await client()
        texts = [bytes([number]) * length for number, length in enumerate([1, 300, 16_384, 20_000, 2])]
        ciphertext = b"".join(map(peer.ciphertext, texts))
        for start in range(0, min(len(ciphertext), 60 * size), size):
            await peer.send_raw(ciphertext[start : start + size])
            await asyncio.sleep(0)
        await peer.send_raw(ciphertext[60 * size :])
        whole = b"".join(texts)
        assert await protocol.data(len(whole)) == whole
        await peer.end()
        assert await protocol.lost is None

    run(main)


def test_many_records_that_arrive_together_are_one_piece_of_data() -> None:
    async def main() -> None:
        _, protocol, peer = await client()
        await peer.send_raw(b"".join(peer.ciphertext(b"%d," % number) for number in range(100)))
        expected = b"".join(b"%d," % number for number in range(100))
        assert await protocol.data(len(expected)) == expected
        assert len(protocol.received) == 1
        await peer.end()
        await protocol.lost

    run(main)


def test_what_is_written_in_one_iteration_is_one_record() -> None:
    async def main() -> None:
        transport, protocol, peer = await client()
        for piece in (b"HTTP/1.1 200 OK\r\n", bytearray(b"\r\n"), memoryview(b"body")):
            transport.write(piece)
        seen = await asyncio.get_running_loop().sock_recv(peer.sock, 65536)
        assert len(list(records(seen))) == 1
        peer.incoming.write(seen)
        assert await peer.receive(23) == b"HTTP/1.1 200 OK\r\n\r\nbody"
        transport.write(b"!")
        assert transport.get_write_buffer_size() == 0, "the end of the iteration is not waited for"
        assert await peer.receive(1) == b"!"
        transport.abort()
        await protocol.lost
        peer.sock.close()

    run(main)


def test_what_data_received_writes_is_one_record() -> None:
    class Replies(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"head")
            self.transport.writelines([b"", b"bo", b"dy"])

    async def main() -> None:
        transport, protocol, peer = await client(Replies)
        await peer.send(b"request")
        seen = await asyncio.get_running_loop().sock_recv(peer.sock, 65536)
        assert len(list(records(seen))) == 1
        peer.incoming.write(seen)
        assert await peer.receive(8) == b"headbody"
        transport.abort()
        await protocol.lost
        peer.sock.close()

    run(main)


def test_a_changed_bytearray_does_not_change_what_was_written() -> None:
    async def main() -> None:
        transport, protocol, peer = await client()
        data = bytearray(b"before")
        transport.write(data)
        data[:] = b"after!"
        assert await peer.receive(6) == b"before"
        transport.abort()
        await protocol.lost
        peer.sock.close()

    run(main)


def test_large_transfers_both_ways_at_once() -> None:
    async def main() -> None:
        sent = os.urandom(8 * 1024 * 1024)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100_000):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )

        async def send() -> None:
            for start in range(0, len(sent), 70_001):
                writer.write(sent[start : start + 70_001])
                await writer.drain()

        sending = asyncio.ensure_future(send())
        echoed = await reader.readexactly(len(sent))
        await sending
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(sent).digest()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


class Resuming(ssl.SSLContext):
    """A client's context that takes its last session up again."""

    last: ssl.SSLSession | None = None

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        return super().wrap_bio(*arguments, **keywords, session=self.last)


def trusting(context: ssl.SSLContext) -> None:
    context.load_verify_locations(Path(__file__).with_name("certificates") / "authority.pem")


def test_the_settings_of_a_context_hold(tmp_path: Path) -> None:
    async def main() -> None:
        names: list[str | None] = []
        server_side = server_context()
        server_side.verify_mode = ssl.CERT_REQUIRED
        server_side.set_alpn_protocols(["h2", "http/1.1"])
        server_side.set_servername_callback(lambda _session, name, _context: names.append(name))
        server_side.maximum_version = ssl.TLSVersion.TLSv1_2
        server_side.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
        client_side = Resuming(ssl.PROTOCOL_TLS_CLIENT)
        trusting(client_side)
        client_side.load_cert_chain(Path(__file__).with_name("certificates") / "client.pem")
        client_side.set_alpn_protocols(["http/1.1"])
        client_side.keylog_filename = str(tmp_path / "keys")
        async with serving(Echo, server_side) as address:
            for resumed in (False, True):
                transport, protocol = await asyncio.get_running_loop().create_connection(
                    Recorder, *address, ssl=client_side, server_hostname="localhost"
                )
                transport.write(b"hello")
                await protocol.data(5)
                session = transport.get_extra_info("ssl_object")
                assert session.session_reused is resumed
                assert session.selected_alpn_protocol() == "http/1.1"
                assert session.version() == "TLSv1.2"
                assert transport.get_extra_info("cipher")[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
                client_side.last = session.session
                transport.close()
                assert await protocol.lost is None
        assert names == ["localhost", "localhost"]
        assert "CLIENT_RANDOM" in (tmp_path / "keys").read_text()

    run(main)


def test_a_server_knows_its_clients_certificate() -> None:
    async def main() -> None:
        served: asyncio.Queue[Any] = asyncio.Queue()

        class Served(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                served.put_nowait(self)

        context = server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        async with serving(Served, context) as address:
            asking = client_context()
            asking.load_cert_chain(Path(__file__).with_name("certificates") / "client.pem")
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Recorder, *address, ssl=asking, server_hostname="localhost"
            )
            server_protocol = await served.get()
            subject = server_protocol.transport.get_extra_info("peercert")["subject"]
            assert subject == ((("commonName", "a client"),),)
            transport.close()
            await protocol.lost
            await server_protocol.lost

    run(main)


def test_records_of_the_session_itself_are_answered() -> None:
    async def main() -> None:
        asking = client_context()
        asking.post_handshake_auth = True
        asking.load_cert_chain(Path(__file__).with_name("certificates") / "client.pem")
        context = server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.post_handshake_auth = True
        context.verify_mode = ssl.CERT_OPTIONAL
        transport, protocol, peer = await client(context=asking, serving=context)
        assert not peer.session.getpeercert()
        peer.session.verify_client_post_handshake()
        await peer.send(b"who are you?")
        await protocol.data(12)
        while not peer.session.getpeercert():
            await peer.fetch()
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.session.read(1)
        transport.write(b"me")
        assert await peer.receive(2) == b"me"
        transport.abort()
        await protocol.lost
        peer.sock.close()

    run(main)


class Counting(ssl.SSLObject):
    """A session class of a program's own."""

    calls: dict[str, int]

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        self.calls = {**getattr(self, "calls", {}), "read": getattr(self, "calls", {}).get("read", 0) + 1}
        return super().read(len, buffer) if buffer is not None else super().read(len)

    def write(self, data: Any) -> int:
        assert isinstance(data, bytes)
        self.calls = {**getattr(self, "calls", {}), "write": getattr(self, "calls", {}).get("write", 0) + 1}
        return super().write(data)


@pytest.mark.parametrize("buffered", [False, True])
def test_a_session_class_of_a_programs_own_is_used_through_its_methods(buffered: bool) -> None:
    class Buffered(Recorder, asyncio.BufferedProtocol):  # type: ignore[misc]
        def get_buffer(self, sizehint: int) -> bytearray:
            self.buffer = bytearray(10)
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data_received(bytes(self.buffer[:nbytes]))

    async def main() -> None:
        context = client_context()
        context.sslobject_class = Counting
        transport, protocol, peer = await client(Buffered if buffered else Recorder, context)
        transport.write(b"x" * 50_000)
        assert await peer.receive(50_000) == b"x" * 50_000
        await peer.send(b"y" * 50_000)
        assert await protocol.data(50_000) == b"y" * 50_000
        calls = transport.get_extra_info("ssl_object").calls
        assert calls["write"] >= 1
        assert calls["read"] >= 4
        await peer.end()
        assert await protocol.lost is None

    run(main)


@pytest.mark.parametrize("excess", [1, 10**6, 10**30])
def test_a_session_that_has_written_more_than_it_was_given_has_written_all(excess: int) -> None:
    class Boastful(ssl.SSLObject):
        def write(self, data: Any) -> int:
            return super().write(data) + excess

    async def main() -> None:
        context = client_context()
        context.sslobject_class = Boastful
        transport, protocol, peer = await client(context=context)
        transport.write(b"x" * 40_000)
        for _ in range(3):
            transport.write(b"y")
        assert await peer.receive(40_003) == b"x" * 40_000 + b"yyy"
        assert transport.get_write_buffer_size() == 0
        await peer.end()
        assert await protocol.lost is None

    run(main)


def test_a_session_that_has_written_less_than_nothing_ends_the_connection() -> None:
    """asyncio encrypts the same for ever."""

    class Confused(ssl.SSLObject):
        def write(self, data: Any) -> int:
            super().write(data)
            return -1

    async def main() -> None:
        said: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        context = client_context()
        context.sslobject_class = Confused
        transport, protocol, peer = await client(context=context)
        transport.write(b"x")
        error = await protocol.lost
        assert [said_of["exception"] for said_of in said] == [error]
        assert repr(error) == "ValueError('a number of bytes cannot be -1')"
        peer.sock.close()

    run(main)


@pytest.mark.parametrize("waits", [False, True])
def test_the_first_data_follows_start_tls(waits: bool) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = listening()
        accepting = asyncio.ensure_future(accept(listener))
        plain, protocol = await loop.create_connection(Answering, *listener.getsockname())

        async def upgrade() -> Any:
            context = server_context()
            transport = cast(Any, await loop.start_tls(plain, protocol, context, server_side=True))
            assert not protocol.received, "the protocol cannot know its transport yet"
            protocol.transport = transport
            if waits:
                transport.pause_reading()
            return transport

        upgrading = asyncio.ensure_future(upgrade())
        peer = Peer(await accepting, server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.session.do_handshake()
        while True:
            await peer.flush()
            await peer.fetch()
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.session.do_handshake()
                break
        # The end of the handshake and the first data go out together.
        await peer.send(b"hello")
        transport = await upgrading
        if waits:
            await asyncio.sleep(0)
            assert not protocol.received
            transport.resume_reading()
        assert await peer.receive(5) == b"hello"
        transport.close()
        assert await peer.receive(1) == b""
        await peer.end()
        assert await protocol.lost is None

    run(main)


@pytest.mark.parametrize("session", [ssl.SSLObject, Counting])
@pytest.mark.parametrize("paused", [False, True])
def test_what_comes_before_the_peers_good_bye_is_dropped(session: type[ssl.SSLObject], paused: bool) -> None:
    class Ended(Recorder):
        ended = False

        def eof_received(self) -> None:
            self.ended = True

    async def main() -> None:
        context = client_context()
        context.sslobject_class = session
        transport, protocol, peer = await client(Ended, context)
        below = transport._ssl_protocol._transport
        if paused:
            transport.pause_reading()
            await peer.send(b"early" * 100_000)
            while below.is_reading():
                await asyncio.sleep(0)
        transport.close()
        assert await peer.receive(1) == b"", "the good-bye"
        for size in (1, 20_000, 500_000):
            await peer.send(b"x" * size)
        assert not protocol.ended
        await peer.end()
        assert await protocol.lost is None
        assert protocol.ended
        assert not protocol.received

    run(main)


def test_who_does_not_read_yet_ends_the_handshake_all_the_same() -> None:
    class Quiet(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        context = client_context()
        # There the server has the last word.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        protocols = []

        def factory() -> Quiet:
            protocols.append(Quiet())
            return protocols[0]

        async with serving(factory) as address:
            peer = Peer(await connect(address), context, server_side=False)
            await peer.handshake()
            await peer.send(b"hello")
            [protocol] = protocols
            assert not protocol.received
            protocol.transport.resume_reading()
            assert await protocol.data(5) == b"hello"
            await peer.end()
            assert await protocol.lost is None

    run(main)


def test_tls_in_tls() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        outer, first, peer = await client()
        accepted = asyncio.ensure_future(
            loop.start_tls(outer, Recorder(), client_context(), server_hostname="localhost")
        )
        inner_in, inner_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = server_context().wrap_bio(inner_in, inner_out, server_side=True)

        async def exchange() -> None:
            if data := inner_out.read():
                await peer.send(data)
            while True:
                try:
                    inner_in.write(peer.session.read(65536))
                    return
                except ssl.SSLWantReadError:
                    await peer.fetch()

        while True:
            try:
                inner.do_handshake()
                break
            except ssl.SSLWantReadError:
                await exchange()
        await peer.send(inner_out.read())
        transport = cast(Any, await accepted)
        assert transport.get_extra_info("socket") is outer.get_extra_info("socket")
        protocol = transport.get_protocol()
        transport.write(b"twice wrapped" * 5000)
        received = b""
        while len(received) < 65_000:
            try:
                received += inner.read(65536)
            except ssl.SSLWantReadError:
                await exchange()
        assert received == b"twice wrapped" * 5000
        inner.write(b"answer" * 10_000)
        await peer.send(inner_out.read())
        assert await protocol.data(60_000) == b"answer" * 10_000
        transport.abort()
        assert await protocol.lost is None
        assert not first.received
        peer.sock.close()

    run(main)


class Pipe(asyncio.Transport):
    """A transport of a program's own: bytes for a peer in the same process, delivered through the loop.

    It knows nothing of asyncio's private methods, and reads into the protocol's buffer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.other: Pipe
        self.protocol: Any = None
        self.closing = False
        self.reading = True
        self.held: list[bytes] = []

    _start_tls_compatible = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        held, self.held = self.held, []
        for data in held:
            self.receive(data)

    def write(self, data: Any) -> None:
        if not self.closing:
            self.loop.call_soon(self.other.receive, bytes(data))

    def receive(self, data: bytes) -> None:
        if not self.reading:
            self.held.append(data)
            return
        while data and not self.closing:
            view = self.protocol.get_buffer(-1)
            count = min(len(view), len(data))
            view[:count] = data[:count]
            self.protocol.buffer_updated(count)
            data = data[count:]

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.other.end)
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def end(self) -> None:
        if not self.closing:
            if not isinstance(self.protocol, Recorder):
                self.protocol.eof_received()
            self.close()


def test_a_transport_of_a_programs_own_carries_tls() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = Pipe(), Pipe()
        one.other, two.other = two, one
        client_protocol, server_protocol = Recorder(), Recorder()
        made = await asyncio.gather(
            loop.start_tls(one, client_protocol, client_context(), server_hostname="localhost"),
            loop.start_tls(two, server_protocol, server_context(), server_side=True),
        )
        client_side, server_side = cast(list[Any], made)
        client_side.write(b"q" * 100_000)
        assert await server_protocol.data(100_000) == b"q" * 100_000
        server_side.write(b"a" * 100_000)
        assert await client_protocol.data(100_000) == b"a" * 100_000
        client_side.close()
        assert await client_protocol.lost is None
        assert await server_protocol.lost is None
        # And where it has no way of closing but the public ones.
        one, two = Pipe(), Pipe()
        one.other, two.other = two, one
        two.pause_reading()
        two.protocol = Recorder()
        with pytest.raises(ConnectionAbortedError, match="taking longer than"):
            await loop.start_tls(
                one,
                Recorder(),
                client_context(),
                server_hostname="localhost",
                ssl_handshake_timeout=0.1,
            )
        assert one.closing

    run(main)


def test_a_replaced_write_of_the_stream_below_is_used() -> None:
    async def main() -> None:
        transport, protocol, peer = await client()
        below = transport._ssl_protocol._transport
        native, written = below.write, []
        below.write = lambda data: (written.append(len(data)), native(data))
        transport.write(b"seen")
        assert await peer.receive(4) == b"seen"
        assert sum(written) > 4
        transport.abort()
        await protocol.lost
        peer.sock.close()

    run(main)
