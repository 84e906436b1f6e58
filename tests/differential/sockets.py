"""Random operations of a loop on sockets of the program's own, and the interpreter that runs and records them.

A use is data: which `sock_*` operations are begun and cancelled at one end of a pair of sockets, and what the other end
does meanwhile. `trace` runs it on one loop, and records each answer after the step that it followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .steps import Event, Step, answer, cancel, turns

TURNS = 6
"""Turns of the loop after each step: enough for all that follows from it."""


@dataclass(frozen=True)
class Use:
    """Everything that two runs have in common."""

    steps: list[Step]
    datagrams: bool
    debug: bool = False


@dataclass
class Run:
    """One use on one loop."""

    ours: socket.socket
    theirs: socket.socket
    events: list[Event] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised."""
        self.events.append((step, answer(Steps, self, step, plain)))

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told."""
        self.events.append(("exception handler", context["message"], plain(context.get("exception"))))


class Steps:
    """What can be done at either end."""

    @staticmethod
    def begin(run: Run, operation: str, size: int) -> None:
        run.tasks.append(asyncio.create_task(_operation(run, len(run.tasks), operation, size)))

    @staticmethod
    def cancel(run: Run, index: int) -> bool | None:
        return cancel(run.tasks, index)

    @staticmethod
    def watch(run: Run, method: str) -> Any:
        loop = asyncio.get_running_loop()
        arguments = [run.events.append, ("ready", method)] if method.startswith("add") else []
        return getattr(loop, method)(run.ours, *arguments)

    @staticmethod
    def set_blocking(run: Run, blocking: bool) -> None:
        # Only debug mode looks, and otherwise the loop would wait for ever.
        run.ours.setblocking(blocking and asyncio.get_running_loop().get_debug())

    @staticmethod
    def send(run: Run, size: int) -> int:
        return run.theirs.send(b"p" * size)

    @staticmethod
    def receive(run: Run, size: int) -> int:
        return len(run.theirs.recv(size))

    @staticmethod
    def end(run: Run) -> None:
        run.theirs.shutdown(socket.SHUT_WR)

    @staticmethod
    def close(run: Run) -> None:
        run.theirs.close()


async def _operation(run: Run, number: int, operation: str, size: int) -> None:
    loop, sock = asyncio.get_running_loop(), run.ours
    buffer = bytearray(size)
    begin: Callable[[], Any] = {
        "recv": lambda: loop.sock_recv(sock, size),
        "recv_into": lambda: loop.sock_recv_into(sock, buffer),
        "recvfrom": lambda: loop.sock_recvfrom(sock, size),
        "recvfrom_into": lambda: loop.sock_recvfrom_into(sock, buffer),
        "sendall": lambda: loop.sock_sendall(sock, b"t" * size),
        "sendto": lambda: loop.sock_sendto(sock, b"t" * size, None),
        "accept": lambda: loop.sock_accept(sock),
        "connect": lambda: loop.sock_connect(sock, "nowhere"),
    }[operation]
    try:
        result = await begin()
    except BaseException as error:
        run.events.append((number, operation, plain(error)))
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        run.events.append((number, operation, len(result) if isinstance(result, bytes) else result))


def plain(error: BaseException | None) -> Any:
    """What may be compared of an exception."""
    return error and (type(error).__name__, str(error))


def trace(loop: Callable[[], asyncio.AbstractEventLoop], use: Use) -> list[Event]:
    """Run a use, and return what happened."""
    with asyncio.Runner(loop_factory=loop, debug=use.debug) as runner:
        events: list[Event] = runner.run(_main(use))
    return events


async def _main(use: Use) -> list[Event]:
    kind = socket.SOCK_DGRAM if use.datagrams else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        run = Run(ours, theirs)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: run.report(context))
        for step in use.steps:
            run.perform(step)
            await turns(TURNS)
        for task in run.tasks:
            task.cancel("the end")
        await turns(TURNS)
        for method in ("remove_reader", "remove_writer"):
            run.perform(("watch", method))
        run.events.append(("done", [task.done() for task in run.tasks]))
    return run.events
