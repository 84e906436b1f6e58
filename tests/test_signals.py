"""Signal handlers of a loop that sleeps and of one that never does; both without polling for them."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading

import tulipa


async def arrives(busy: bool) -> int:
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    try:
        turns = 0
        if not busy:
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
            await arrived.wait()
        else:
            os.kill(os.getpid(), signal.SIGUSR1)
            while not arrived.is_set():
                turns += 1
                await asyncio.sleep(0)
        return turns
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


def test_a_sleeping_loop_runs_the_handler() -> None:
    tulipa.run(arrives(busy=False))


def test_a_busy_loop_runs_the_handler_within_a_few_turns() -> None:
    assert tulipa.run(arrives(busy=True)) <= 4


def test_each_signal_is_handled_once() -> None:
    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "signal")
        for count in (1, 2, 3):
            os.kill(os.getpid(), signal.SIGUSR1)
            while len(seen) < count:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(seen) == count
        loop.remove_signal_handler(signal.SIGUSR1)

    tulipa.run(main())


def test_the_selector_view_shows_what_is_watched_and_no_more() -> None:
    loop = tulipa.new_event_loop()
    reading, writing = os.pipe()
    try:
        loop.add_reader(reading, print)
        view = loop._selector
        key = view.get_key(reading)
        assert (key.fd, key.events) == (reading, selectors.EVENT_READ)
        assert list(view.get_map()) == [reading]
        loop.remove_reader(reading)
        assert not view.get_map()
    finally:
        loop.close()
        os.close(reading)
        os.close(writing)
    assert loop._selector is None


def test_a_handle_cannot_be_cancelled_while_another_thread_runs_it() -> None:
    """Where asyncio promises that (3.14 and later); before, cancelling answers at once."""
    blocks = hasattr(asyncio.events, "_ThreadSafeHandle")
    loop = tulipa.new_event_loop()
    started, cancelling, order = threading.Event(), threading.Event(), []

    def callback() -> None:
        started.set()
        assert cancelling.wait(10)
        order.append("ran")

    def cancel() -> None:
        handle = loop.call_soon_threadsafe(callback)
        assert started.wait(10)
        cancelling.set()
        handle.cancelled()
        if blocks:
            assert order == ["ran"]
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=cancel)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.close()
    assert order == ["ran"]
