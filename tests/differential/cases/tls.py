"""TLS: from the handshake to the good-bye, and everything that can go wrong between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from ...tls import Peer, accept, client_context, connect, listening, server_context
from ..log import Log


class Recorder(asyncio.Protocol):
    """Records everything, and tells of the first data and the end."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.data = b""
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.log("connection_made", transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool | None:
        self.log("eof_received", self.data)
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error)
        self.lost.set()

    def pause_writing(self) -> None:
        self.log("pause_writing")

    def resume_writing(self) -> None:
        self.log("resume_writing")
        self.changed.set()

    async def received(self, count: int) -> None:
        """Wait for so many bytes."""
        while len(self.data) < count:
            self.changed.clear()
            await self.changed.wait()


class LogHandler(logging.Handler):
    """Records what asyncio logs, without what takes a different time each run."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.DEBUG)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # Who connected to which port is not what this is about.
        if ("SSL" in text or "EOF" in text) and " connected to " not in text:
            self.log(record.levelname, text.partition("took")[0])


def run(log: Log, main: Callable[[], Awaitable[object]], *, debug: bool = False) -> None:
    """Run with the log as exception handler; in debug mode it records asyncio's log as well."""
    if debug:
        logger = logging.getLogger("asyncio")
        for handler in logger.handlers:
            handler.setLevel(logging.WARNING)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(LogHandler(log))

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        log.watch(loop)
        loop.set_debug(debug)
        loop.slow_callback_duration = 100
        await asyncio.wait_for(main(), 20)

    asyncio.run(bounded())


async def client(log: Log, factory: Any = Recorder, **keywords: Any) -> tuple[Any, Any, Peer]:
    """A TLS client of a peer: transport, protocol, peer."""
    listener = listening()
    task = asyncio.ensure_future(accept(listener))
    address = listener.getsockname()
    making = asyncio.ensure_future(
        asyncio.get_running_loop().create_connection(
            lambda: factory(log), *address, ssl=client_context(), server_hostname="localhost", **keywords
        )
    )
    peer = Peer(await task)
    await peer.handshake()
    transport, protocol = await making
    return transport, protocol, peer


def case_conversation(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        transport.write(b"one")
        transport.writelines([b"two", bytearray(b"three"), memoryview(b"four")])
        log("peer has", await peer.receive(15))
        await peer.send(b"answer")
        await protocol.received(6)
        log(transport.is_closing(), transport.is_reading(), transport.can_write_eof())
        log.attempt("write_eof", transport.write_eof)
        transport.close()
        log(transport.is_closing())
        log("peer has", await peer.receive(1))
        await peer.end()
        await protocol.lost.wait()
        log(transport.is_closing(), transport.get_protocol())

    run(log, main)


def case_extra_info(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        context = transport.get_extra_info("sslcontext")
        session = transport.get_extra_info("ssl_object")
        log(type(context), type(session), transport._ssl_protocol._sslcontext is context)
        for name in ("cipher", "compression", "nothing"):
            log(name, transport.get_extra_info(name))
        log(transport.get_extra_info("nothing", "default"), transport.get_extra_info(name="x", default=1))
        log(sorted(transport.get_extra_info("peercert")), transport.get_extra_info("socket") is not None)
        log(transport.get_extra_info("peername")[0], session.version())
        log.attempt("no arguments", lambda: bool(transport.get_extra_info("a", "b")))
        transport.abort()
        await protocol.lost.wait()
        log(transport.get_extra_info("peername"), type(transport.get_extra_info("ssl_object")))
        peer.sock.close()

    run(log, main)


def case_peer_says_good_bye(log: Log) -> None:
    async def main() -> None:
        _transport, protocol, peer = await client(log)
        await peer.send(b"last words")
        await peer.end()
        await protocol.lost.wait()

    run(log, main)


def case_peer_ends_without_good_bye(log: Log) -> None:
    async def main() -> None:
        _transport, protocol, peer = await client(log)
        await peer.send(b"last words")
        await protocol.received(10)
        peer.sock.close()
        await protocol.lost.wait()

    run(log, main)


def case_peer_ends_in_the_middle_of_a_record(log: Log) -> None:
    async def main() -> None:
        _transport, protocol, peer = await client(log)
        await peer.send(b"whole")
        await protocol.received(5)
        await peer.send_raw(peer.ciphertext(b"half of this")[:20])
        peer.sock.close()
        await protocol.lost.wait()

    run(log, main)


def case_peer_resets(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        peer.reset()
        await protocol.lost.wait()
        for _ in range(7):
            transport.write(b"into the void")
        log("written")

    run(log, main)


def case_a_spoilt_record(log: Log) -> None:
    async def main() -> None:
        _transport, protocol, peer = await client(log)
        record = bytearray(peer.ciphertext(b"something"))
        record[-1] ^= 1
        await peer.send_raw(record)
        await protocol.lost.wait()
        peer.sock.close()

    run(log, main, debug=True)


def case_no_record_at_all(log: Log) -> None:
    async def main() -> None:
        _transport, protocol, peer = await client(log)
        await peer.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await protocol.lost.wait()
        peer.sock.close()

    run(log, main, debug=True)


def case_peer_does_not_answer_the_good_bye(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log, ssl_shutdown_timeout=0.2)
        transport.close()
        transport.close()
        await protocol.lost.wait()
        peer.sock.close()

    run(log, main)


def case_methods_after_closing_twice(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        transport.close()
        transport.close()
        await peer.receive(1)
        await peer.end()
        await protocol.lost.wait()
        for name in ("get_write_buffer_size", "get_protocol", "is_reading", "resume_reading", "is_closing"):
            log.attempt(name, getattr(transport, name))
        log.attempt("write", transport.write, b"data")
        log.attempt("write text", transport.write, "text")
        log.attempt("extra", transport.get_extra_info, "peername")
        log.attempt("close", transport.close)
        log.attempt("abort", transport.abort)

    run(log, main)


def case_abort(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        transport.abort()
        log(transport.is_closing())
        await protocol.lost.wait()
        transport.abort()
        transport.close()
        peer.sock.close()

    run(log, main)


def case_bad_arguments(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        for value in ("text", 1, None, [b"list"]):
            log.attempt(f"write {value!r}", transport.write, value)
        log.attempt("write nothing", transport.write, b"")
        log.attempt("writelines number", transport.writelines, 5)
        for arguments in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
            log.attempt(f"write limits {arguments}", transport.set_write_buffer_limits, **arguments)
            log.attempt(f"read limits {arguments}", transport.set_read_buffer_limits, **arguments)
        for arguments in ({}, {"high": 1000}, {"low": 1000}, {"high": 5, "low": 5}):
            transport.set_write_buffer_limits(**arguments)
            transport.set_read_buffer_limits(**arguments)
            log(transport.get_write_buffer_limits(), transport.get_read_buffer_limits())
        log.attempt("writelines text", transport.writelines, ["text"])
        await protocol.lost.wait()
        peer.sock.close()

    run(log, main)


def case_limits_of_time(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = listening()
        task = asyncio.ensure_future(accept(listener))
        plain, protocol = await loop.create_connection(lambda: Recorder(log), *listener.getsockname())
        for value in (0, -1, -0.5):
            for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                upgrade = loop.start_tls(plain, protocol, client_context(), **{name: value})  # type: ignore[arg-type]
                await log.attempt_await(f"{name} {value}", upgrade)
        plain.close()
        await protocol.lost.wait()
        (await task).close()

    run(log, main)


def case_handshake_takes_too_long(log: Log) -> None:
    async def main() -> None:
        with listening() as listener:
            await log.attempt_await(
                "silent",
                asyncio.get_running_loop().create_connection(
                    lambda: Recorder(log),
                    *listener.getsockname(),
                    ssl=client_context(),
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.2,
                ),
            )

    run(log, main)


def connecting(log: Log, listener: socket.socket, **keywords: Any) -> asyncio.Future[Any]:
    """A client that begins its handshake, and records how that ends."""
    making = asyncio.get_running_loop().create_connection(
        lambda: Recorder(log),
        *listener.getsockname(),
        ssl=client_context(),
        server_hostname="localhost",
        **keywords,
    )
    return asyncio.ensure_future(log.attempt_await("connecting", making))


def case_peer_ends_during_the_handshake(log: Log) -> None:
    async def main() -> None:
        for how in ("close", "reset", "garbage"):
            log(how)
            listener = listening()
            making = connecting(log, listener)
            peer = Peer(await accept(listener))
            await peer.fetch()
            if how == "garbage":
                await peer.send_raw(b"220 mail.example ESMTP\r\n")
                await making
            if how == "reset":
                peer.reset()
            peer.sock.close()
            await making

    run(log, main)


def case_certificates_that_do_not_fit(log: Log) -> None:
    async def main() -> None:
        listener = listening()
        making = connecting(log, listener)
        peer = Peer(await accept(listener), server_context("other"))
        await log.attempt_await("peer", peer.handshake())
        await making
        peer.sock.close()

    run(log, main, debug=True)


def serving(log: Log, debug: bool, play: Callable[[tuple[str, int]], Awaitable[object]]) -> None:
    """A server, and somebody who connects to it and does something odd."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Recorder(log), "127.0.0.1", 0, ssl=server_context(), ssl_handshake_timeout=0.3
        )
        await play(server.sockets[0].getsockname())
        # Until the server has seen it too.
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not loop._selector.get_map() or len(loop._selector.get_map()) <= 2:  # type: ignore[attr-defined]
                break
        server.close()
        await server.wait_closed()
        log("closed")

    run(log, main, debug=debug)


async def send_garbage(address: tuple[str, int]) -> None:
    sock = await connect(address)
    await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.1\r\n\r\n")
    while await asyncio.get_running_loop().sock_recv(sock, 100):
        pass
    sock.close()


async def say_nothing(address: tuple[str, int]) -> None:
    sock = await connect(address)
    await asyncio.get_running_loop().sock_recv(sock, 100)
    sock.close()


async def reset_at_once(address: tuple[str, int]) -> None:
    peer = Peer(await connect(address), server_side=False)
    peer.reset()


async def leave_at_once(address: tuple[str, int]) -> None:
    (await connect(address)).close()


async def behave(address: tuple[str, int]) -> None:
    peer = Peer(await connect(address), server_side=False)
    await peer.handshake()
    await peer.send(b"hello")
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.session.unwrap()
    await peer.flush()
    # Until the server has answered: closing earlier would reset the connection.
    while await peer.fetch():
        pass
    peer.sock.close()


def case_server_and_garbage(log: Log) -> None:
    serving(log, False, send_garbage)


def case_server_and_garbage_in_debug_mode(log: Log) -> None:
    serving(log, True, send_garbage)


def case_server_and_silence_in_debug_mode(log: Log) -> None:
    serving(log, True, say_nothing)


def case_server_and_reset(log: Log) -> None:
    serving(log, False, reset_at_once)


def case_server_and_early_end_in_debug_mode(log: Log) -> None:
    serving(log, True, leave_at_once)


def case_server_and_a_good_client(log: Log) -> None:
    serving(log, True, behave)


def case_reading_is_paused(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        transport.pause_reading()
        transport.pause_reading()
        log(transport.is_reading())
        await peer.send(b"held back")
        await peer.end()
        await asyncio.sleep(0.1)
        log(protocol.data, transport.get_read_buffer_size() > 0)
        transport.resume_reading()
        transport.resume_reading()
        log(transport.is_reading(), protocol.data)
        await protocol.lost.wait()

    run(log, main)


def case_writing_is_paused(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        # As much as it takes: a single large write goes to the transport below as a whole.
        piece, count = bytes(256 * 1024), 0
        while transport.get_write_buffer_size() < 512 * 1024:
            transport.write(piece)
            count += 1
        log("full")
        transport.write(b"more")
        log(len(await peer.receive(count * len(piece) + 4)) == count * len(piece) + 4)
        await protocol.changed.wait()
        log(transport.get_write_buffer_size())
        transport.close()
        await peer.receive(1)
        await peer.end()
        await protocol.lost.wait()

    run(log, main)


def case_closing_waits_for_what_was_written(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log)
        size = 4 * 1024 * 1024
        transport.write(bytes(size))
        transport.close()
        transport.write(b"too late")
        log(len(await peer.receive(size + 10)))
        await peer.end()
        await protocol.lost.wait()

    run(log, main)


class Keeping(Recorder):
    """Asks for what TLS cannot give."""

    def eof_received(self) -> bool:
        self.log("eof_received")
        return True


class FailingEof(Recorder):
    """Fails at the end."""

    def eof_received(self) -> None:
        raise ValueError("eof")


class FailingData(Recorder):
    """Fails when data comes."""

    def data_received(self, data: bytes) -> None:
        raise ValueError(data)


class FailingFlow(Recorder):
    """Fails when told to pause or resume."""

    def pause_writing(self) -> None:
        raise ValueError("pause")

    def resume_writing(self) -> None:
        self.changed.set()
        raise ValueError("resume")


class FailingStart(Recorder):
    """Fails at once."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        raise ValueError("start")


def case_protocols_that_fail(log: Log) -> None:
    async def main() -> None:
        for factory in (Keeping, FailingEof, FailingData):
            log(factory.__name__)
            _transport, protocol, peer = await client(log, factory)
            await peer.send(b"data")
            await peer.end()
            await protocol.lost.wait()

    run(log, main)


def case_flow_control_that_fails(log: Log) -> None:
    async def main() -> None:
        transport, protocol, peer = await client(log, FailingFlow)
        count = 0
        while transport.get_write_buffer_size() < 512 * 1024:
            transport.write(bytes(256 * 1024))
            count += 1
        await peer.receive(count * 256 * 1024)
        await protocol.changed.wait()
        transport.abort()
        await protocol.lost.wait()
        peer.sock.close()

    run(log, main)


class Buffered(asyncio.BufferedProtocol):
    """Receives into a buffer of a few bytes."""

    size: object = 7

    def __init__(self, log: Log) -> None:
        self.log = log
        self.buffer = self.make()
        self.data = b""
        self.lost = asyncio.Event()

    def make(self) -> Any:
        return memoryview(bytearray(7))

    def get_buffer(self, sizehint: int) -> Any:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += bytes(self.buffer[:nbytes])

    def eof_received(self) -> None:
        self.log("eof_received", self.data)

    def connection_lost(self, error: Exception | None) -> None:
        self.log("connection_lost", error)
        self.lost.set()


class ReadOnly(Buffered):
    """Hands out a buffer that cannot be written to."""

    def make(self) -> Any:
        return memoryview(b"constant")


class NoBuffer(Buffered):
    """Fails to hand out a buffer."""

    def get_buffer(self, sizehint: int) -> Any:
        raise ValueError("no buffer")


def case_buffered_protocols(log: Log) -> None:
    async def main() -> None:
        for factory in (Buffered, ReadOnly, NoBuffer):
            log(factory.__name__)
            _transport, protocol, peer = await client(log, factory)
            await peer.send(b"seven by seven, and the rest")
            await asyncio.sleep(0.05)
            await peer.end()
            await protocol.lost.wait()

    run(log, main)


def case_start_tls(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = listening()
        task = asyncio.ensure_future(accept(listener))
        plain, protocol = await loop.create_connection(lambda: Recorder(log), *listener.getsockname())
        peer = Peer(await task)
        await log.attempt_await("bad context", loop.start_tls(plain, protocol, "context"))  # type: ignore[arg-type]
        await log.attempt_await(
            "bad transport",
            loop.start_tls(asyncio.Transport(), protocol, client_context()),
        )
        upgrade = asyncio.ensure_future(
            loop.start_tls(plain, protocol, client_context(), server_hostname="localhost")
        )
        await peer.handshake()
        transport = await upgrade
        assert transport is not None
        log(transport, transport is plain, plain.get_protocol() is transport._ssl_protocol)  # type: ignore[attr-defined]
        transport.write(b"secret")
        log(await peer.receive(6))
        await peer.send(b"answer")
        await protocol.received(6)
        log(protocol.data)
        await peer.end()
        await protocol.lost.wait()

    run(log, main)


def case_start_tls_fails(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = listening()
        task = asyncio.ensure_future(accept(listener))
        plain, protocol = await loop.create_connection(lambda: Recorder(log), *listener.getsockname())
        peer = Peer(await task)
        upgrade = asyncio.ensure_future(
            log.attempt_await(
                "start_tls", loop.start_tls(plain, protocol, client_context(), server_hostname="localhost")
            )
        )
        await peer.fetch()
        await peer.send_raw(b"no TLS here\r\n")
        await upgrade
        log(plain.is_closing())
        peer.sock.close()

    run(log, main)


def case_streams(log: Log) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
        for line in (b"one\n", b"two\n"):
            writer.write(line)
            log(await reader.readline())
        big = b"x" * 300_000 + b"\n"
        writer.write(big)
        log(await log.attempt_await("too long", reader.readline()) is None)
        writer.close()
        await log.attempt_await("closed", writer.wait_closed())
        server.close()

    run(log, main)


def case_alpn_and_sni(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        names: list[str | None] = []

        def choose(session: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            names.append(name)
            session.context = server_context()
            session.context.set_alpn_protocols(["h2"])

        serving = server_context("other")
        serving.set_servername_callback(choose)
        serving.set_alpn_protocols(["h2", "http/1.1"])
        server = await loop.create_server(
            lambda: Recorder(Log(log._path, "server")), "127.0.0.1", 0, ssl=serving
        )
        asking = client_context()
        asking.set_alpn_protocols(["http/1.1", "h2"])
        transport, protocol = await loop.create_connection(
            lambda: Recorder(log), *server.sockets[0].getsockname(), ssl=asking, server_hostname="localhost"
        )
        session = transport.get_extra_info("ssl_object")
        log(names, session.selected_alpn_protocol(), session.server_hostname)
        transport.close()
        await protocol.lost.wait()
        server.close()
        await server.wait_closed()

    run(log, main)
