"""Long queues of callbacks, where most Handles are gone before their callbacks run."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tulipa

MANY = 2000
number = contextvars.ContextVar("number", default=-1)


def run(body: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    """Has `body` schedule from a callback, so that it finds the loop running, and runs what it scheduled."""
    loop = tulipa.new_event_loop()
    try:
        loop.call_soon(body, loop)
        loop.call_soon(lambda: loop.call_soon(loop.stop))
        loop.run_forever()
    finally:
        loop.close()


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_each_callback_has_a_context_of_its_own(method: str) -> None:
    seen = []

    def callback(expected: int) -> None:
        seen.append((expected, number.get()))
        number.set(1_000_000)

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        for index in range(MANY):
            if index % 500 == 0:
                number.set(index)
            getattr(loop, method)(callback, index - index % 500)

    run(schedule)
    assert len(seen) == MANY
    assert all(expected == found for expected, found in seen)


def test_a_context_that_was_given_is_the_one_that_is_run_in() -> None:
    seen = []

    def callback() -> None:
        number.set(number.get() + 1)
        seen.append(number.get())

    given = contextvars.copy_context()
    given.run(number.set, 0)

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(MANY):
            loop.call_soon(callback, context=given)

    run(schedule)
    assert seen == list(range(1, MANY + 1))
    assert given[number] == MANY


def test_another_threads_context_comes_along() -> None:
    seen = []

    def other(loop: asyncio.AbstractEventLoop) -> None:
        number.set(7)
        for _ in range(MANY):
            loop.call_soon_threadsafe(lambda: (seen.append(number.get()), number.set(8)))
        loop.call_soon_threadsafe(loop.stop)

    loop = tulipa.new_event_loop()
    thread = threading.Thread(target=other, args=(loop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    loop.close()
    assert seen == [7] * MANY


def test_handles_that_are_kept_stay_what_they_are() -> None:
    ran: list[int] = []
    kept = {}

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        for index in range(MANY):
            handle = loop.call_soon(ran.append, index)
            if index % 3 == 0:
                kept[index] = handle
            if index % 5 == 0:
                handle.cancel()
        for index, handle in kept.items():
            if index % 2:
                handle.cancel()

    run(schedule)
    expected = [i for i in range(MANY) if i % 5 and not (i % 3 == 0 and i % 2)]
    assert ran == expected
    for index, handle in kept.items():
        assert handle.cancelled() == (index % 5 == 0 or index % 2 == 1)
        if not handle.cancelled():
            assert handle._args == (index,)  # type: ignore[attr-defined]
            assert isinstance(handle._context, contextvars.Context)  # type: ignore[attr-defined]
    assert len({id(handle) for handle in kept.values()}) == len(kept)


def test_a_handle_known_by_a_weak_reference_lives_until_it_has_run() -> None:
    seen: list[bool] = []
    references = []

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        for index in range(MANY):
            references.append(weakref.ref(loop.call_soon(lambda index: seen.append(alive(index)), index)))

    def alive(index: int) -> bool:
        handle = references[index]()
        return handle is not None and handle._args == (index,)

    run(schedule)
    assert seen == [True] * MANY
    assert not any(reference() for reference in references)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_a_failure_is_reported_with_a_handle(method: str) -> None:
    reports: list[dict[str, Any]] = []

    def fail(index: int) -> None:
        raise ValueError(index)

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        loop.set_exception_handler(lambda _, context: reports.append(context))
        for index in range(MANY):
            getattr(loop, method)(fail, index)
        classes.append(type(getattr(loop, method)(int)))

    classes: list[type] = []
    run(schedule)
    assert [report["exception"].args for report in reports] == [(index,) for index in range(MANY)]
    for index, report in enumerate(reports):
        assert type(report["handle"]) is classes[0]
        assert report["handle"]._args == (index,)
        assert "fail" in report["message"]
        assert not report["handle"].cancelled()


def test_debug_mode_that_is_turned_on_meanwhile_finds_handles(caplog: pytest.LogCaptureFixture) -> None:
    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        loop.slow_callback_duration = -1.0
        for index in range(MANY):
            loop.call_soon(int, index)
        loop.call_soon(loop.set_debug, False)
        loop.set_debug(True)

    run(schedule)
    slow = [record for record in caplog.records if "took" in record.getMessage()]
    assert len(slow) >= MANY
    assert all("Handle" in record.getMessage() for record in slow)


def test_what_a_long_queue_refers_to_goes_with_it() -> None:
    class Thing:
        def method(self) -> None: ...

    things = [Thing() for _ in range(MANY)]
    references = [weakref.ref(thing) for thing in things]
    loop = tulipa.new_event_loop()

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        number.set(5)
        for thing in things:
            loop.call_soon(thing.method)
        things.clear()
        loop.stop()

    loop.call_soon(schedule, loop)
    loop.run_forever()
    gc.collect()
    assert all(reference() for reference in references)
    loop.close()
    del loop
    gc.collect()
    assert not any(reference() for reference in references)


class Pair:
    """Iterable by its items alone."""

    def __getitem__(self, index: int) -> int:
        return range(2)[index]


def schedule_changed(
    loop: asyncio.AbstractEventLoop, method: str, change: Callable[[Any], None], is_kept: bool
) -> list[Any]:
    """Runs a callback whose Handle was changed meanwhile. Returns what it was called with, and what was reported."""
    seen: list[Any] = []

    def callback(*arguments: Any) -> None:
        seen.append(arguments)

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        seen.append((type(context["exception"]), str(context["exception"])))

    loop.set_exception_handler(report)
    delay = [0] if method == "call_later" else []
    handle: Any = getattr(loop, method)(*delay, callback, 1, 2)
    change(handle)
    kept = [handle] if is_kept else []
    del handle
    getattr(loop, method)(*delay, loop.stop)
    try:
        loop.run_forever()
    except (AttributeError, TypeError, ValueError) as error:
        seen.append(type(error))
    kept.clear()
    loop.close()
    return seen


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe"])
@pytest.mark.parametrize("arguments", [[3, 4], "ab", {5: 6}, Pair(), 7, None, 0, ""])
def test_a_handle_takes_any_iterable_for_arguments(method: str, arguments: Any, is_kept: bool) -> None:
    def change(handle: Any) -> None:
        handle._args = arguments

    stock = schedule_changed(asyncio.SelectorEventLoop(), method, change, is_kept)
    assert schedule_changed(tulipa.new_event_loop(), method, change, is_kept) == stock
    assert len(stock) == 1


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe"])
@pytest.mark.parametrize("name", ["_args", "_callback"])
def test_a_handle_without_one_of_its_parts_stops_the_loop(method: str, name: str, is_kept: bool) -> None:
    def change(handle: Any) -> None:
        delattr(handle, name)

    stock = schedule_changed(asyncio.SelectorEventLoop(), method, change, is_kept)
    assert schedule_changed(tulipa.new_event_loop(), method, change, is_kept) == stock == [AttributeError]


def test_a_handle_that_is_made_anew_takes_a_list_of_arguments() -> None:
    def run_again(loop: asyncio.AbstractEventLoop) -> list[Any]:
        seen: list[Any] = []
        handle: Any = loop.call_soon(seen.append, 1)
        handle.__init__(lambda *arguments: seen.append(arguments), [5, 6], loop)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        return seen

    assert run_again(tulipa.new_event_loop()) == run_again(asyncio.SelectorEventLoop()) == [(5, 6)]


def test_a_timer_handle_that_a_program_makes_has_no_timer() -> None:
    seen: list[int] = []
    loop: Any = tulipa.new_event_loop()
    pending = loop.call_later(1000, seen.append, 0)
    made = [type(pending)(0, seen.append, (index,), loop) for index in range(3)]
    made[0].cancel()
    for handle in made[:2]:
        loop._add_callback(handle)
    made[2]._run()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [2, 1]
    assert loop._scheduled == [pending]
    loop.close()


def test_a_changed_handle_in_a_long_queue_is_called_with_its_own_arguments() -> None:
    seen: list[Any] = []

    def schedule(loop: asyncio.AbstractEventLoop) -> None:
        for index in range(MANY):
            handle: Any = loop.call_soon(lambda *arguments: seen.append(arguments), index)
            if index % 3 == 0:
                handle._args = [index, index]

    run(schedule)
    assert seen == [(index, index) if index % 3 == 0 else (index,) for index in range(MANY)]
