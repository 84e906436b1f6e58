"""`staggered_race`: who wins, what becomes of the others, and connections that are begun with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import staggered
from collections.abc import Callable
from typing import Any

import pytest

import tulipa
from tulipa._staggered import staggered_race

STOCK: Any = vars(staggered)["staggered_race"]
LONG = 3600.0
NEW = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


class Lost(Exception): ...


async def returns() -> str:
    return "won"


async def fails() -> None:
    raise Lost


async def fails_later() -> None:
    await asyncio.sleep(0.01)
    raise Lost


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def refuses() -> Any:
    raise Lost


RACES: dict[str, tuple[list[Callable[[], Any]], float | None]] = {
    "nobody": ([], None),
    "the first": ([returns, never], LONG),
    "after a failure": ([fails, returns, never], LONG),
    "after a failure that took a while": ([fails_later, returns], LONG),
    "after a delay": ([never, never, returns], 0.001),
    "one whose turn comes while an earlier one runs": ([never, fails, returns], 0.001),
    "all fail": ([fails, fails_later, refuses], None),
    "one by one": ([fails, fails_later, returns, never], None),
    "a failure when called": ([refuses, returns], LONG),
}


def run(main: Any, eager: bool = False) -> Any:
    async def limited() -> Any:
        async with tulipa.timeout(30):
            return await main()

    with tulipa.Runner() as runner:
        if eager:
            runner.get_loop().set_task_factory(vars(tulipa)["eager_task_factory"])
        return runner.run(limited())


@pytest.mark.parametrize("eager", [False, pytest.param(True, marks=NEW)])
@pytest.mark.parametrize("race", RACES)
def test_ends_as_asyncios_does(race: str, eager: bool) -> None:
    async def outcome(function: Any) -> Any:
        attempts, delay = RACES[race]
        result, winner, exceptions = await function(attempts, delay)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result, winner, [type(each) for each in exceptions]

    assert run(lambda: outcome(staggered_race), eager) == run(lambda: outcome(STOCK))


def test_one_that_returns_has_all_others_cancelled_in_that_step() -> None:
    async def main() -> Any:
        event = tulipa.Event()

        async def waits(name: str) -> str:
            await event.wait()
            return name

        async def wakes() -> None:
            event.set()
            await never()

        return await staggered_race([lambda: waits("a"), lambda: waits("b"), wakes], 0.001)

    result, winner, exceptions = run(main)
    assert (result, winner) == ("a", 0)
    assert [type(each) for each in exceptions] == [type(None), asyncio.CancelledError, asyncio.CancelledError]


def test_cancelled_it_waits_for_what_it_has_begun() -> None:
    log: list[str] = []

    async def slow_to_go() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0.001)
            log.append("gone")

    async def main() -> None:
        task = asyncio.create_task(staggered_race([slow_to_go, slow_to_go, never], 0.001))
        while len(asyncio.all_tasks()) < 5:
            await asyncio.sleep(0.001)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match=r"^enough$"):
            await task
        assert log == ["gone", "gone"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_a_second_winner_is_told_of() -> None:
    async def stubborn() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "too"
        raise AssertionError

    async def main() -> None:
        with pytest.raises(ExceptionGroup, match=r"^staggered race failed") as caught:
            await staggered_race([stubborn, returns], 0.001)
        assert "attempt 0 returned" in str(caught.value.exceptions[0])

    run(main)


CONNECTS = """
import asyncio, socket, sys
import tulipa
tulipa.install()

async def main():
    loop = asyncio.get_running_loop()
    if sys.argv[1:]:
        loop.set_task_factory(asyncio.eager_task_factory)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # The first address refuses, as nobody listens there.
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]

    async def getaddrinfo(*args, **kwargs):
        return found

    loop.getaddrinfo = getaddrinfo
    reader, writer = await asyncio.open_connection("two.example", port, happy_eyeballs_delay=60)
    assert writer.get_extra_info("peername") == ("127.0.0.1", port)
    assert await reader.read() == b""
    writer.close()
    server.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("eager", [[], pytest.param(["eager"], marks=NEW)])
def test_connections_are_begun_with_it_once_it_is_installed(eager: list[str]) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", CONNECTS, *eager], check=True, timeout=60)
