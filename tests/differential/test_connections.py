"""Transports do in random conversations what asyncio's do."""

from __future__ import annotations

import asyncio
import ssl

from hypothesis import assume, example, given
from hypothesis import strategies as st

import tulipa

from ..implementation import IMPLEMENTATION
from .connections import Conversation, Step, trace
from .search import search

# The calibration compares asyncio with itself.
LOOP = tulipa.EventLoop if IMPLEMENTATION == "tulipa" else asyncio.SelectorEventLoop

size = st.sampled_from([0, 1, 10, 1000, 20_000, 70_000, 300_000])
small = st.sampled_from([1, 10, 1000])
method = st.sampled_from(
    [
        *["pause_reading", "resume_reading", "write_eof", "close", "abort"] * 2,
        *["is_reading", "is_closing", "can_write_eof", "get_write_buffer_limits"],
    ]
)
limits = st.sampled_from([(None, None), (None, 5), (10, None), (10, 5), (10, 50_000), (100_000, 0)])
call: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("call"), method),
    st.tuples(st.just("write"), size),
    st.tuples(st.just("write"), size),
    st.tuples(st.just("writelines"), st.lists(small, max_size=3)),
    st.tuples(st.just("write_wrongly"), st.integers(0, 2)),
    st.builds(lambda limits: ("set_limits", *limits), limits),
    st.tuples(st.just("set_protocol"), st.booleans()),
)
deed: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("send"), size),
    st.tuples(st.just("send"), size),
    st.tuples(st.just("receive"), size),
    st.tuples(st.sampled_from(["say_goodbye", "end", "close"])),
    st.tuples(st.just("garble"), st.sampled_from([1, 5, 9])),
    st.tuples(st.just("urge")),
)
callback = st.sampled_from(
    ["connection_made", "received", "eof_received", "pause_writing", "resume_writing", "connection_lost"]
)
conversations = st.builds(
    Conversation,
    steps=st.lists(st.one_of(call, deed), min_size=1, max_size=9),
    reactions=st.dictionaries(callback, call, max_size=2),
    keep_open=st.sampled_from([None, True, False]),
    buffered=st.booleans(),
    server_side=st.booleans(),
    tls=st.sampled_from([None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
    handshake=st.sampled_from([1, 2, 3, 6, 6, 6]),
    debug=st.sampled_from([False, False, False, True]),
    tcp=st.booleans(),
    lent=st.sampled_from([1 << 20, 4_000]),
)


def moved(conversation: Conversation) -> int:
    """Return how many bytes are sent and written at most."""
    steps = [*conversation.steps, *conversation.reactions.values()]
    sizes = [step[1] for step in steps if step[0] in ("send", "write", "writelines")]
    return sum(size if isinstance(size, int) else sum(size) for size in sizes)


@given(conversation=conversations)
@search("TULIPA_CONVERSATIONS", 250)
@example(
    Conversation(
        [("end",), ("call", "pause_reading"), ("call", "resume_reading")], {}, True, False, True, None
    )
)
def test_a_conversation_goes_the_same_way(conversation: Conversation) -> None:
    # Under TLS it matters whether the end of the handshake is sent before or after that.
    assume(not (conversation.tls and "connection_made" in conversation.reactions))
    # How much TCP takes depends on time, and small buffers take turns.
    assume(moved(conversation) <= 40_000 or (not conversation.tcp and conversation.lent > 40_000))
    expected = trace(asyncio.SelectorEventLoop, conversation)
    # What the peer sends behind our good-bye is thrown away (docs/differences.md).
    assume("APPLICATION_DATA_AFTER_CLOSE_NOTIFY" not in str(expected))
    assert trace(LOOP, conversation) == expected
