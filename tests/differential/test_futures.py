"""Native futures, tasks and handles do what asyncio's do, turn by turn."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .futures import FAILURES, Make, Step, trace
from .search import of, search

# The calibration compares asyncio with itself.
NAMES: Any = tulipa if IMPLEMENTATION == "tulipa" else asyncio
STOCK_LOOP, LOOP = asyncio.SelectorEventLoop, tulipa.EventLoop

index = st.integers(0, 9)
value = st.integers(1, 9)
make = st.sampled_from(["loop", "loop", "class", "stock", "python"])
eager = st.booleans() if sys.version_info >= (3, 12) else st.just(False)
message = st.sampled_from([(), ("enough",), (None,)])
manner = st.sampled_from(["go on", "stop"])


flat = [
    of("future", st.sampled_from(["loop", "class", "stock", "python", "other"])),
    of("act", index, "set_result", value),
    of("act", index, "set_result", value),
    of("set_failure", index, st.sampled_from(sorted(FAILURES))),
    st.builds(lambda index, message: ("act", index, "cancel", *message), index, message),
    st.builds(lambda index, message: ("act", index, "cancel", *message), index, message),
    of(
        "act",
        index,
        st.sampled_from(["result", "exception", "done", "cancelled", "cancelling", "uncancel", "get_name"]),
    ),
    of("act", index, "set_name", st.sampled_from(["a", "b", 5])),
    of("look", index),
    of("drop", index),
    of("remove", index, index),
    of("handle", index, st.sampled_from(["cancel", "cancelled", "__repr__"])),
    of(
        "combine",
        st.sampled_from(["gather", "shield", "ensure", "wait", "wait_for"]),
        st.lists(index, min_size=1, max_size=3),
        st.booleans(),
    ),
    of("set", value),
    of("stop"),
    of("tasks"),
    of("fail", st.sampled_from(["error", "interrupt", "exit", "cancelled", "stop"])),
    of("factory", st.sampled_from(["none", "python"] + (["eager"] if sys.version_info >= (3, 12) else []))),
]
awaiting = [
    of("await", index, manner),
    of("await", index, manner),
    of("raw", st.sampled_from(["none", "number", "bare future", "generator", "self"]), index, manner),
    of("sleep", st.sampled_from([0, 1e-9, 3600]), manner),
    of("timeout", st.sampled_from([0, 1e-9, 3600]), index, manner),
    of("each", st.lists(index, max_size=1), st.sampled_from([None, 0, 1e-9, 3600]), manner),
    of("group", st.lists(index, max_size=1), index, manner),
]


def nest(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    """Steps that contain others."""
    script = st.lists(st.one_of(*awaiting, steps), max_size=5)
    return st.one_of(
        of(
            "task",
            st.sampled_from(["loop", "class", "stock", "python", "ensure"]),
            script,
            st.booleans(),
            eager,
        ),
        of("task", "loop", script, st.booleans(), False),
        of("callback", index, steps, st.booleans()),
        of("call", st.sampled_from(["soon", "threadsafe", "next", "never", "past", "own context"]), steps),
    )


step = st.recursive(st.one_of(flat), nest, max_leaves=6)
first = nest(st.one_of(flat))
lives = st.lists(st.lists(st.one_of(first, first, step), max_size=5), min_size=1, max_size=5)


def task(*script: Step) -> Step:
    """The step that makes a task of the loop's own."""
    return "task", "loop", list(script), False, False


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Make(LOOP, NAMES), id="native"),
        pytest.param(Make(LOOP, asyncio), id="stock functions on the native loop"),
        pytest.param(Make(STOCK_LOOP, NAMES), id="native classes on the stock loop"),
        pytest.param(Make(LOOP, NAMES, debug=True), id="native, debug mode"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@given(life=lives)
@search("TULIPA_LIVES", 200)
@example(life=[[task(("sleep", 3600, "stop")), task(("await", 0, "go on"), ("await", 0, "go on"))]])
@example(life=[[task(("sleep", 3600, "go on"), ("combine", "wait", [0], False), ("fail", "error"))]])
@example(
    life=[
        [
            ("callback", 0, ("future", "loop"), False),
            task(
                ("combine", "gather", [0], False), ("combine", "gather", [1], False), ("sleep", 3600, "go on")
            ),
            ("callback", 0, ("act", 2, "set_result", 1), False),
        ]
    ]
)
@example(
    life=[
        [
            ("future", "stock"),
            ("future", "loop"),
            ("act", 0, "set_result", 1),
            ("combine", "wait", [0, 1], False),
        ],
        [],
        [("act", 1, "set_result", 2)],
    ]
)
@example(
    life=[
        [
            ("future", "stock"),
            ("future", "loop"),
            ("combine", "gather", [0, 1], False),
            ("call", "soon", ("act", 0, "set_result", 1)),
            ("call", "own context", ("call", "soon", ("act", 1, "set_result", 2))),
        ],
        [],
    ]
)
def test_a_life_is_the_same(make: Make, life: list[list[Step]]) -> None:
    assert trace(make, life) == trace(Make(STOCK_LOOP, asyncio, make.debug), life)
