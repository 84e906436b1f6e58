"""Contexts of tasks and done-callbacks: each is its own, whatever the loop saves by sharing what is equal."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from typing import Any

import pytest

from .loops import LOOPS, run

MANY = 10

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_callbacks_added_in_one_context_do_not_see_what_others_set(new_loop: Any) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        seen: list[Any] = []

        def callback(number: int) -> None:
            seen.append(variable.get())
            if number % 3 == 0:
                variable.set(number)

        variable.set("before")
        for number in range(MANY):
            future.add_done_callback(lambda _, number=number: callback(number))
        variable.set("after")
        future.add_done_callback(lambda _: callback(1))
        future.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        return seen

    assert run(new_loop, main) == ["before"] * MANY + ["after"]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_tasks_made_in_one_context_keep_what_they_set_and_see_nothing_else(new_loop: Any) -> None:
    async def child(number: int) -> list[Any]:
        seen = [variable.get()]
        if number % 2:
            variable.set(number)
        for _ in range(4):
            await asyncio.sleep(0)
            seen.append(variable.get())
            if number % 5 == 0:
                variable.set((number, len(seen)))
        return seen

    def expected(number: int) -> list[Any]:
        value: Any = number if number % 2 else "before"
        seen = ["before", value]
        for length in (2, 3, 4):
            value = (number, length) if number % 5 == 0 else value
            seen.append(value)
        return seen

    async def main() -> list[list[Any]]:
        variable.set("before")
        tasks = [asyncio.create_task(child(number)) for number in range(MANY)]
        variable.set("after")
        return await asyncio.gather(*tasks)

    assert run(new_loop, main) == [expected(number) for number in range(MANY)]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_variable_that_is_reset_is_reset_for_its_task_alone(new_loop: Any) -> None:
    async def child(number: int) -> tuple[Any, Any]:
        token = variable.set(number)
        await asyncio.sleep(0)
        inside = variable.get()
        variable.reset(token)
        await asyncio.sleep(0)
        return inside, variable.get()

    async def main() -> list[tuple[Any, Any]]:
        variable.set("before")
        return await asyncio.gather(*[child(number) for number in range(MANY)])

    assert run(new_loop, main) == [(number, "before") for number in range(MANY)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Task.get_context() is new in Python 3.12")
@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_context_that_a_task_shows_is_the_one_it_runs_in(new_loop: Any) -> None:
    async def child(delay: int) -> tuple[bool, Any]:
        for _ in range(delay):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RuntimeError, match="already entered"):
            task.get_context().run(int)
        return shown[delay] is task.get_context(), variable.get()

    shown: list[contextvars.Context] = []

    async def main() -> list[tuple[bool, Any]]:
        variable.set("before")
        tasks = [asyncio.create_task(child(delay)) for delay in range(4)]
        others = [asyncio.create_task(asyncio.sleep(0)) for _ in range(MANY)]
        for number, task in enumerate(tasks):
            shown.append(task.get_context())
            shown[-1].run(variable.set, number)
        await asyncio.gather(*others)
        return await asyncio.gather(*tasks)

    assert run(new_loop, main) == [(True, number) for number in range(4)]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_task_that_starts_another_in_its_own_context_shares_it(new_loop: Any) -> None:
    async def inner() -> Any:
        return contextvars.copy_context().run(variable.get)

    async def main() -> list[Any]:
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        return await asyncio.gather(
            *[asyncio.get_running_loop().create_task(inner(), context=context) for _ in range(3)],
            *[inner() for _ in range(3)],
        )

    assert run(new_loop, main) == ["given"] * 3 + [None] * 3


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_contexts_that_a_future_shows_are_those_its_callbacks_run_in(new_loop: Any) -> None:
    async def main() -> list[Any]:
        future: Any = asyncio.get_running_loop().create_future()
        seen: list[Any] = []
        for _ in range(3):
            future.add_done_callback(lambda _: seen.append(variable.get()))
        for number, (_, context) in enumerate(future._callbacks):
            context.run(variable.set, number)
        future.set_result(None)
        for _ in range(2):
            await asyncio.sleep(0)
        return seen

    assert run(new_loop, main) == [0, 1, 2]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_handler_of_a_failed_callback_is_told_of_its_context(new_loop: Any) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        loop.set_exception_handler(lambda _, context: told.append(context["handle"]._context[variable]))
        future = loop.create_future()

        def fail(_: Any) -> None:
            variable.set("inside")
            raise ValueError

        variable.set("before")
        for _ in range(3):
            future.add_done_callback(fail)
        future.set_result(None)
        for _ in range(2):
            await asyncio.sleep(0)
        return told

    assert run(new_loop, main) == ["inside"] * 3


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_loop_that_waits_keeps_no_value_alive(new_loop: Any) -> None:
    class Value:
        pass

    async def work() -> None:
        await asyncio.sleep(0)

    async def request() -> weakref.ref[Value]:
        value = Value()
        variable.set(value)
        await asyncio.gather(*[work() for _ in range(MANY)])
        future = asyncio.get_running_loop().create_future()
        for _ in range(MANY):
            future.add_done_callback(lambda _: None)
        future.set_result(None)
        return weakref.ref(value)

    async def main() -> bool:
        reference = await asyncio.create_task(request())
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        return reference() is None

    assert run(new_loop, main)


@pytest.mark.skipif(sys.version_info < (3, 15), reason="before, the task's first step fails")
@pytest.mark.parametrize("new_loop", LOOPS)
def test_of_a_context_that_is_none_only_the_caller_hears(
    new_loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def child() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for arguments in ({}, {"eager_start": True}):
            coroutine = child()
            with pytest.raises(TypeError, match=r"^a contextvars\.Context was expected, got int$"):
                await loop.create_task(coroutine, context=3, **arguments)  # type: ignore[arg-type]
            coroutine.close()

    run(new_loop, main)
    assert caplog.text == ""
