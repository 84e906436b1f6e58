"""Connections that are given up: what was written before, who keeps them alive, and what their closed loop says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ...tls import Peer, accept, client_context, listening
from ..log import Log

END = b"--"
"""What a client sends to a protocol that shall fail."""


class Quiet(asyncio.Protocol):
    """Tells when the connection is lost."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


class FailsWithData(Quiet):
    """Answers, and fails."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"data received")
        raise ValueError("data_received")


class FailsAtTheEnd(Quiet):
    """Answers what ends the stream, and fails."""

    def eof_received(self) -> None:
        self.transport.write(b"end received")
        raise ValueError("eof_received")


class FailsWithItsBuffer(Quiet, asyncio.BufferedProtocol):
    """Answers what was put into its buffer, and fails."""

    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray(100)

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(b"buffer updated")
        raise ValueError("buffer_updated")


class LendsNoBuffer(Quiet, asyncio.BufferedProtocol):
    """Fails when it is asked for a buffer."""

    def get_buffer(self, sizehint: int) -> bytearray:
        self.transport.write(b"buffer wanted")
        raise ValueError("get_buffer")


class GivesUp(Quiet):
    """Answers, and aborts."""

    def data_received(self, data: bytes) -> None:
        self.transport.writelines([b"one ", b"two"])
        self.transport.abort()


PROTOCOLS: tuple[type[Quiet], ...] = (
    FailsWithData,
    FailsAtTheEnd,
    FailsWithItsBuffer,
    LendsNoBuffer,
    GivesUp,
)


def run(log: Log, main: Callable[[], Awaitable[object]]) -> None:
    async def bounded() -> None:
        log.watch(asyncio.get_running_loop())
        await asyncio.wait_for(main(), 20)

    asyncio.run(bounded())


def received(sock: socket.socket) -> list[object]:
    """What has arrived so far, and how the stream ends."""
    sock.setblocking(False)
    data: list[object] = []
    try:
        while part := sock.recv(100):
            data.append(part)
    except OSError as error:
        data.append(error)
    return data


async def pair(factory: Callable[[], Any] = Quiet) -> tuple[Any, Any, socket.socket]:
    """A connection: its transport, its protocol, and the peer's socket."""
    ours, theirs = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return transport, protocol, theirs


def case_what_was_written_before_abort_arrives(log: Log) -> None:
    async def main() -> None:
        for reason in (None, OSError("by force")):
            transport, protocol, peer = await pair()
            transport.write(b"good ")
            transport.writelines([b"b", b"ye"])
            if reason:
                transport._force_close(reason)
            else:
                transport.abort()
            log("lost", await protocol.lost, received(peer))
            peer.close()

        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0) as peer_end:
            transport, protocol = await asyncio.get_running_loop().connect_write_pipe(
                Quiet, os.fdopen(writing, "wb", 0)
            )
            transport.write(b"good ")
            transport.write(b"bye")
            transport.abort()
            log("pipe lost", await protocol.lost, peer_end.read(100))

    run(log, main)


def case_what_was_written_before_a_callback_failed_arrives(log: Log) -> None:
    async def main() -> None:
        for factory in PROTOCOLS:
            _, protocol, peer = await pair(factory)
            peer.send(END)
            if factory is FailsAtTheEnd:
                peer.shutdown(socket.SHUT_WR)
            log(factory.__name__, await protocol.lost, received(peer)[:1])
            peer.close()

    run(log, main)


def case_what_was_written_before_tls_was_given_up_arrives(log: Log) -> None:
    async def main() -> None:
        for factory in (FailsWithData, FailsWithItsBuffer, LendsNoBuffer, GivesUp, Quiet):
            listener = listening()
            accepting = asyncio.ensure_future(accept(listener))
            connecting = asyncio.ensure_future(
                asyncio.get_running_loop().create_connection(
                    factory, *listener.getsockname(), ssl=client_context(), server_hostname="localhost"
                )
            )
            peer = Peer(await accepting)
            await peer.handshake()
            transport, protocol = await connecting
            if factory is Quiet:
                transport.write(b"good bye")
                transport.abort()
            else:
                await peer.send(END)
            error = await protocol.lost
            with contextlib.suppress(ConnectionResetError):
                log(factory.__name__, error, await peer.receive(100))
            peer.sock.close()

    run(log, main)


async def forgotten(ends: Callable[[Any, socket.socket], object]) -> int:
    """How many connections of some are still open when nobody refers to them any more."""

    class HalfOpen(asyncio.Protocol):
        def eof_received(self) -> bool:
            return True

    peers = []
    for _ in range(5):
        transport, _, peer = await pair(HalfOpen)
        ends(transport, peer)
        peers.append(peer)
        del transport
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    closed = 0
    for peer in peers:
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            closed += peer.recv(1) == b""
        peer.close()
    return len(peers) - closed


def case_the_loop_keeps_what_it_watches_and_nothing_else(log: Log) -> None:
    async def main() -> None:
        log("reading", await forgotten(lambda transport, peer: None))
        log("paused", await forgotten(lambda transport, peer: transport.pause_reading()))
        log(
            "resumed",
            await forgotten(lambda transport, peer: [transport.pause_reading(), transport.resume_reading()]),
        )
        log("half-open", await forgotten(lambda transport, peer: peer.shutdown(socket.SHUT_WR)))
        log(
            "writing",
            await forgotten(
                lambda transport, peer: [transport.write(b"x" * 5_000_000), transport.pause_reading()]
            ),
        )

    run(log, main)


def closing_calls() -> Iterator[tuple[str, Callable[[Any], object]]]:
    """What is done with a transport whose loop is closed."""
    yield "close", lambda transport: transport.close()
    yield "abort", lambda transport: transport.abort()
    yield "a small write", lambda transport: transport.write(b"x")
    yield "a large write", lambda transport: transport.write(b"x" * 5_000_000)
    yield "resume_reading", lambda transport: transport.resume_reading()
    yield "pause_reading", lambda transport: transport.pause_reading()
    yield "force", lambda transport: transport._force_close(OSError("by force"))


def case_transports_of_a_closed_loop(log: Log) -> None:
    for paused in (False, True):
        for name, call in closing_calls():
            loop = asyncio.new_event_loop()
            transport, _, peer = loop.run_until_complete(pair(asyncio.Protocol))
            if paused:
                transport.pause_reading()
            loop.close()
            log.attempt(f"{name}, paused: {paused}", call, transport)
            log("closing", transport.is_closing())
            peer.close()

    for name in ("close", "abort", "write_eof"):
        loop = asyncio.new_event_loop()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0):
            transport, _ = loop.run_until_complete(
                loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
            )
            loop.close()
            log.attempt(f"pipe: {name}", getattr(transport, name))


def case_any_number_is_a_limit(log: Log) -> None:
    async def main() -> None:
        transport, _, peer = await pair(asyncio.Protocol)
        for given in (
            {"high": 1e6},
            {"high": 10.5},
            {"low": 2.5},
            {"high": 2**70},
            {"high": float("inf"), "low": 0},
            {"high": 10, "low": 11.5},
            {"low": -0.5},
            {"high": True},
            {"high": "1"},
            {"medium": 1},
        ):
            log.attempt(f"{given}", transport.set_write_buffer_limits, **given)
            log("limits", transport.get_write_buffer_limits())
        log.attempt("twice", transport.set_write_buffer_limits, 10, high=5)
        log.attempt("too many", transport.set_write_buffer_limits, 10, 5, 1)
        transport.abort()
        peer.close()

    run(log, main)


def case_how_much_one_read_asks_for(log: Log) -> None:
    async def main() -> None:
        pieces: list[bytes] = []

        class Pieces(Quiet):
            def data_received(self, data: bytes) -> None:
                pieces.append(data)

        transport, protocol, peer = await pair(Pieces)
        log("usually", transport.max_size)
        transport.max_size = 3
        peer.send(b"12345678")
        peer.close()
        log("lost", await protocol.lost, pieces, transport.max_size)

    run(log, main)


def case_another_thread_may_not_close_in_debug_mode(log: Log) -> None:
    kept = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for name in ("close", "abort"):
            transport, _, peer = await pair(asyncio.Protocol)
            kept.append(transport)
            loop.set_debug(True)
            loop.slow_callback_duration = 100
            await loop.run_in_executor(None, log.attempt, name, getattr(transport, name))
            loop.set_debug(False)
            log("closing", transport.is_closing())
            peer.close()

    run(log, main)


def case_an_end_of_stream_is_told_again_to_who_left_the_loop(log: Log) -> None:
    loop = asyncio.new_event_loop()

    class Leaves(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = loop.create_future()
            self.is_first = True

        def eof_received(self) -> None:
            log("eof_received")
            if self.is_first:
                self.is_first = False
                raise KeyboardInterrupt

        def connection_lost(self, error: Exception | None) -> None:
            self.lost.set_result(error)

    _, protocol, peer = loop.run_until_complete(pair(Leaves))
    peer.close()
    log.attempt("first", loop.run_until_complete, protocol.lost)
    log.attempt("again", loop.run_until_complete, protocol.lost)
    loop.close()


def case_what_was_written_goes_before_what_is_done_with_the_socket(log: Log) -> None:
    async def main() -> None:
        transport, _, peer = await pair(asyncio.Protocol)
        transport.write(b"by the transport, ")
        os.write(transport.get_extra_info("socket").fileno(), b"by hand")
        log(received(peer))
        transport.write(b"the end")
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        log(received(peer))
        transport.abort()
        peer.close()

    run(log, main)
