"""Signal handlers of a loop that sleeps and of one that never does; both without polling for them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import selectors
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tulipa

from .loops import LOOPS, run


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


def own_wakeup_fd() -> int:
    """Return the interpreter's wake-up descriptor."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


@pytest.fixture
def wakeup_pipe() -> Iterator[tuple[int, int]]:
    """A pipe as a program's own wake-up descriptor may be; nothing is set yet."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    yield reading, writing
    signal.set_wakeup_fd(-1)
    os.close(reading)
    os.close(writing)


def test_a_wakeup_descriptor_that_was_there_before_is_put_back(wakeup_pipe: tuple[int, int]) -> None:
    _, writing = wakeup_pipe
    signal.set_wakeup_fd(writing)
    loop = tulipa.new_event_loop()
    assert own_wakeup_fd() == writing
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    assert own_wakeup_fd() not in (-1, writing)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert own_wakeup_fd() not in (-1, writing)
    loop.remove_signal_handler(signal.SIGUSR2)
    assert own_wakeup_fd() == writing
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert own_wakeup_fd() == writing


def test_a_wakeup_descriptor_that_is_set_later_stays_and_the_loop_still_hears(
    wakeup_pipe: tuple[int, int],
) -> None:
    reading, writing = wakeup_pipe

    async def main() -> None:
        loop, seen, told = asyncio.get_running_loop(), [], asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        loop.add_signal_handler(signal.SIGUSR2, told.set)
        signal.set_wakeup_fd(writing)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
        await told.wait()
        assert seen
        assert os.read(reading, 100) == bytes([signal.SIGUSR1] * 3 + [signal.SIGUSR2])
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_signal_handler(signal.SIGUSR2)
        assert own_wakeup_fd() == writing

    tulipa.run(main())
    assert own_wakeup_fd() == writing


def test_a_loop_without_signal_handlers_leaves_the_descriptor_alone(wakeup_pipe: tuple[int, int]) -> None:
    _, writing = wakeup_pipe
    signal.set_wakeup_fd(writing)
    tulipa.run(asyncio.sleep(0))
    assert own_wakeup_fd() == writing


def test_every_signal_is_told_of_even_when_they_come_together() -> None:
    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), []
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            loop.add_signal_handler(number, seen.append, number)
        for _ in range(5):
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
                os.kill(os.getpid(), number)
        while len(seen) < 15:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sorted(seen) == sorted([signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD] * 5)

    tulipa.run(asyncio.wait_for(main(), 30))


def test_a_signal_that_another_thread_gets_wakes_the_loop() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        release = threading.Event()
        thread = threading.Thread(target=release.wait)
        thread.start()
        try:
            for _ in range(20):
                told.clear()
                assert thread.ident is not None
                signal.pthread_kill(thread.ident, signal.SIGUSR1)
                await told.wait()
        finally:
            release.set()
            thread.join()

    tulipa.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_handler_that_the_program_calls_itself_tells_the_loop_of_no_signal(new_loop: Any) -> None:
    async def main() -> None:
        loop, seen, told = asyncio.get_running_loop(), [], asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        loop.add_signal_handler(signal.SIGUSR2, told.set)
        handler: Any = signal.getsignal(signal.SIGUSR1)
        assert handler(signal.SIGUSR1, None) is None
        os.kill(os.getpid(), signal.SIGUSR2)
        await told.wait()
        await asyncio.sleep(0)
        assert seen == []

    run(new_loop, main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_refusals_have_no_cause_but_a_context(new_loop: Any) -> None:
    errors: list[RuntimeError] = []

    def refused(loop: Any, number: int) -> None:
        with pytest.raises(RuntimeError) as caught:
            loop.add_signal_handler(number, print)
        errors.append(caught.value)

    with contextlib.closing(new_loop()) as loop:
        refused(loop, signal.SIGKILL)
        thread = threading.Thread(target=refused, args=(loop, signal.SIGUSR1))
        thread.start()
        thread.join()
    uncatchable, elsewhere = errors
    assert str(uncatchable) == f"sig {signal.SIGKILL:d} cannot be caught"
    assert str(elsewhere) == "set_wakeup_fd only works in main thread of the main interpreter"
    assert (type(uncatchable.__context__), type(elsewhere.__context__)) == (OSError, ValueError)
    assert (uncatchable.__cause__, elsewhere.__cause__) == (None, None)


def test_default_handlers_are_back_after_removing_and_closing() -> None:
    loop = tulipa.new_event_loop()
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
        loop.add_signal_handler(number, print)
    assert loop.remove_signal_handler(signal.SIGINT)
    assert not loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert own_wakeup_fd() == -1


def test_system_calls_are_restarted_under_a_loops_handler() -> None:
    """As asyncio arranges: code that is not Python's need not expect to be interrupted."""
    loop = tulipa.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    libc = ctypes.CDLL(None, use_errno=True)
    reading, writing = os.pipe()
    place = ctypes.create_string_buffer(1)
    main_thread = threading.get_ident()

    def disturb_and_write() -> None:
        for _ in range(50):
            signal.pthread_kill(main_thread, signal.SIGUSR1)
            time.sleep(0.001)
        os.write(writing, b"x")

    thread = threading.Thread(target=disturb_and_write)
    thread.start()
    assert libc.read(reading, place, 1) == 1
    thread.join()
    loop.close()
    os.close(reading)
    os.close(writing)


def test_interruptions_harm_nothing() -> None:
    """A timer of the kernel's interrupts every millisecond: streams, timers, threads and children go on as ever."""
    alarms: list[int] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        begin = loop.time()
        while len(alarms) < 100:
            data = os.urandom(3000)
            writer.write(data)
            assert await reader.readexactly(3000) == data
            await asyncio.sleep(0.002)
            assert await loop.run_in_executor(None, int, "7") == 7
            assert await loop.getaddrinfo("localhost", 80)
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            assert await process.communicate(b"data") == (b"data", None)
        assert loop.time() - begin < 60
        writer.close()
        server.close()

    before = signal.signal(signal.SIGALRM, lambda number, _: alarms.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        tulipa.run(asyncio.wait_for(main(), 90))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_exception_of_a_programs_handler_leaves_a_sleeping_and_a_busy_loop() -> None:
    class Alarm(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Alarm

    async def sleeps() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        await asyncio.get_running_loop().create_future()

    before = signal.signal(signal.SIGALRM, handler)
    loop = tulipa.new_event_loop()
    try:
        with pytest.raises(Alarm):
            loop.run_until_complete(sleeps())
        assert loop.run_until_complete(asyncio.sleep(0, "alive")) == "alive"
    finally:
        signal.signal(signal.SIGALRM, before)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


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
