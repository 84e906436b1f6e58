"""A native StreamReader does what asyncio's does, turn by turn."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .reading import Event, Make, Step, Use, trace
from .search import search

# The calibration compares asyncio with itself.
READER: Any = tulipa.StreamReader if IMPLEMENTATION == "tulipa" else asyncio.StreamReader
STOCK_LOOP, LOOP = asyncio.SelectorEventLoop, tulipa.EventLoop

data = st.sampled_from([b"", b"a", b"\n", b"ab", b"aab", b"a\n", b"abc\nab\nc", b"x" * 20, b"x" * 300])
size = st.sampled_from([-1, 0, 1, 2, 5, 19, 100])
separators: list[Any] = [b"\n", b"ab", b"c\na", b""]
if sys.version_info >= (3, 13):
    separators += [(b"\n", b"ab"), (b"a", b"aab"), (b"ab", b"b"), (), (b"", b"a")]


def reading(method: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """The step that begins to read by a method."""
    return st.tuples(st.just("read"), st.just(method), *arguments)


turns: st.SearchStrategy[Step] = st.tuples(st.just("turns"), st.integers(1, 3))
feed: st.SearchStrategy[Step] = st.tuples(st.just("feed"), data)
step: st.SearchStrategy[Step] = st.one_of(
    *[turns] * 3,
    *[feed] * 4,
    reading("read", size),
    reading("readexactly", size),
    reading("readline"),
    reading("readuntil", st.sampled_from(separators)),
    reading("__anext__"),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("call"), st.sampled_from(["feed_eof", "feed_eof", "at_eof", "exception"])),
    st.tuples(st.sampled_from(["fail", "show"])),
)
uses = st.builds(
    Use,
    steps=st.lists(step, min_size=1, max_size=14),
    limit=st.sampled_from([1, 2, 5, 40, 65_536]),
    transport=st.sampled_from([None, True, True, False]),
)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Make(LOOP, READER), id="native"),
        pytest.param(Make(STOCK_LOOP, READER), id="native reader on the stock loop"),
        pytest.param(Make(LOOP, asyncio.StreamReader), id="stock reader on the native loop"),
        pytest.param(Make(LOOP, READER, debug=True), id="native, debug mode"),
    ],
)
@given(use=uses)
@search("TULIPA_READERS", 250)
@example(use=Use([("read", "readline"), ("turns", 1), ("feed", b"a\n"), ("cancel", 0)], 5, True))
def test_a_reader_gives_the_same(make: Make, use: Use) -> None:
    expected = trace(Make(STOCK_LOOP, asyncio.StreamReader), use)
    # What such a read has taken, asyncio loses (docs/differences.md).
    assume(not has_given_up_reading_all(use, expected))
    assert trace(make, use) == expected


def has_given_up_reading_all(use: Use, events: list[Event]) -> bool:
    """Whether a `read(-1)` has begun, and ended without its answer."""
    reads = [step for step in use.steps if step[0] == "read"]
    failed = {event[2] for event in events if event[1] == "read" and isinstance(event[3], tuple)}
    return any(reads[number] == ("read", "read", -1) for number in failed)
