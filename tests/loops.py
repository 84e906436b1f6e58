"""Loops to run one test on both implementations: asyncio's, which says whether the test is right, and Tulipa's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import tulipa

LOOPS: list[Any] = [
    pytest.param(asyncio.SelectorEventLoop, id="asyncio"),
    pytest.param(tulipa.EventLoop, id="tulipa"),
]
BOUND = 20.0
"""Seconds after which a test's coroutine is cancelled."""


def run(
    new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """Run main() on a new loop, bounded; its result."""

    async def bounded() -> Any:
        return await asyncio.wait_for(main(), BOUND)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(bounded())


def complete(main: Coroutine[Any, Any, Any], loop: Any = tulipa.EventLoop, debug: bool = False) -> Any:
    """The result of a coroutine that waits for nothing outside, on a new loop."""
    with asyncio.Runner(loop_factory=loop, debug=debug) as runner:
        return runner.run(main)
