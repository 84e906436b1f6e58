"""What docs/differences.md says of the loop, where no other test does: each difference is there, and no larger."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import random
import selectors
import socket
import sys
import weakref
from typing import Any

import pytest

import tulipa


def test_timers_due_at_the_same_time_run_in_the_order_they_were_scheduled() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        when = loop.time() + 0.01
        for number in range(100):
            loop.call_at(when, ran.append, number)
        finished = loop.create_future()
        loop.call_at(when, finished.set_result, None)
        await finished
        return ran

    assert tulipa.run(main()) == list(range(100))


def test_a_timer_is_never_early_by_the_loops_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waits = []
        chosen = random.Random(1)
        for _ in range(200):
            finished = loop.create_future()
            when = loop.time() + chosen.uniform(0, 0.02)
            loop.call_at(when, lambda finished=finished, when=when: finished.set_result(loop.time() - when))
            waits.append(finished)
        assert min(await asyncio.gather(*waits)) >= 0

    tulipa.run(main())


def test_a_timer_at_nan_runs_at_once_whatever_other_timers_there_are() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later(1000, print)
        finished = loop.create_future()
        loop.call_later(math.nan, finished.set_result, None)
        await finished
        later.cancel()

    tulipa.run(main())


def test_an_accepted_connections_protocol_is_made_outside_any_task() -> None:
    async def main() -> tuple[Any, bool]:
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[Any] = loop.create_future()

        def factory() -> asyncio.Protocol:
            seen.set_result((asyncio.current_task(), asyncio.get_running_loop() is loop))
            return asyncio.Protocol()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        async with server:
            transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
            result: tuple[Any, bool] = await seen
            transport.close()
        return result

    assert tulipa.run(main()) == (None, True)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start eagerly since Python 3.12")
def test_create_task_takes_eager_start() -> None:
    async def at_once() -> str:
        return "done"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        eager = loop.create_task(at_once(), eager_start=True)  # type: ignore[call-arg]
        assert eager.done()
        assert eager.result() == "done"
        usual = loop.create_task(at_once(), eager_start=False)  # type: ignore[call-arg]
        assert not usual.done()
        await usual

    tulipa.run(main())


def descriptors() -> dict[str, str]:
    """What this process has open, and what it leads to."""
    gc.collect()
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the folder
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def test_the_loop_is_a_selector_loop_that_opens_neither_selector_nor_sockets() -> None:
    before = descriptors()
    selector = Selector()
    loop = tulipa.EventLoop(selector)
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.run_until_complete(asyncio.sleep(0))
    opened = [leads_to for fd, leads_to in descriptors().items() if fd not in before]
    assert sorted(opened) == ["anon_inode:[eventfd]", "anon_inode:[eventpoll]"]
    loop.close()
    assert descriptors() == before


def test_a_loop_that_has_sent_to_several_at_once_closes_all_that_it_opened() -> None:
    before = descriptors()
    loop = tulipa.new_event_loop()
    loop.run_until_complete(send_to_several())
    loop.close()
    assert descriptors() == before


async def send_to_several() -> None:
    """Write to eight connections in one iteration."""
    pairs = [socket.socketpair() for _ in range(8)]
    loop = asyncio.get_running_loop()
    transports = [(await loop.create_connection(asyncio.Protocol, sock=ours))[0] for ours, _ in pairs]
    for transport in transports:
        transport.write(b"data")
    for transport, (_, theirs) in zip(transports, pairs, strict=True):
        theirs.setblocking(False)
        assert await loop.sock_recv(theirs, 10) == b"data"
        theirs.close()
        transport.close()
    await asyncio.sleep(0)


class Selector(selectors.BaseSelector):
    """One that must not be used."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        raise AssertionError("registered")

    def unregister(self, fileobj: Any) -> Any:
        raise AssertionError("unregistered")

    def select(self, timeout: float | None = None) -> Any:
        raise AssertionError("selected")

    def close(self) -> None:
        raise AssertionError("closed")

    def get_map(self) -> Any:
        raise AssertionError("read")


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="since Python 3.14 asyncio links the tasks themselves"
)
def test_the_register_of_tasks_is_still_what_it_was_to_those_who_look_into_it() -> None:
    async def stock() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        native, foreign = loop.create_task(stock()), asyncio.tasks._CTask(stock(), loop=loop)  # type: ignore[attr-defined]
        name = "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"
        register = vars(asyncio.tasks)[name]
        for task in (native, foreign):
            assert task in asyncio.all_tasks()
            assert task in set(register)
        assert weakref.ref(foreign) in register.data
        await asyncio.gather(native, foreign)

    tulipa.run(main())
