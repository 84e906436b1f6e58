"""Frames and code for native operations: asyncio's own, as somebody who looks at a waiting task finds them.

A native coroutine has no frame. Where one is asked for (`cr_frame`, and so by call graphs, `Task.get_stack()` and the
repr of a task) coroutines are made that are named as asyncio's functions and wait where those would; their frames are
real ones. They are made when somebody looks, and kept as long as the operation is. Called by the extension module;
nothing here is on the way of a program that nobody looks into.
"""

import asyncio
import dis
import inspect
import sys
import types
import weakref
from collections.abc import Coroutine, Generator
from typing import Any

# Where asyncio's functions are found: what is public, as it was before anything is swapped, and what is not.
_PUBLIC = dict(vars(asyncio))
_MODULES = ("locks", "tasks", "streams", "selector_events")

# What a coroutine was made for: the functions, and whether the operation waits in them.
_Place = tuple[tuple[str, ...], bool]
_Shown = tuple[_Place, Coroutine[Any, Any, None]]
_shown: weakref.WeakKeyDictionary[Any, _Shown] = weakref.WeakKeyDictionary()


def coroutine_for(operation: Any, names: tuple[str, ...]) -> Coroutine[Any, Any, None] | None:
    """Return a coroutine that is in asyncio's functions of these names, the outermost first.

    It is the same one as long as the operation is in the same place. None if asyncio has no such function.
    """
    place = (names, operation.cr_suspended)
    shown = _shown.get(operation)
    if shown is None or shown[0] != place:
        functions = [found for found in map(stock_function, names) if found]
        if not functions:
            return None
        _shown[operation] = shown = (place, _waiting_in(functions, operation.cr_suspended))
    return shown[1]


def stock_function(name: str) -> types.FunctionType | None:
    """Return asyncio's coroutine function of that qualified name, if it has one."""
    first, *rest = name.split(".")
    found: Any = _PUBLIC.get(first)
    for module in _MODULES:
        found = found or getattr(sys.modules[f"{asyncio.__name__}.{module}"], first, None)
    for part in rest:
        found = getattr(found, part, None)
    return found if inspect.iscoroutinefunction(found) else None


def _waiting_in(functions: list[types.FunctionType], has_begun: bool) -> Coroutine[Any, Any, None]:
    awaited: Any = _pause()
    inner = ""
    for function in reversed(functions):
        code = function.__code__
        line = _line(code, inner) if has_begun else code.co_firstlineno
        awaited = _named_as(function, line)(awaited)
        inner = function.__name__
    coroutine: Coroutine[Any, Any, None] = awaited
    coroutine.send(None)
    return coroutine


async def _wait(awaited: Any) -> None: await awaited  # fmt: skip  # one line, to stand for any


@types.coroutine
def _pause() -> Generator[None, None, None]:
    yield


def _named_as(stock: types.FunctionType, line: int) -> Any:
    """Return a function that waits on that line of asyncio's file, and is named as asyncio's."""
    code = _wait.__code__.replace(
        co_name=stock.__name__,
        co_qualname=stock.__qualname__,
        co_filename=stock.__code__.co_filename,
        co_firstlineno=line,
    )
    return types.FunctionType(code, stock.__globals__, stock.__name__)


def _line(code: types.CodeType, inner: str) -> int:
    """Return the line where the function awaits the inner one, or where there is none, a future that it has already.

    Without exactly one such, the line of its only `await`; if it has several, the line of its beginning.
    """
    matching: set[int] = set()
    awaits: set[int] = set()
    names: dict[int, list[str]] = {}
    previous = ""
    for found in dis.get_instructions(code):
        line = (found.positions and found.positions.lineno) or code.co_firstlineno
        if found.opname == "GET_AWAITABLE":
            awaits.add(line)
            if inner in names[line] if inner else previous.startswith("LOAD_"):
                matching.add(line)
        names.setdefault(line, []).append(found.argval)
        previous = found.opname
    return next((lines.pop() for lines in (matching, awaits) if len(lines) == 1), code.co_firstlineno)
