"""Random lives of futures, tasks and handles, and the interpreter that runs and records them.

A life is data: for each turn of the loop what is done in a callback of that turn. Steps nest: a task's script, a done
callback and a scheduled call are made of steps. `trace` runs a life on one loop with one make of classes, and
records each step with its answer, the turn, and the value of a context variable. Nothing depends on time: delays are a
nanosecond, which has passed by the next turn, or an hour, which nothing waits out.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import re
import types
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from .log import plain
from .steps import Make, Step

TURNS = 8
"""Turns of the loop after the last step, and after what is not done by then is cancelled."""
STARTS = 60
"""How often the loop may be stopped, or left by an exception, and be run again."""
FAILURES: dict[str, Callable[[], Any]] = {
    "error": lambda: ZeroDivisionError("by zero"),
    "class": lambda: LookupError,
    "interrupt": lambda: KeyboardInterrupt("pressed"),
    "exit": lambda: SystemExit(3),
    "cancelled": lambda: asyncio.CancelledError("as an exception"),
    "timeout": lambda: TimeoutError("late"),
    "stop iteration": lambda: StopIteration(5),
    "stop": lambda: asyncio.InvalidStateError("bad"),
    "not one": lambda: 5,
}
OWN_AFFAIRS = (
    # The numbers count through the whole process.
    (r"Task-\d+", "Task"),
    # asyncio's functions have lines of their own.
    (r" created at \S*?:\d+", ""),
    (r"(asyncio/tasks\.py):\d+", r"\1"),
    # The functions that wait for several.
    (r" cb=\[(_release_waiter\(.*?\) at [^\]]*|[^\[\]]|\[[^\]]*\])*\]", ""),
    # A sleeper's future, which has its result before the sleeper takes it.
    (r"<Future finished result=(\d|None|True)>", "<Future finished>"),
    (r"(Exception in callback ).*?(['\"], \{)", r"\1\2"),
)
variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@dataclass
class Run:
    """One life on one make."""

    make: Make
    life: list[list[Step]]
    loop: asyncio.AbstractEventLoop
    other: asyncio.AbstractEventLoop
    events: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    turn: int = 0
    ended: bool = False
    things: list[Any] = field(default_factory=list)
    """Futures and tasks; None while an eager task has not yet returned from its first step, and for a dropped one."""
    handles: list[asyncio.Handle] = field(default_factory=list)
    callbacks: list[Any] = field(default_factory=list)

    def log(self, *event: Any) -> None:
        """Record an event, with the turn it belongs to."""
        self.events.append(told(self.turn, variable.get(), *event))

    def report(self, context: dict[str, Any]) -> None:
        """Record what the exception handler is told; apart, what it is told when garbage goes."""
        event = (context["message"], context.get("exception"))
        if "never retrieved" in context["message"] or "destroyed" in context["message"]:
            self.late.append(told(*event))
        else:
            # In which context is known only for what has one: a function that waits for several has none here.
            self.events.append(told(self.turn, "exception handler", *event))

    def thing(self, index: int, below: int | None = None) -> Any:
        """One of the futures and tasks; of the first so many."""
        count = len(self.things) if below is None else below
        return self.things[index % count] if count else None

    def perform(self, step: Step) -> None:
        """Do one step, and record what it returned or raised, unless it is there to raise."""
        kind, *arguments = step
        try:
            result = getattr(Steps, kind)(self, *arguments)
        except Exception as error:
            if kind == "fail":
                raise
            result = error
        self.log(step, result)


def told(*event: Any) -> str:
    """An event as text, without what is one process's, or one implementation's own affair."""
    text = repr(plain(event))
    for pattern, replacement in OWN_AFFAIRS:
        text = re.sub(pattern, replacement, text)
    return text


class Steps:
    """What can be done."""

    @staticmethod
    def future(run: Run, make: str) -> None:
        names: dict[str, Callable[[], Any]] = {
            "loop": run.loop.create_future,
            "class": lambda: run.make.names.Future(loop=run.loop),
            "stock": lambda: asyncio.Future(loop=run.loop),
            "python": lambda: asyncio.futures._PyFuture(loop=run.loop),  # type: ignore[attr-defined]
            "other": lambda: run.other.create_future(),
        }
        run.things.append(names[make]())

    @staticmethod
    def task(run: Run, make: str, script: list[Step], old: bool, eager: bool) -> None:
        number = len(run.things)
        run.things.append(None)
        coroutine: Any = script_of(run, number, script)
        if old:
            coroutine = generator(coroutine)
        more = {"eager_start": True} if eager else {}
        name = f"task {number}"
        names: dict[str, Callable[[], Any]] = {
            "loop": lambda: run.loop.create_task(coroutine, name=name),
            "class": lambda: run.make.names.Task(coroutine, loop=run.loop, name=name, **more),
            "stock": lambda: asyncio.Task(coroutine, loop=run.loop, name=name, **more),
            "python": lambda: asyncio.tasks._PyTask(coroutine, loop=run.loop, name=name, **more),  # type: ignore[attr-defined]
            "ensure": lambda: run.make.names.ensure_future(coroutine, loop=run.loop),
        }
        run.things[number] = names[make]()

    @staticmethod
    def factory(run: Run, kind: str) -> None:
        factories: dict[str, Callable[[], Any]] = {
            "none": lambda: None,
            "eager": lambda: run.make.names.eager_task_factory,
            "python": lambda: lambda loop, coro, **more: asyncio.tasks._PyTask(coro, loop=loop, **more),  # type: ignore[attr-defined]
        }
        run.loop.set_task_factory(factories[kind]())

    @staticmethod
    def act(run: Run, index: int, method: str, *arguments: Any) -> Any:
        thing = run.thing(index)
        if hasattr(thing, method):
            return getattr(thing, method)(*arguments)
        return None

    @staticmethod
    def set_failure(run: Run, index: int, failure: str) -> Any:
        thing = run.thing(index)
        return None if thing is None else thing.set_exception(FAILURES[failure]())

    @staticmethod
    def look(run: Run, index: int) -> Any:
        thing = run.thing(index)
        if thing is None:
            return None
        names = ("_state", "_log_traceback", "_must_cancel", "_cancel_message", "_asyncio_future_blocking")
        return [repr(thing), *[plain(getattr(thing, name, None)) for name in names]]

    @staticmethod
    def drop(run: Run, index: int) -> None:
        if run.things:
            run.things[index % len(run.things)] = None

    @staticmethod
    def callback(run: Run, index: int, step: Step, own_context: bool) -> None:
        label = len(run.callbacks)

        def called(future: Any) -> None:
            run.log("callback", label, future.done(), future is run.thing(index))
            run.perform(step)

        thing = run.thing(index)
        if thing is not None:
            run.callbacks.append(called)
            thing.add_done_callback(called, **({"context": contextvars.Context()} if own_context else {}))

    @staticmethod
    def remove(run: Run, index: int, callback: int) -> Any:
        thing = run.thing(index)
        if thing is None or not run.callbacks:
            return None
        return thing.remove_done_callback(run.callbacks[callback % len(run.callbacks)])

    @staticmethod
    def call(run: Run, how: str, step: Step) -> None:
        ways: dict[str, Callable[[], asyncio.Handle]] = {
            "soon": lambda: run.loop.call_soon(run.perform, step),
            "threadsafe": lambda: run.loop.call_soon_threadsafe(run.perform, step),
            "next": lambda: run.loop.call_later(1e-9, run.perform, step),
            "never": lambda: run.loop.call_later(3600, run.perform, step),
            # Not two at one time: asyncio's heap then has an order of its own.
            "past": lambda: run.loop.call_at(len(run.handles), run.perform, step),
            "own context": lambda: run.loop.call_soon(run.perform, step, context=contextvars.Context()),
        }
        run.handles.append(ways[how]())

    @staticmethod
    def handle(run: Run, index: int, method: str) -> Any:
        return getattr(run.handles[index % len(run.handles)], method)() if run.handles else None

    @staticmethod
    def combine(run: Run, how: str, indices: list[int], keep: bool) -> None:
        names = run.make.names
        things = [thing for index in indices if (thing := run.thing(index)) is not None]
        if not things:
            return
        ways: dict[str, Callable[[], Any]] = {
            "gather": lambda: names.gather(*things, return_exceptions=keep),
            "shield": lambda: names.shield(things[0]),
            "ensure": lambda: names.ensure_future(things[0], loop=run.loop),
            "wait": lambda: run.loop.create_task(
                _any_of(run, things, "FIRST_COMPLETED" if keep else "FIRST_EXCEPTION")
            ),
            "wait_for": lambda: run.loop.create_task(names.wait_for(things[0], 1e-9 if keep else 3600)),
        }
        run.things.append(ways[how]())

    @staticmethod
    def set(run: Run, value: int) -> None:
        variable.set(value)

    @staticmethod
    def stop(run: Run) -> None:
        run.loop.stop()

    @staticmethod
    def fail(run: Run, failure: str) -> None:
        raise FAILURES[failure]()

    @staticmethod
    def tasks(run: Run) -> Any:
        current = asyncio.current_task(run.loop)
        return (
            sorted(task.get_name() for task in asyncio.all_tasks(run.loop)),
            current and current.get_name(),
        )


async def script_of(run: Run, number: int, script: list[Step]) -> Any:
    """A task's coroutine. It awaits only what was there before it, so that no two wait for each other."""
    for step in script:
        kind, *arguments = step
        try:
            if kind in SCRIPT:
                run.log(number, step, await SCRIPT[kind](run, number, *arguments))
            else:
                run.perform(step)
        except asyncio.CancelledError as error:
            run.log(number, step, error)
            if not arguments or arguments[-1] != "go on":
                raise
        except Exception as error:
            run.log(number, step, error)
            if kind == "fail":
                raise
    return number


async def _await(run: Run, number: int, index: int, *_: Any) -> Any:
    thing = run.thing(index, number)
    return None if thing is None else await thing


async def _any_of(run: Run, things: list[Any], return_when: str) -> list[bool]:
    done, pending = await run.make.names.wait(things, return_when=return_when)
    return [thing in done for thing in things] + [thing in pending for thing in things]


async def _raw(run: Run, number: int, what: str, index: int, *_: Any) -> Any:
    """Yields what a coroutine may not."""
    values = {
        "none": None,
        "number": 5,
        "bare future": run.thing(index, number),
        "generator": (nothing for nothing in ()),
        "self": run.thing(number),
    }
    return await Yields(values[what])


async def _sleep(run: Run, number: int, delay: float, *_: Any) -> Any:
    return await run.make.names.sleep(delay, number)


async def _timeout(run: Run, number: int, delay: float, index: int, *_: Any) -> Any:
    async with run.make.names.timeout(delay):
        return await _await(run, number, index)


async def _each(run: Run, number: int, indices: list[int], timeout: float | None, *_: Any) -> Any:
    """Of one at most: asyncio looks at several in the order of a set, which is one of addresses."""
    things = [thing for index in indices if (thing := run.thing(index, number)) is not None]
    return [await future for future in run.make.names.as_completed(things, timeout=timeout)]


async def _group(run: Run, number: int, indices: list[int], index: int, *_: Any) -> Any:
    """With one member at most, for the same reason: they are cancelled in that order."""
    async with run.make.names.TaskGroup() as group:
        for each in indices:
            group.create_task(_await(run, number, each), name=f"member of {number}")
        return await _await(run, number, index)


SCRIPT: dict[str, Callable[..., Any]] = {
    "await": _await,
    "each": _each,
    "group": _group,
    "raw": _raw,
    "sleep": _sleep,
    "timeout": _timeout,
}


class Yields:
    """An awaitable that yields a value to the task."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.value)


@types.coroutine
def generator(coroutine: Any) -> Generator[Any, Any, Any]:
    """The same work as a generator-based coroutine."""
    return (yield from coroutine)


@contextlib.contextmanager
def young() -> Generator[None]:
    """Lets the collector look at nothing that was there before: that takes longer than the rest of a run."""
    gc.freeze()
    yield
    gc.unfreeze()


def trace(make: Make, life: list[list[Step]]) -> list[str]:
    """Run a life, and return what happened, and then what was told of garbage, which comes in no order."""
    with young(), contextlib.closing(make.loop()) as loop, contextlib.closing(make.loop()) as other:
        loop.set_debug(make.debug)
        run = Run(make, life, loop, other)
        for each in (loop, other):
            each.set_exception_handler(lambda _, context: run.report(context))
        loop.call_soon(_turn, run)
        for _ in range(STARTS):
            try:
                loop.run_forever()
            except BaseException as error:
                run.log("run_forever", error)
            if run.ended:
                break
        run.things, run.handles, run.callbacks = [], [], []
        gc.collect()
    return [*run.events, *sorted(run.late)]


def _turn(run: Run) -> None:
    """What happens in a turn, the next one's after it, whatever happens."""
    run.turn += 1
    after = run.turn - len(run.life)
    if after == TURNS:
        for thing in run.things:
            if thing is not None:
                run.log("cancel", thing.cancel("the end"))
    if after == 2 * TURNS:
        run.log([thing is None or thing.done() for thing in run.things])
        run.ended = True
        run.loop.stop()
        return
    run.loop.call_soon(_turn, run)
    for step in run.life[run.turn - 1] if after <= 0 else ():
        run.perform(step)
