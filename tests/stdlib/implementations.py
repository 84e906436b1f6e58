"""The implementations of asyncio that the suite can be run on.

`tulipa` is what is tested. The other two test the machinery: `stdlib` puts the stock classes in place of themselves and
must give no failure at all; so must `subclass`, which puts in subclasses of the stock classes, as foreign to the tests
as any other classes.
"""

from __future__ import annotations

import asyncio
import asyncio.futures
import asyncio.tasks
import asyncio.unix_events
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Implementation:
    """The three classes under test, the function that installs them in the asyncio package, and the rest of the toolbox
    by the names that asyncio has for it."""

    name: str
    loop: type[asyncio.AbstractEventLoop]
    future: type[Any]
    task: type[Any]
    install: Callable[[], None]
    toolbox: Callable[[], dict[str, Any]] = dict


PRIMITIVES = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")
QUEUES = ("Queue", "PriorityQueue", "LifoQueue")
STREAMS = ("StreamReader", "StreamReaderProtocol", "StreamWriter")


def _tulipa() -> Implementation:
    import tulipa
    from tulipa._native import NATIVE, native_names

    def toolbox() -> dict[str, Any]:
        return {name: value for module in NATIVE for name, value in native_names(module)}

    return Implementation("tulipa", tulipa.EventLoop, tulipa.Future, tulipa.Task, tulipa.install, toolbox)


def _stock_classes() -> tuple[type[asyncio.AbstractEventLoop], type[Any], type[Any]]:
    futures: Any = asyncio.futures
    tasks: Any = asyncio.tasks
    return asyncio.unix_events.SelectorEventLoop, futures._CFuture, tasks._CTask


def _stdlib() -> Implementation:
    return Implementation("stdlib", *_stock_classes(), install=lambda: None)


def _subclass() -> Implementation:
    stock_loop, stock_future, stock_task = _stock_classes()
    loop = type("_UnixSelectorEventLoop", (stock_loop,), {})
    future = type("Future", (stock_future,), {})
    task = type("Task", (stock_task, future), {})

    def install() -> None:
        aio: Any = asyncio
        aio.Future = aio.futures.Future = future
        aio.Task = aio.tasks.Task = task
        if hasattr(aio, "create_eager_task_factory"):
            aio.eager_task_factory = aio.tasks.eager_task_factory = aio.create_eager_task_factory(task)

    def toolbox() -> dict[str, Any]:
        return {name: type(name, (getattr(asyncio, name),), {}) for name in (*PRIMITIVES, *QUEUES, *STREAMS)}

    return Implementation("subclass", loop, future, task, install, toolbox)


IMPLEMENTATIONS: dict[str, Callable[[], Implementation]] = {
    "tulipa": _tulipa,
    "stdlib": _stdlib,
    "subclass": _subclass,
}


def load(name: str) -> Implementation:
    """The implementation called `name`; called before any test module is imported, in the child only."""
    return IMPLEMENTATIONS[name]()
