"""Random exchanges of a datagram endpoint with a peer, and the interpreter that runs and records them.

An exchange is data: what the peer does with its socket, and which methods of the transport are called, between turns of
the loop or in a callback of the protocol. `trace` runs it on one loop. Both ends are in this process, so that all there
is to happen after a step has happened a few turns later. How many messages come in one turn is the loop's own affair:
what is compared is their order, and what else happened between the steps.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from .steps import Event, Step, answer, turns

HOST = "127.0.0.1"
TURNS = 40
"""Turns of the loop after each step: enough for all that follows from it, one message or error in each."""
WRONG_DATA = (None, "text", 3)
WRONG_ADDRESSES = (None, 3, ("127.0.0.1",), ("127.0.0.1", "http"), ("127.0.0.1", 70_000), "/nowhere/at/all")


@dataclass(frozen=True)
class Exchange:
    """Everything that two runs have in common."""

    steps: list[Step]
    reactions: dict[str, list[Step]]
    kind: str
    """`udp` or `unix`, whose queue of ten messages is soon full."""
    connected: bool
    debug: bool = False


@dataclass
class Run:
    """One exchange on one loop."""

    exchange: Exchange
    peer: socket.socket
    transport: Any = None
    own_address: Any = None
    peer_address: Any = None
    sending: int = 0
    answered_in_sending: bool = False
    """The protocol was told of an error, or to pause, by a call that sends."""
    has_queued: bool = False
    events: list[Event] = field(default_factory=list)

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised."""
        self.events.append((step, answer(Steps, self, step, self.plain)))

    def plain(self, error: BaseException | None) -> Any:
        """What may be compared of an exception: addresses differ from run to run."""
        address = str(self.peer_address)
        return error and (type(error).__name__, str(error).replace(address, "the peer"))

    @contextmanager
    def noting_answers(self) -> Iterator[None]:
        """Around a call that sends."""
        self.sending += 1
        try:
            yield
        finally:
            self.sending -= 1
            self.has_queued |= self.transport.get_write_buffer_size() > 0

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told, but for the name of the callback."""
        message = re.sub("(?<=Exception in callback ).*", "", context["message"])
        self.events.append(("exception handler", message, self.plain(context.get("exception"))))


class Recorder(asyncio.DatagramProtocol):
    """Records callbacks, and reacts to the first of each kind as the exchange says."""

    def __init__(self, run: Run) -> None:
        self.run, self.reactions = run, dict(run.exchange.reactions)

    def _told(self, callback: str, *arguments: Any) -> None:
        self.run.events.append((callback, *arguments))
        self.run.answered_in_sending |= bool(self.run.sending) and callback in (
            "error_received",
            "pause_writing",
        )
        for step in self.reactions.pop(callback, ()):
            if step == ("fail",):
                raise ValueError(callback)
            self.run.perform(step)

    def connection_made(self, transport: Any) -> None:
        self.run.transport = transport
        self._told("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._told("datagram_received", len(data), data[:1])

    def error_received(self, exc: Exception) -> None:
        self._told("error_received", self.run.plain(exc))

    def pause_writing(self) -> None:
        self._told("pause_writing")

    def resume_writing(self) -> None:
        self._told("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self._told("connection_lost", self.run.plain(exc))


class Steps:
    """What is done at either end."""

    @staticmethod
    def sendto(run: Run, size: int, count: int, named: bool) -> None:
        # Of a transport that is closed for good, asyncio's stumbles over the loop that it has let go of.
        if not run.transport.is_closing():
            address = run.peer_address if named or not run.exchange.connected else None
            with run.noting_answers():
                for _ in range(count):
                    run.transport.sendto(b"t" * size, address)

    @staticmethod
    def send_wrongly(run: Run, index: int) -> None:
        run.transport.sendto(WRONG_DATA[index % len(WRONG_DATA)], (HOST, 9))

    @staticmethod
    def send_elsewhere(run: Run, index: int) -> None:
        if not run.transport.is_closing():
            with run.noting_answers():
                run.transport.sendto(b"t", WRONG_ADDRESSES[index % len(WRONG_ADDRESSES)])

    @staticmethod
    def call(run: Run, method: str, *arguments: Any) -> Any:
        # The same holds for `abort()`; and the size of what was thrown away, asyncio's still counts.
        if run.transport.is_closing() and (method == "abort" or "write_buffer" in method):
            return None
        return getattr(run.transport, method)(*arguments)

    @staticmethod
    def send(run: Run, size: int, count: int) -> None:
        for number in range(count):
            run.peer.sendto(bytes([number]) * size, run.own_address)

    @staticmethod
    def receive(run: Run, count: int) -> list[int]:
        return [len(run.peer.recv(1 << 16)) for _ in range(count)]

    @staticmethod
    def close(run: Run) -> None:
        run.peer.close()


def trace(loop: Callable[[], asyncio.AbstractEventLoop], exchange: Exchange) -> Run:
    """Run an exchange, and return what happened."""
    with asyncio.Runner(loop_factory=loop, debug=exchange.debug) as runner:
        run: Run = runner.run(_main(exchange))
    return run


async def _main(exchange: Exchange) -> Run:
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        unix = exchange.kind == "unix"
        family = socket.AF_UNIX if unix else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.bind(f"{folder}/peer" if unix else (HOST, 0))
            run = Run(exchange, peer, peer_address=peer.getsockname())
            loop.set_exception_handler(lambda _, context: run.report(context))
            local = f"{folder}/own" if unix else (HOST, 0)
            remote = run.peer_address if exchange.connected else None
            await loop.create_datagram_endpoint(
                lambda: Recorder(run), local_addr=local, remote_addr=remote, family=family
            )
            run.own_address = run.transport.get_extra_info("sockname")
            for step in exchange.steps:
                await turns(TURNS)
                run.perform(step)
            await turns(TURNS)
            Steps.call(run, "abort")
            await turns(TURNS)
            # What comes while peer and loop are closed is not recorded.
            return replace(run, events=list(run.events))
