"""Puts an implementation's classes where CPython's tests look for them.

Called in the child, before the test module is imported: many tests bind `asyncio.X` when they are defined. Nothing is
ever undone, as the process runs one module and ends.
"""

from __future__ import annotations

import asyncio
import asyncio.futures
import asyncio.locks
import asyncio.queues
import asyncio.streams
import asyncio.subprocess
import asyncio.taskgroups
import asyncio.tasks
import asyncio.threads
import asyncio.timeouts
import asyncio.unix_events
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .implementations import Implementation


class LoopReplacement(type):
    """The class that stands for `asyncio.SelectorEventLoop` and `asyncio.EventLoop`.

    Calling it makes the loop under test and drops the arguments: the stock class takes a selector, which has no
    meaning elsewhere. Subclasses that a test defines are ordinary classes again.
    """

    base: type[asyncio.AbstractEventLoop]
    made = 0
    """How many loops were made through the replacement: the proof that the tests use it."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        LoopReplacement.made += 1
        if "base" not in vars(cls):
            return super().__call__(*args, **kwargs)
        return cls.base()

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, vars(cls).get("base", ())) or super().__instancecheck__(instance)


def replace_loop(implementation: Implementation) -> None:
    """Make every public way of getting a loop (new_event_loop, run, Runner, policies, classes) give the one tested."""
    unix_events: Any = asyncio.unix_events
    loop = implementation.loop
    replacement = LoopReplacement(loop.__name__, (loop,), {"base": loop})
    # On the default policy's class rather than by set_event_loop_policy, as every test module resets the policy.
    unix_events._UnixDefaultEventLoopPolicy._loop_factory = staticmethod(replacement)
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, replacement)
    _let_tests_close_any_loop()


def _let_tests_close_any_loop() -> None:
    """The suite's own clean-up reads a private attribute that a loop need not have."""
    from test.test_asyncio import utils

    stock = utils.TestCase.close_loop

    def close_loop(loop: Any) -> None:
        if hasattr(loop, "_default_executor"):
            stock(loop)
            return
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    utils.TestCase.close_loop = staticmethod(close_loop)


def adapt_module(module: ModuleType, implementation: Implementation) -> None:
    """Replace the one hook that cannot be reached through asyncio: test_runners builds its loop out of mocks."""
    if not module.__name__.endswith("test_runners"):
        return

    def new_loop(case: unittest.TestCase) -> Any:
        loop: Any = implementation.loop()
        LoopReplacement.made += 1
        loop.shutdown_ag_run = False
        stock = loop.shutdown_asyncgens

        async def shutdown_asyncgens() -> None:
            loop.shutdown_ag_run = True
            await stock()

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    tests: Any = module
    tests.BaseTest.new_loop = new_loop


OWNERS = (
    asyncio,
    asyncio.futures,
    asyncio.locks,
    asyncio.queues,
    asyncio.streams,
    asyncio.subprocess,
    asyncio.taskgroups,
    asyncio.tasks,
    asyncio.threads,
    asyncio.timeouts,
)
"""Where asyncio's names are looked up."""


def replace_toolbox(implementation: Implementation) -> None:
    """Swap the primitives and functions under test for asyncio's, also where asyncio's own modules look them up."""
    for name, value in implementation.toolbox().items():
        for module in OWNERS:
            if hasattr(module, name):
                setattr(module, name, value)


@contextmanager
def stock_loops(stock: type[asyncio.AbstractEventLoop]) -> Iterator[None]:
    """Give stock loops for a while, for tests of native tasks on a loop that is not native."""
    policy: Any = vars(asyncio.unix_events)["_UnixDefaultEventLoopPolicy"]
    replacement = vars(policy)["_loop_factory"]
    policy._loop_factory = staticmethod(stock)
    try:
        yield
    finally:
        policy._loop_factory = replacement
