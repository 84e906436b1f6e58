"""What a waiting native coroutine shows to those who look into it: the names, files and lines that asyncio's would."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import io
import re
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tulipa
from tulipa import _frames

Seen = list[tuple[str, str, int]]
MAKES: list[tuple[Any, Any]] = [(tulipa, tulipa.EventLoop), (asyncio, asyncio.SelectorEventLoop)]


def places(coroutine: Any) -> Seen:
    """Name, file and line of everything that waits, the outermost first."""
    seen = []
    while hasattr(coroutine, "cr_await"):
        frame = coroutine.cr_frame
        seen.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
        coroutine = coroutine.cr_await
    return seen


async def locked(aio: Any) -> Any:
    lock = aio.Lock()
    await lock.acquire()
    return lock


async def enters(manager: Any) -> None:
    async with manager:
        pass


async def stubborn() -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(3600)


async def group(aio: Any) -> None:
    async with aio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(3600))


async def first(aio: Any) -> None:
    for each in aio.as_completed([asyncio.ensure_future(asyncio.sleep(3600))]):
        await each


async def conditional(aio: Any) -> None:
    condition = aio.Condition()
    async with condition:
        await condition.wait_for(lambda: False)


async def of(coroutine: Awaitable[Any]) -> Any:
    return coroutine


WAITS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "sleep": lambda aio: of(aio.sleep(3600)),
    "event": lambda aio: of(aio.Event().wait()),
    "lock": lambda aio: _then(locked(aio), lambda lock: lock.acquire()),
    "entering": lambda aio: _then(locked(aio), enters),
    "semaphore": lambda aio: of(aio.Semaphore(0).acquire()),
    "entering a semaphore": lambda aio: of(enters(aio.Semaphore(0))),
    "condition": lambda aio: of(conditional(aio)),
    "get": lambda aio: of(aio.Queue().get()),
    "wait": lambda aio: of(aio.wait([asyncio.ensure_future(asyncio.sleep(3600))])),
    "group": lambda aio: of(group(aio)),
    "as_completed": lambda aio: of(first(aio)),
    "wait_for": lambda aio: of(aio.wait_for(asyncio.sleep(3600), 3600)),
    "wait_for, cancelling": lambda aio: of(aio.wait_for(asyncio.ensure_future(stubborn()), 1e-6)),
    "read": lambda aio: of(aio.StreamReader().read(1)),
    "readexactly": lambda aio: of(aio.StreamReader().readexactly(1)),
    "readline": lambda aio: of(aio.StreamReader().readline()),
    "readuntil": lambda aio: of(aio.StreamReader().readuntil(b"!")),
    "async for": lambda aio: of(aio.StreamReader().__anext__()),
}


async def _then(first: Awaitable[Any], then: Callable[[Any], Any]) -> Any:
    return then(await first)


async def look(aio: Any, make: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """What a task and its coroutine show before, while and after waiting."""
    task = asyncio.get_running_loop().create_task(await make(aio), name="looked at")
    coroutine: Any = task.get_coro()
    seen = [places(coroutine), inspect.getcoroutinestate(coroutine), text(task), coroutine.cr_code]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    # Waiting for good: what it waits on stays the same from turn to turn.
    while loop.time() < deadline:
        before = places(coroutine)
        await asyncio.sleep(0.002)
        await asyncio.sleep(0.002)
        if before == places(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED:
            break
    seen += [before, inspect.getcoroutinestate(coroutine), text(task)]
    seen += [[frame.f_code.co_name for frame in task.get_stack()], printed(task)]
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.cancel()
        await asyncio.sleep(0)
        other.cancel()
    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
        await task
    assert coroutine.cr_frame is None
    return [*seen, inspect.getcoroutinestate(coroutine), text(task)]


def text(task: Any) -> str:
    """The task's repr, as far as it tells of the coroutine."""
    return re.sub(r" (wait_for|cb|exception)=.*", "", repr(task))


def printed(task: Any) -> list[str]:
    file = io.StringIO()
    task.print_stack(file=file)
    return [line for line in file.getvalue().splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_shows_what_asyncios_shows(wait: str) -> None:
    if wait == "as_completed" and sys.version_info < (3, 13):
        pytest.skip("asyncio's function is inside of another")
    ours, stock = (run(look(aio, WAITS[wait]), factory) for aio, factory in MAKES)
    if sys.version_info < (3, 12) and wait.startswith("wait_for"):
        # Which of several similar lines it waits on is not told.
        stock, ours = stock[:1], ours[:1]
    assert ours == stock


def run(main: Any, factory: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def test_frames_stay_the_same_while_the_operation_waits_and_go_with_it() -> None:
    operation: Any = tulipa.sleep(0)
    assert operation.cr_frame is operation.cr_frame
    operation.send(None)
    frame = operation.cr_frame
    assert frame is operation.cr_frame
    if sys.version_info >= (3, 14):
        assert frame.f_generator.cr_frame is frame
    shown = len(_frames._shown)
    gone = weakref.ref(operation)
    operation.close()
    del operation
    gc.collect()
    assert gone() is None
    assert len(_frames._shown) < shown


async def graphs(aio: Any) -> str:
    """The call graph of a task that others wait for in several ways."""

    async def worker() -> None:
        await asyncio.get_running_loop().create_future()

    async def each(task: Any) -> None:
        for awaited in aio.as_completed([task]):
            await awaited

    async with aio.TaskGroup() as tasks:
        task = tasks.create_task(worker(), name="worker")
        tasks.create_task(aio.wait_for(task, 3600), name="wait_for")
        tasks.create_task(aio.wait([task]), name="wait")
        tasks.create_task(each(task), name="as_completed")

        async def look() -> str:
            graph: str = vars(asyncio)["format_call_graph"](task)
            for other in asyncio.all_tasks() - {main, asyncio.current_task()}:
                other.cancel()
            return graph

        main = asyncio.current_task()
        for _ in range(5):
            await asyncio.sleep(0)
        looking = tasks.create_task(look())
    return looking.result()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has call graphs since 3.14")
def test_a_call_graph_goes_through_native_functions() -> None:
    ours, stock = (run(graphs(aio), factory).splitlines() for aio, factory in MAKES)
    # Who awaits is kept in sets, so in no order.
    entries = [
        sorted(re.sub(r"\(.*id=0x\w+", "", line).strip(" |") for line in lines) for lines in (ours, stock)
    ]
    assert entries[0] == entries[1]
    assert {"_wait", "TaskGroup._aexit", "Queue.get"} <= set(re.findall(r"in async ([\w.]+)\(\)", str(ours)))
