"""Random conversations by a StreamReader and a StreamWriter, and the interpreter that runs and records them.

A conversation is data: what the peer does to its socket, and which methods of reader and writer are called, those that
wait in tasks of their own. `trace` runs it with one make of streams on one loop. Both ends are in this process: all
there is to happen after a step has happened a few turns later.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

from .connections import Peer, facing, settle, tls_context
from .steps import Event, Make, Step, answer, cancel

ROUNDS = 6
"""How often the peer looks again after each step."""
UPGRADE = ssl.TLSVersion.TLSv1_3
"""What `start_tls()` starts."""


@dataclass(frozen=True)
class Talk:
    """Everything that two runs have in common."""

    steps: list[Step]
    limit: int
    server_side: bool
    tls: ssl.TLSVersion | None
    debug: bool = False


@dataclass
class Run:
    """One conversation on one make."""

    make: Make
    talk: Talk
    events: list[Event] = field(default_factory=list)
    reader: Any = None
    writer: Any = None
    peer: Any = None
    has_started_tls: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def log(self, *event: Any) -> None:
        """Record an event."""
        self.events.append(event)

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told."""
        # What a callback's arguments look like is the loop's own affair.
        message, _, _ = context["message"].partition("(")
        self.log("exception handler", message, plain(context.get("exception")))

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised."""
        kind, *arguments = step
        if kind == "peer":
            method, *arguments = arguments
            try:
                self.log(step, getattr(self.peer, method)(*arguments))
            except (OSError, ssl.SSLError) as error:
                self.log(step, plain(error))
        elif self.writer is not None or kind in ("cancel", "peer_tls"):
            self.log(step, answer(Steps, self, step, plain))

    def wait_for(self, waits: Any, *what: Any) -> None:
        """Wait in a task of its own, and record what came."""
        number = len(self.tasks)

        async def waiting() -> None:
            try:
                result = await waits
            except BaseException as error:
                self.log("ended", number, what, plain(error))
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                self.log("ended", number, what, plain(result))

        self.tasks.append(asyncio.ensure_future(waiting()))


class Steps:
    """What is done to the streams."""

    @staticmethod
    def write(run: Run, size: int) -> None:
        run.writer.write(b"t" * size)

    @staticmethod
    def writelines(run: Run, sizes: list[int]) -> None:
        # On a lost connection, asyncio's raises `AttributeError` on some versions.
        if not run.writer.is_closing():
            run.writer.writelines([b"t" * size for size in sizes])

    @staticmethod
    def read(run: Run, method: str, *arguments: Any) -> None:
        run.wait_for(getattr(run.reader, method)(*arguments), method, *arguments)

    @staticmethod
    def wait(run: Run, method: str) -> None:
        run.wait_for(getattr(run.writer, method)(), method)

    @staticmethod
    def start_tls(run: Run) -> None:
        """Once: the peer knows no TLS in TLS."""
        if run.has_started_tls or run.talk.tls:
            return
        run.has_started_tls = True
        context = tls_context(UPGRADE, run.talk.server_side)
        name = None if run.talk.server_side else "localhost"
        waits = run.writer.start_tls(context, server_hostname=name)
        run.wait_for(waits, "start_tls")

    @staticmethod
    def peer_tls(run: Run) -> None:
        """Only with one who is waiting for it: what a client says first is random."""
        if run.has_started_tls and type(run.peer) is Peer:
            run.peer, _ = facing(run.peer.sock, UPGRADE, run.talk.server_side)

    @staticmethod
    def call(run: Run, method: str) -> Any:
        if method == "write_eof" and run.has_started_tls:
            # There is no such thing in TLS, and below it, it is a mistake.
            return None
        return plain(getattr(run.writer, method)())

    @staticmethod
    def look(run: Run, method: str) -> Any:
        return plain(getattr(run.reader, method)())

    @staticmethod
    def limits(run: Run, high: int) -> Any:
        run.writer.transport.set_write_buffer_limits(high)

    @staticmethod
    def transport(run: Run, method: str) -> Any:
        transport = run.writer.transport
        if method == "is_reading" and run.has_started_tls:
            # asyncio's reader pauses the transport below.
            return None
        # On a lost connection, asyncio's raises `AttributeError` on some versions.
        return None if method == "abort" and transport.is_closing() else plain(getattr(transport, method)())

    @staticmethod
    def cancel(run: Run, index: int) -> bool | None:
        return cancel(run.tasks, index)


def plain(value: Any) -> Any:
    """What may be compared: of bytes how many, of an exception not the ssl module's line of source."""
    if isinstance(value, ssl.SSLError):
        return type(value).__name__, value.reason
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    if isinstance(value, bytes):
        return "bytes", len(value)
    return value if isinstance(value, int | str | None) else type(value).__name__


def trace(make: Make, talk: Talk) -> list[Event]:
    """Run a conversation, and return what happened."""
    run = Run(make, talk)
    with asyncio.Runner(loop_factory=make.loop, debug=talk.debug) as runner:
        runner.run(_main(run))
    return run.events


async def _main(run: Run) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: run.report(context))
    connecting = asyncio.ensure_future(_connect(run))
    await settle(run, ROUNDS)
    for step in run.talk.steps:
        run.log("step")
        run.perform(step)
        await settle(run, ROUNDS)
    run.log("the end")
    connecting.cancel()
    for task in run.tasks:
        task.cancel()
    await settle(run, ROUNDS)
    if run.writer is not None:
        run.perform(("transport", "abort"))
    await settle(run, ROUNDS)
    run.peer.close()
    await settle(run, ROUNDS)
    with contextlib.suppress(asyncio.CancelledError):
        await connecting
    run.log([task.done() for task in run.tasks])


async def _connect(run: Run) -> None:
    """Join the streams to the peer."""
    talk, names = run.talk, run.make.names
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    run.peer, context = facing(theirs, talk.tls, talk.server_side)
    try:
        if talk.server_side:
            await _serve(run, ours, context)
        else:
            name = context and "localhost"
            run.reader, run.writer = await names.open_connection(
                sock=ours, ssl=context, server_hostname=name, limit=talk.limit
            )
    except OSError as error:
        run.log("not connected", plain(error))
    else:
        run.log("connected")


async def _serve(run: Run, sock: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve one connection as `start_server` does."""
    loop, names = asyncio.get_running_loop(), run.make.names

    def connected(reader: Any, writer: Any) -> None:
        run.log("connected callback")
        run.reader, run.writer = reader, writer

    def protocol() -> Any:
        return names.StreamReaderProtocol(names.StreamReader(limit=run.talk.limit), connected)

    await loop.connect_accepted_socket(protocol, sock, ssl=context)
