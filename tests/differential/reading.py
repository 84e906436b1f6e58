"""Random uses of a StreamReader, and the interpreter that runs and records them.

A use is data: what is fed to the reader, and which of its coroutine methods are begun and cancelled, a few turns of the
loop apart. `trace` runs it on one make of reader, and records each answer with the turn in which it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .steps import Event, Step, answer, cancel, turns

TURNS = 5
"""Turns of the loop after the last step, and after what still reads then is cancelled."""


@dataclass(frozen=True)
class Use:
    """Everything that two runs have in common."""

    steps: list[Step]
    limit: int
    transport: bool | None
    """Whether there is one, and reading can be paused."""


@dataclass
class Make:
    """The classes that are compared: of the loop, and of the reader."""

    loop: Callable[[], asyncio.AbstractEventLoop]
    reader: Any
    debug: bool = False


class Transport(asyncio.ReadTransport):
    """Records what the reader asks of it."""

    def __init__(self, run: Run, can_pause: bool) -> None:
        super().__init__()
        self.run, self.can_pause = run, can_pause

    def pause_reading(self) -> None:
        self.run.log("pause")
        if not self.can_pause:
            raise NotImplementedError

    def resume_reading(self) -> None:
        self.run.log("resume")

    def __repr__(self) -> str:
        return "<transport>"


@dataclass
class Run:
    """One use of one reader."""

    reader: Any
    events: list[Event] = field(default_factory=list)
    turn: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def log(self, *event: Any) -> None:
        """Record an event, with the turn it belongs to."""
        self.events.append((self.turn, *event))

    async def turns(self, count: int) -> None:
        """Let the loop turn."""
        for _ in range(count):
            await turns(1)
            self.turn += 1

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised."""
        self.log(step, answer(Steps, self, step, plain))


class Steps:
    """What can be done to a reader."""

    @staticmethod
    def feed(run: Run, data: bytes) -> None:
        run.reader.feed_data(data)

    @staticmethod
    def call(run: Run, method: str) -> Any:
        return plain(getattr(run.reader, method)())

    @staticmethod
    def fail(run: Run) -> None:
        run.reader.set_exception(OSError("lost"))

    @staticmethod
    def show(run: Run) -> str:
        # Where the future is, that the reader waits for, is the process's own affair.
        text, waiter, _ = repr(run.reader).partition(" waiter=")
        return text + waiter

    @staticmethod
    def read(run: Run, method: str, *arguments: Any) -> None:
        run.tasks.append(asyncio.create_task(_read(run, len(run.tasks), method, *arguments)))

    @staticmethod
    def cancel(run: Run, index: int) -> bool | None:
        return cancel(run.tasks, index)


async def _read(run: Run, number: int, method: str, *arguments: Any) -> None:
    try:
        result = await getattr(run.reader, method)(*arguments)
    except BaseException as error:
        run.log("read", number, plain(error))
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        run.log("read", number, result)


def plain(value: Any) -> Any:
    """What may be compared of a result."""
    if isinstance(value, BaseException):
        return type(value).__name__, str(value), plain(value.__cause__), sorted(vars(value))
    return value


def trace(make: Make, use: Use) -> list[Event]:
    """Run a use, and return what happened."""
    with asyncio.Runner(loop_factory=make.loop, debug=make.debug) as runner:
        events: list[Event] = runner.run(_main(make, use))
    return events


async def _main(make: Make, use: Use) -> list[Event]:
    run = Run(make.reader(use.limit))
    if use.transport is not None:
        run.reader.set_transport(Transport(run, use.transport))
    for step in use.steps:
        if step[0] == "turns":
            await run.turns(step[1])
        else:
            run.perform(step)
    await run.turns(TURNS)
    for task in run.tasks:
        task.cancel("the end")
    await run.turns(TURNS)
    run.log([task.done() for task in run.tasks])
    run.perform(("show",))
    return run.events
