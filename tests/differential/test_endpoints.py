"""Datagram endpoints do in random exchanges what asyncio's do."""

from __future__ import annotations

import asyncio
import sys
from asyncio.selector_events import _SelectorDatagramTransport  # type: ignore[attr-defined]

from hypothesis import assume, given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .endpoints import TURNS, Exchange, Step, trace
from .search import search

# The calibration compares asyncio with itself.
LOOP = tulipa.EventLoop if IMPLEMENTATION == "tulipa" else asyncio.SelectorEventLoop
# Some releases of 3.13 add a header to the size of a message that is queued, and forget it when that is sent.
COUNTS_HEADERS = sys.version_info < (3, 13) or hasattr(_SelectorDatagramTransport, "_header_size")

size = st.sampled_from([0, 1, 10, 1000, 20_000])
count = st.sampled_from([1, 1, 2, 5, 14])
method = st.sampled_from(
    ["pause_reading", "resume_reading", "close", "abort", "is_reading", "is_closing", "get_write_buffer_size"]
)
limits = st.sampled_from([(None, None), (None, 5), (10, None), (10, 5), (10_000, 0)])
call: st.SearchStrategy[Step] = st.one_of(
    *[st.tuples(st.just("sendto"), size, count, st.booleans())] * 3,
    st.tuples(st.just("call"), method),
    st.builds(lambda limits: ("call", "set_write_buffer_limits", *limits), limits),
    st.tuples(st.just("send_wrongly"), st.integers(0, 2)),
    st.tuples(st.just("send_elsewhere"), st.integers(0, 5)),
)
deed: st.SearchStrategy[Step] = st.one_of(
    *[st.tuples(st.just("send"), size, count)] * 3,
    *[st.tuples(st.just("receive"), count)] * 3,
    st.tuples(st.just("close")),
)
callback = st.sampled_from(
    [
        "connection_made",
        "datagram_received",
        "error_received",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ]
)
reaction = st.lists(st.one_of(call, call, call, st.tuples(st.just("fail"))), min_size=1, max_size=2)
exchanges = st.builds(
    Exchange,
    steps=st.lists(st.one_of(call, deed), min_size=1, max_size=9),
    reactions=st.dictionaries(callback, reaction, max_size=2),
    kind=st.sampled_from(["udp", "unix"]),
    connected=st.booleans(),
    debug=st.sampled_from([False, False, True]),
)


@given(exchange=exchanges)
@search("TULIPA_EXCHANGES", 250)
def test_an_exchange_goes_the_same_way(exchange: Exchange) -> None:
    assume(sent(exchange) < TURNS)
    expected = trace(asyncio.SelectorEventLoop, exchange)
    # The further messages of a turn go out at its end, and errors of them are told in the next (docs/differences.md).
    assume(not (expected.answered_in_sending and may_send_several(exchange)))
    assume(COUNTS_HEADERS or not expected.has_queued)
    # After a fatal error asyncio's stumbles over the loop that it has let go of.
    assume("'NoneType' object has no attribute" not in str(expected.events))
    assert trace(LOOP, exchange).events == expected.events


def may_send_several(exchange: Exchange) -> bool:
    """Whether more than one message may be sent in a turn of the loop."""
    reactions = [step for steps in exchange.reactions.values() for step in steps]
    several = any(step[0] == "sendto" and step[2] > 1 for step in exchange.steps)
    return several or any(step[0].startswith("send") for step in reactions)


def sent(exchange: Exchange) -> int:
    """Return how many messages are sent at most."""
    steps = [step for steps in (exchange.steps, *exchange.reactions.values()) for step in steps]
    return sum(step[2] for step in steps if step[0] == "sendto")
