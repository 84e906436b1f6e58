"""Random conversations of a transport with a peer, and the interpreter that runs and records them.

A conversation is data: what the peer does to its socket, and which methods of the transport are called, between turns
of the loop or in a callback of the protocol. `trace` runs it on one loop. Both ends are in this process, joined by Unix
sockets or over TCP, so that all there is to happen after a step has happened a few turns later, whatever the time.
How received bytes are cut into pieces is the loop's own affair; what is recorded is how many came between two events.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..tls import client_context, server_context
from .steps import Event, Step, turns

TURNS, ROUNDS = 4, 4
"""Turns of the loop until the peer looks again, and how often it does, after each step."""

WRONG_DATA = (None, "text", 3)


@dataclass(frozen=True)
class Conversation:
    """Everything that two runs have in common."""

    steps: list[Step]
    reactions: dict[str, Step]
    keep_open: bool | None
    buffered: bool
    server_side: bool
    tls: ssl.TLSVersion | None
    handshake: int = ROUNDS
    debug: bool = False
    tcp: bool = False
    lent: int = 1 << 20
    """Bytes of a buffered protocol's memory."""


class Peer:
    """The other end, which does what it is told and never waits."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    def exchange(self) -> None:
        """Move what the layer above the socket has to move."""

    def send(self, size: int) -> Any:
        """Send bytes, as many as find room."""
        return self.sock.send(b"p" * size)

    def urge(self) -> int | None:
        """Send a byte that is urgent, where there is such a thing."""
        return self.sock.send(b"!", socket.MSG_OOB) if self.sock.family == socket.AF_INET else None

    def receive(self, size: int) -> int:
        """Receive bytes until there are enough, or no more; return how many."""
        count = 0
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while count < size and (data := self._receive(size - count)):
                count += len(data)
        return count

    def _receive(self, size: int) -> bytes:
        return self.sock.recv(size)

    def say_goodbye(self) -> None:
        """End the layer above the socket."""

    def garble(self, size: int) -> int:
        """Send what is no TLS."""
        return self.sock.send(b"\x16\x03garbage"[:size])

    def end(self) -> None:
        """Send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket, which resets the connection if something was not read."""
        self.sock.close()


class TlsPeer(Peer):
    """The same over TLS."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_side: bool) -> None:
        super().__init__(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side, name)
        self.unsent = b""

    def exchange(self) -> None:
        with contextlib.suppress(OSError):
            self._send()
            while data := self.sock.recv(1 << 20):
                self.incoming.write(data)
            self.incoming.write_eof()
        with contextlib.suppress(OSError):
            if self.session.version() is None or self.unsent:
                self.session.do_handshake()
        with contextlib.suppress(OSError):
            self._send()

    def _send(self) -> None:
        self.unsent += self.outgoing.read()
        while self.unsent:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def send(self, size: int) -> Any:
        return self.session.write(b"p" * size) if size else 0

    def _receive(self, size: int) -> bytes:
        return self.session.read(size)

    def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()


@dataclass
class Run:
    """One conversation on one loop."""

    conversation: Conversation
    events: list[Event] = field(default_factory=list)
    transport: Any = None
    peer: Any = None
    came: int = 0

    def log(self, *event: Any) -> None:
        """Record an event, behind what was received before it."""
        if self.came:
            self.events.append(("received", self.came))
            self.came = 0
        self.events.append(event)

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told."""
        self.log("exception handler", context["message"], plain(context.get("exception")))

    def protocol(self) -> asyncio.BaseProtocol:
        """Make the protocol of the kind that the conversation asks for."""
        return (BufferedRecorder if self.conversation.buffered else Recorder)(self)

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised."""
        kind, *arguments = step
        owner = self.peer if hasattr(Peer, kind) else Calls
        arguments = arguments if owner is self.peer else [self, *arguments]
        if owner is Calls and self.transport is None:
            return
        try:
            result = getattr(owner, kind)(*arguments)
        except (Exception, ssl.SSLError) as error:
            self.log(step, plain(error))
        else:
            self.log(step, result)


class Calls:
    """What is done to the transport."""

    @staticmethod
    def write(run: Run, size: int) -> None:
        run.transport.write(b"t" * size)

    @staticmethod
    def write_wrongly(run: Run, index: int) -> None:
        run.transport.write(WRONG_DATA[index % len(WRONG_DATA)])

    @staticmethod
    def writelines(run: Run, sizes: list[int]) -> None:
        # On a lost connection, asyncio's raises `AttributeError` on some versions.
        if not run.transport.is_closing():
            run.transport.writelines([b"t" * size for size in sizes])

    @staticmethod
    def set_limits(run: Run, high: int | None, low: int | None) -> None:
        run.transport.set_write_buffer_limits(high, low)

    @staticmethod
    def set_protocol(run: Run, buffered: bool) -> None:
        run.transport.set_protocol((BufferedRecorder if buffered else Recorder)(run))

    @staticmethod
    def call(run: Run, method: str) -> Any:
        # The same holds for `abort()`.
        return None if method == "abort" and run.transport.is_closing() else getattr(run.transport, method)()


class Recorder(asyncio.Protocol):
    """Records callbacks, and reacts to the first of each kind as the conversation says."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def _told(self, callback: str, *arguments: Any) -> None:
        self.run.log(callback, *arguments)
        if step := self.run.conversation.reactions.get(callback):
            self.run.perform(step)

    def connection_made(self, transport: Any) -> None:
        self.run.transport = transport
        self._told("connection_made")

    def data_received(self, data: bytes) -> None:
        self._received(len(data))

    def _received(self, size: int) -> None:
        is_first = not self.run.came
        self.run.came += size
        step = self.run.conversation.reactions.get("received")
        if is_first and step:
            self.run.perform(step)

    def eof_received(self) -> bool | None:
        self._told("eof_received")
        return self.run.conversation.keep_open

    def pause_writing(self) -> None:
        self._told("pause_writing")

    def resume_writing(self) -> None:
        self._told("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        self._told("connection_lost", plain(error))


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):  # type: ignore[misc]
    """The same, which lends its own memory."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.memory = bytearray(run.conversation.lent)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self._received(nbytes)


def plain(error: Any) -> Any:
    """What may be compared of an exception: the text of the ssl module's names a line of its source."""
    if error is None:
        return None
    return type(error).__name__, error.reason if isinstance(error, ssl.SSLError) else str(error)


def trace(loop: Callable[[], asyncio.AbstractEventLoop], conversation: Conversation) -> list[Event]:
    """Run a conversation, and return what happened."""
    run = Run(conversation)
    with asyncio.Runner(loop_factory=loop, debug=conversation.debug) as runner:
        runner.run(_main(run))
    return run.events


async def _main(run: Run) -> None:
    conversation = run.conversation
    asyncio.get_running_loop().set_exception_handler(lambda _, context: run.report(context))
    connecting = asyncio.ensure_future(_connect(run))
    await settle(run, conversation.handshake)
    for step in conversation.steps:
        run.log("step")
        run.perform(step)
        await settle(run, ROUNDS)
        if run.transport is not None and not run.transport.is_closing():
            run.log("state", run.transport.get_write_buffer_size() > 0)
    connecting.cancel()
    if run.transport is not None:
        Calls.call(run, "abort")
    await settle(run, ROUNDS)
    run.peer.close()
    await settle(run, ROUNDS)
    run.log("end")


async def settle(run: Any, rounds: int) -> None:
    """Let happen what is to happen, with the run's peer looking again so often."""
    for _ in range(rounds):
        await turns(TURNS)
        run.peer.exchange()


def _connect(run: Run) -> Any:
    """Join the transport to its peer; returns the coroutine that waits for the handshake."""
    loop, conversation = asyncio.get_running_loop(), run.conversation
    ours, theirs = _tcp_pair() if conversation.tcp else socket.socketpair()
    ours.setblocking(False)
    run.peer, context = facing(theirs, conversation.tls, conversation.server_side)
    return _joined(run, loop, ours, context)


def facing(
    sock: socket.socket, version: ssl.TLSVersion | None, server_side: bool
) -> tuple[Peer, ssl.SSLContext | None]:
    """The peer of a side that is the server or not, and that side's context."""
    if version is None:
        return Peer(sock), None
    peer = TlsPeer(sock, tls_context(version, not server_side), not server_side)
    return peer, tls_context(version, server_side)


def tls_context(version: ssl.TLSVersion, server_side: bool) -> ssl.SSLContext:
    """A context for one version."""
    context = server_context() if server_side else client_context()
    context.minimum_version = context.maximum_version = version
    return context


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return ours, theirs


async def _joined(run: Run, loop: Any, sock: socket.socket, context: ssl.SSLContext | None) -> None:
    try:
        if run.conversation.server_side:
            await loop.connect_accepted_socket(run.protocol, sock, ssl=context)
        else:
            name = context and "localhost"
            await loop.create_connection(run.protocol, sock=sock, ssl=context, server_hostname=name)
    except (asyncio.CancelledError, OSError) as error:
        run.log("not connected", plain(error))
    else:
        run.log("connected")
