"""`coroutine` and `iscoroutinefunction`: generators as coroutines, and native methods that return coroutines.

The decorator makes a coroutine function of the generator function, as asyncio had them until Python 3.10, so whatever
takes coroutines takes what it returns: tasks of any make, `iscoroutine`, `iscoroutinefunction`, `await`. Called by
programs, when their functions are defined or looked at.
"""

import functools
import inspect
import sys
import types
import warnings
from asyncio import coroutines as _stock
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, ParamSpec

from ._frames import stock_function

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


_is_stock: Callable[[Any], bool] = vars(_stock).get("_iscoroutinefunction", _stock.iscoroutinefunction)


def iscoroutinefunction(func: Any) -> bool:
    """Return True if func is a coroutine function, as asyncio does, or a native method in the place of one."""
    if sys.version_info >= (3, 14):
        message = (
            "'asyncio.iscoroutinefunction' is deprecated and slated for removal in Python 3.16; "
            "use inspect.iscoroutinefunction() instead"
        )
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return _is_stock(func) or _is_native(func)


def _is_native(func: Any) -> bool:
    """Return whether this is a builtin method, and asyncio's method of that name a coroutine function."""
    if not isinstance(func, types.BuiltinMethodType | types.MethodDescriptorType):
        return False
    owner = func.__objclass__ if isinstance(func, types.MethodDescriptorType) else type(func.__self__)
    return any(
        stock_function(f"{base.__name__}.{func.__name__}") is not None
        for base in owner.__mro__
        if base.__module__.partition(".")[0] in {"tulipa", _stock.__name__.partition(".")[0]}
    )


def _as_generator_function(function: Callable[..., Any]) -> Callable[..., Generator[Any, Any, Any]]:
    def generator_function(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        result = function(*args, **kwargs)
        if inspect.isgenerator(result):
            return (yield from result)
        if isinstance(result, Awaitable):
            return (yield from result.__await__())
        return result

    return generator_function
