"""Native streams do in random conversations what asyncio's do."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .search import of, search
from .streaming import Event, Make, Step, Talk, trace

# The calibration compares asyncio with itself.
NAMES: Any = tulipa if IMPLEMENTATION == "tulipa" else asyncio
STOCK_LOOP = asyncio.SelectorEventLoop
LOOP = tulipa.EventLoop if IMPLEMENTATION == "tulipa" else STOCK_LOOP

size = st.sampled_from([0, 1, 10, 100, 1000, 20_000])


step: st.SearchStrategy[Step] = st.one_of(
    of("peer", "send", size),
    of("peer", "send", size),
    of("peer", "receive", st.sampled_from([1, 1000, 20_000, 1 << 30])),
    of("peer", st.sampled_from(["say_goodbye", "end", "close"])),
    of("peer", "garble", st.sampled_from([1, 5, 9])),
    of("peer_tls"),
    of("read", "read", st.sampled_from([-1, 0, 1, 50, 100_000])),
    of("read", "readexactly", st.sampled_from([0, 1, 50, 2000])),
    of("read", st.sampled_from(["readline", "__anext__"])),
    of("read", "readuntil", st.sampled_from([b"p", b"ppp", b"q"])),
    of("write", st.sampled_from([0, 1, 1000, 20_000, 300_000])),
    of("write", st.sampled_from([0, 1, 1000, 20_000, 300_000])),
    of("writelines", st.lists(st.sampled_from([1, 10, 1000]), max_size=3)),
    of("wait", st.sampled_from(["drain", "drain", "wait_closed"])),
    of("start_tls"),
    of("call", st.sampled_from(["close", "close", "write_eof", "is_closing", "can_write_eof"])),
    of("look", st.sampled_from(["at_eof", "exception"])),
    of("limits", st.sampled_from([1, 10, 100_000])),
    of("transport", st.sampled_from(["pause_reading", "resume_reading", "abort", "is_reading"])),
    of("cancel", st.integers(0, 3)),
)
talks = st.builds(
    Talk,
    steps=st.builds(
        list[Step].__add__,
        st.sampled_from([[], [], [("start_tls",), ("peer_tls",)]]),
        st.lists(step, min_size=1, max_size=9),
    ),
    limit=st.sampled_from([1, 20, 65_536]),
    server_side=st.booleans(),
    tls=st.sampled_from([None, None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
    debug=st.sampled_from([False, False, False, True]),
)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Make(LOOP, NAMES), id="native"),
        pytest.param(Make(LOOP, asyncio), id="stock streams on the native loop"),
        pytest.param(Make(STOCK_LOOP, NAMES), id="native streams on the stock loop"),
    ],
)
@given(talk=talks)
@search("TULIPA_TALKS", 150)
@example(Talk([("peer", "send", 10), ("start_tls",)], limit=20, server_side=True, tls=None))
def test_streams_do_the_same(make: Make, talk: Talk) -> None:
    # What a reader holds already, asyncio's own loop moves to TLS from its own readers only (3.14).
    assume(not (make.loop is STOCK_LOOP and make.names is not asyncio and ("start_tls",) in talk.steps))
    expected = trace(Make(STOCK_LOOP, asyncio), talk)
    assume(not is_different(talk, expected))
    assert trace(make, talk) == expected


def is_different(talk: Talk, events: list[Event]) -> bool:
    """Whether asyncio did what it alone does (docs/differences.md), or failed."""
    has_tls = talk.tls is not None or ("start_tls",) in talk.steps
    # It throws away what it did not read before our good-bye.
    if (
        has_tls
        and ("call", "close") in talk.steps
        and any(step[:2] == ("peer", "send") for step in talk.steps)
    ):
        return True
    return any(
        # It lost what a read had taken.
        (event[0] == "ended" and event[2] == ("read", -1) and event[3][0] != "bytes")
        # It had no transport after a handshake that was given up.
        or "'NoneType' object has no attribute" in str(event)
        for event in events
    )
