"""Random programs do on native primitives what they do on asyncio's, in the same turns of the loop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tulipa
from tulipa import _tulipa as native

from ..implementation import IMPLEMENTATION
from .programs import LATER, SOON, Make, Step, trace
from .search import search

# The calibration compares asyncio with itself.
NAMES: Any = native if IMPLEMENTATION == "tulipa" else asyncio
STOCK_LOOP, LOOP = asyncio.SelectorEventLoop, tulipa.EventLoop

index = st.integers(0, 4)
timeout = st.sampled_from([None, 0, SOON, LATER])
wait = st.tuples(
    st.sampled_from(["acquire", "take", "event", "barrier", "put", "get", "join", "sleep"]), index
)
waits = st.lists(wait, max_size=3)
manner = st.sampled_from(["go on", "stop"])
steps: list[st.SearchStrategy[Step]] = [
    st.tuples(st.just("wait"), wait, manner),
    st.tuples(st.just("wait"), wait, manner),
    st.tuples(st.just("wait_for"), wait, timeout, manner),
    st.tuples(st.just("timeout"), waits, timeout, manner),
    st.tuples(st.just("gather"), waits, st.booleans(), manner),
    st.tuples(st.just("shield"), wait, manner),
    st.tuples(st.just("any of"), st.lists(wait, min_size=1, max_size=3), timeout, manner),
    st.tuples(st.just("group"), waits, manner),
    st.tuples(st.just("abandon"), wait, st.integers(0, 3), manner),
    st.tuples(st.just("holding"), index, waits, manner),
    st.tuples(st.just("notified"), st.integers(0, 4), manner),
    st.tuples(st.just("cancel"), index, manner),
    st.tuples(
        st.just("at once"),
        st.sampled_from(
            ["release", "give", "locked", "set", "clear", "put", "get", "done", "size", "notify"]
        ),
        index,
        manner,
    ),
    st.tuples(st.just("barrier"), st.sampled_from(["reset", "abort"]), manner),
]
if sys.version_info >= (3, 13):
    steps.append(st.tuples(st.just("shut down"), index, st.booleans(), manner))
programs = st.lists(st.lists(st.one_of(steps), min_size=1, max_size=8), min_size=2, max_size=5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Make(LOOP, NAMES), id="native"),
        pytest.param(Make(LOOP, asyncio), id="stock primitives on the native loop"),
        pytest.param(Make(STOCK_LOOP, NAMES), id="native primitives on the stock loop"),
        pytest.param(Make(LOOP, NAMES, debug=True), id="native, debug mode"),
    ],
)
@given(program=programs)
@search("TULIPA_PROGRAMS", 150)
@example(
    program=[
        [("wait", ("acquire", 0), "stop")] * 2,
        [("cancel", 0, "stop"), ("at once", "release", 0, "stop")],
    ]
)
def test_a_program_does_the_same(make: Make, program: list[list[Step]]) -> None:
    assert trace(make, program) == trace(Make(STOCK_LOOP, asyncio), program)
