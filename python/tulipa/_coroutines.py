"""`coroutine`: coroutines written as generators, as asyncio had them until Python 3.10.

The decorator makes a coroutine function of the generator function, so whatever takes coroutines takes what it returns:
tasks of any make, `iscoroutine`, `iscoroutinefunction`, `await`. Called by programs, when their functions are defined.
"""

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, ParamSpec

_P = ParamSpec("_P")


def coroutine(function: Callable[_P, Any]) -> Callable[_P, Coroutine[Any, Any, Any]]:
    """Decorate a generator function to be a coroutine function.

    In it, `yield from` waits for a future, a task or another coroutine, and a bare `yield` lets others run. A function
    that is no generator may be decorated too: what it returns is waited for, if it can be.
    """
    if inspect.iscoroutinefunction(function):
        return function
    generator_function: Callable[_P, Any] = types.coroutine(
        function if inspect.isgeneratorfunction(function) else _as_generator_function(function)
    )

    @functools.wraps(function)
    async def coroutine_function(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        return await generator_function(*args, **kwargs)

    return coroutine_function


def _as_generator_function(function: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
    def generator_function(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        result = function(*args, **kwargs)
        if inspect.isgenerator(result):
            return (yield from result)
        if isinstance(result, Awaitable):
            return (yield from result.__await__())
        return result

    return generator_function
