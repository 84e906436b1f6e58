"""Points the tests that CPython runs once per implementation of Task and Future at the native classes.

CPython writes these tests as a base class and derives one test class for C, one for Python and some for mixtures. Here
the C ones get a native sibling, native classes are mixed with C and Python ones both ways, and all other test classes
of the module are dropped: mode `loop` runs them. Tests that take a loop from asyncio (rather than the suite's mock)
run twice, on the loop under test and on the stock one, since libraries put native tasks on loops of their own.
"""

from __future__ import annotations

import asyncio
import asyncio.futures
import asyncio.tasks
import unittest
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .implementations import Implementation
from .replace import stock_loops

Injector = Callable[[Any, Implementation], dict[str, Any]]

C_TASK: Any = vars(asyncio.tasks).get("_CTask")
C_FUTURE: Any = vars(asyncio.futures).get("_CFuture")
STOCK_LOOP = asyncio.SelectorEventLoop


def inject(module: ModuleType, implementation: Implementation) -> None:
    """Replace the test classes of `module` by those that test `implementation`."""
    made = _INJECTORS[module.__name__.rpartition(".")[2]](module, implementation)
    for name, value in list(vars(module).items()):
        if (
            isinstance(value, type)
            and issubclass(value, unittest.TestCase)
            and value.__module__ == module.__name__
        ):
            delattr(module, name)
    for name, case in made.items():
        case.__name__ = case.__qualname__ = name
        case.__module__ = module.__name__
        setattr(module, name, case)


def _derive(base: type, **attributes: Any) -> Any:
    return type(base.__name__, (base,), attributes)


def _on_both_loops(made: dict[str, Any]) -> dict[str, Any]:
    """Each class twice: on the loop under test, and (`_OnStockLoop`) on asyncio's own."""

    def on_stock_loop(case: Any) -> Any:
        def run(self: Any, result: unittest.TestResult | None = None) -> Any:
            with stock_loops(STOCK_LOOP):
                return case.run(self, result)

        return _derive(case, run=run)

    return made | {f"{name}_OnStockLoop": on_stock_loop(case) for name, case in made.items()}


def _tasks(module: Any, implementation: Implementation) -> dict[str, Any]:
    task, future = implementation.task, implementation.future
    # The base with CPython's registries of tasks for C ones, which native tasks use too, and without C-only tests.
    mixed = module.CTask_PyFuture_Tests
    python_future = mixed.Future

    class NativeCurrentLoopTests(module.CCurrentLoopTests):  # type: ignore[misc]
        def new_task(self, coro: Any) -> Any:
            return task(coro, loop=self.loop)

    made = {
        "NativeTask_NativeFuture_Tests": _derive(module.CTask_CFuture_Tests, Task=task, Future=future),
        "NativeTask_NativeFuture_SubclassTests": module.add_subclass_tests(
            _derive(mixed, Task=task, Future=future)
        ),
        "NativeTask_CFuture_Tests": _derive(mixed, Task=task, Future=C_FUTURE),
        "NativeTask_CFuture_SubclassTests": module.add_subclass_tests(
            _derive(mixed, Task=task, Future=C_FUTURE)
        ),
        "NativeTask_PyFuture_Tests": _derive(mixed, Task=task, Future=python_future),
        "CTask_NativeFuture_Tests": _derive(mixed, Task=C_TASK, Future=future),
        "CTask_NativeFuture_SubclassTests": module.add_subclass_tests(
            _derive(mixed, Task=C_TASK, Future=future)
        ),
        "PyTask_NativeFuture_Tests": _derive(module.PyTask_CFuture_Tests, Future=future),
        "NativeIntrospectionTests": _derive(module.CIntrospectionTests, Task=task),
    }
    return made | _on_both_loops({"NativeCurrentLoopTests": NativeCurrentLoopTests})


def _futures(module: Any, implementation: Implementation) -> dict[str, Any]:
    future = implementation.future
    subclass = _derive(future)

    def done_callback_tests(cls: Any) -> Any:
        return _derive(module.CFutureDoneCallbackTests, _new_future=lambda self: cls(loop=self.loop))

    return {
        "NativeFutureTests": _derive(module.CFutureTests, cls=future),
        "NativeSubFutureTests": _derive(module.CSubFutureTests, cls=subclass),
        "NativeFutureDoneCallbackTests": done_callback_tests(future),
        "NativeSubFutureDoneCallbackTests": done_callback_tests(subclass),
        "NativeFutureInheritanceTests": _derive(
            module.CFutureInheritanceTests, _get_future_cls=lambda self: future
        ),
    }


def _futures2(module: Any, implementation: Implementation) -> dict[str, Any]:
    return _on_both_loops({"NativeFutureTests": _derive(module.CFutureTests, cls=implementation.task)})


def _eager(module: Any, implementation: Implementation) -> dict[str, Any]:
    task = implementation.task
    return _on_both_loops(
        {
            "NativeEagerTaskFactoryLoopTests": _derive(module.CEagerTaskFactoryLoopTests, Task=task),
            "NativeNonEagerTests": _derive(module.NonEagerCTaskTests, Task=task),
            "NativeEagerTests": _derive(module.EagerCTaskTests, Task=task),
        }
    )


def _with_names(base: Any, implementation: Implementation, **attributes: Any) -> Any:
    """A test class whose setUp swaps asyncio's names for the C classes: let it swap in the native ones."""

    def set_up(self: Any) -> None:
        base.setUp(self)
        aio: Any = asyncio
        aio.Task = aio.tasks.Task = implementation.task
        aio.Future = aio.futures.Future = implementation.future

    return _derive(base, setUp=set_up, **attributes)


def _free_threading(module: Any, implementation: Implementation) -> dict[str, Any]:
    def factory(self: Any, loop: Any, coro: Any, **kwargs: Any) -> Any:
        return implementation.task(coro, loop=loop, **kwargs)

    def eager_factory(self: Any, loop: Any, coro: Any, eager_start: bool = True, **kwargs: Any) -> Any:
        return implementation.task(coro, loop=loop, eager_start=eager_start, **kwargs)

    base = module.TestCFreeThreading
    return _on_both_loops(
        {
            "TestNativeFreeThreading": _with_names(base, implementation, factory=factory),
            "TestEagerNativeFreeThreading": _with_names(base, implementation, factory=eager_factory),
        }
    )


def _graph(module: Any, implementation: Implementation) -> dict[str, Any]:
    return _on_both_loops({"TestCallStackNative": _with_names(module.TestCallStackC, implementation)})


_INJECTORS: dict[str, Injector] = {
    "test_eager_task_factory": _eager,
    "test_free_threading": _free_threading,
    "test_futures": _futures,
    "test_futures2": _futures2,
    "test_graph": _graph,
    "test_tasks": _tasks,
}
