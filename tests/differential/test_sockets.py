"""Operations on sockets of the program's own go as asyncio's do, alone and in each other's way."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .search import search
from .sockets import Step, Use, trace

# The calibration compares asyncio with itself.
LOOP = tulipa.EventLoop if IMPLEMENTATION == "tulipa" else asyncio.SelectorEventLoop

size = st.sampled_from([0, 1, 10, 1000, 300_000])
operation = st.sampled_from(
    [
        "recv",
        "recv",
        "recv_into",
        "recvfrom",
        "recvfrom_into",
        "sendall",
        "sendall",
        "sendto",
        "accept",
        "connect",
    ]
)
watching = st.sampled_from(["add_reader", "remove_reader", "add_writer", "remove_writer"])
step: st.SearchStrategy[Step] = st.one_of(
    *[st.tuples(st.just("begin"), operation, size)] * 4,
    *[st.tuples(st.just("send"), size)] * 2,
    *[st.tuples(st.just("receive"), size)] * 2,
    *[st.tuples(st.just("cancel"), st.integers(0, 4))] * 2,
    st.tuples(st.just("watch"), watching),
    st.tuples(st.sampled_from(["end", "close"])),
    st.tuples(st.just("set_blocking"), st.booleans()),
)
uses = st.builds(
    Use,
    steps=st.lists(step, min_size=1, max_size=10),
    datagrams=st.booleans(),
    debug=st.sampled_from([False, False, True]),
)


@given(use=uses)
@search("TULIPA_SOCKETS", 300)
def test_operations_go_the_same_way(use: Use) -> None:
    assert trace(LOOP, use) == trace(asyncio.SelectorEventLoop, use)
