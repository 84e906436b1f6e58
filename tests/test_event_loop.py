"""The loop as an object."""

import asyncio
import gc
import threading
import time
import weakref
from typing import Any
from unittest import mock

import pytest

import tulipa

from .loops import LOOPS, complete, run


@pytest.mark.parametrize(
    ("method", "keywords"),
    [
        ("__init__", {"wrong": 1}),
        ("add_signal_handler", {}),
        ("remove_signal_handler", {}),
        ("start_tls", {"wrong": 1}),
        ("getaddrinfo", {}),
        ("getnameinfo", {"wrong": 1}),
        ("close", {"wrong": 1}),
    ],
)
def test_mistaken_arguments_are_told_in_asyncios_words(method: str, keywords: dict[str, Any]) -> None:
    async def text() -> str:
        with pytest.raises(TypeError) as caught:
            getattr(asyncio.get_running_loop(), method)(**keywords)
        return str(caught.value)

    assert run(tulipa.EventLoop, text) == run(asyncio.SelectorEventLoop, text)


def test_what_the_stock_loop_keeps_in_its_instances_leaves_the_dict_alone() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        loop.set_exception_handler(None)
        assert vars(asyncio.AbstractEventLoop)["__dict__"].__get__(loop) == {}

    tulipa.run(main())


def test_a_loops_dict_shows_what_the_stock_loop_keeps_there() -> None:
    async def names() -> set[str]:
        return set(vars(asyncio.get_running_loop()))

    async def thread() -> bool:
        running: Any = asyncio.get_running_loop()
        return bool(running.__dict__.get("_thread_id") == threading.get_ident())

    assert run(tulipa.EventLoop, names) == run(asyncio.SelectorEventLoop, names) - {"_scheduled"}
    assert run(tulipa.EventLoop, thread)
    loop = tulipa.new_event_loop()
    shown = vars(loop)
    assert shown["_thread_id"] is None
    shown["colour"] = "red"
    shown["_exception_handler"] = print
    assert (loop.colour, loop.get_exception_handler()) == ("red", print)  # type: ignore[attr-defined]
    loop.__dict__ = {"colour": "blue"}
    assert loop.colour == "blue"  # type: ignore[attr-defined]
    loop.close()
    assert vars(loop)["_closed"] is True


def test_a_program_may_give_a_loop_attributes_and_replace_its_own() -> None:
    loop = tulipa.new_event_loop()
    try:
        loop.colour = "red"  # type: ignore[attr-defined]
        assert vars(loop)["colour"] == "red"
        with mock.patch.object(loop, "_signal_handlers", "replaced"):
            assert loop._signal_handlers == "replaced"
        assert loop._signal_handlers == {}
        called = []
        loop.call_soon = lambda *arguments, **keywords: called.append(arguments)  # type: ignore[method-assign]
        loop.call_soon(print, 1)
        assert called == [(print, 1)]
    finally:
        loop.close()


@pytest.mark.parametrize("loop_class", LOOPS)
def test_a_loop_that_nobody_closes_is_left_to_the_collector(loop_class: Any) -> None:
    loop = loop_class()
    loop.run_until_complete(asyncio.sleep(0))
    dropped = weakref.ref(loop)
    del loop
    assert dropped() is not None
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert dropped() is None


@pytest.mark.parametrize("loop_class", LOOPS)
def test_a_closed_loop_goes_with_the_last_reference(loop_class: Any) -> None:
    loop = loop_class()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    dropped = weakref.ref(loop)
    del loop
    assert dropped() is None


@pytest.mark.parametrize("loop_class", LOOPS)
def test_a_loop_goes_by_the_clock_that_a_program_puts_in_place_of_times(loop_class: Any) -> None:
    """As tests do that stop the clock and set it forward."""
    ahead = 0.0
    real = time.monotonic

    def clock() -> float:
        return real() + ahead

    async def main() -> None:
        nonlocal ahead
        loop = asyncio.get_running_loop()
        began, seen = real(), []
        with mock.patch("time.monotonic", clock):
            sleeping = asyncio.ensure_future(asyncio.sleep(1000))
            loop.call_later(1000, seen.append, "later")
            bounded = asyncio.ensure_future(asyncio.wait_for(loop.create_future(), 1000))
            await asyncio.sleep(0)
            ahead = 2000.0
            assert loop.time() - began >= 2000
            await sleeping
            with pytest.raises(TimeoutError):
                await bounded
            assert seen == ["later"]
        assert loop.time() - began < 1000
        before = asyncio.ensure_future(asyncio.sleep(1000))
        await asyncio.sleep(0)
        with mock.patch("time.monotonic", clock):
            await before

    complete(main(), loop_class)
