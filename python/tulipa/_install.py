"""`install()` and `uninstall()`: asyncio's own loop, classes and functions become Tulipa's, and back.

What asyncio resolves when it is called follows at once, for code that imported it early too: `asyncio.run`, `Runner`,
`new_event_loop`, `get_event_loop`, `IsolatedAsyncioTestCase` and every subclass of the default policy ask that
policy's `_loop_factory`; asyncio's own modules look up `futures.Future` and `tasks.wait_for` late. What a program bound
to a name of its own beforehand (`from asyncio import Task`) stays the stock one, which Tulipa's loop runs as well.

`SelectorEventLoop` is swapped too: servers name it to say "asyncio's own loop", and a Tulipa loop is a subclass of the
stock one. Left alone on purpose: `Handle`, because the stock loops build theirs from it.

Called by programs and by `tulipa run`. It never touches a loop that exists already.
"""

import asyncio
import sys
import threading
from asyncio import events, unix_events
from collections.abc import Iterator
from typing import Any, NamedTuple

from ._event_loop import EventLoop
from ._native import NATIVE, native_names


class _Swap(NamedTuple):
    """One attribute, and the value it is to have."""

    owner: Any
    name: str
    value: object


# The originals, in the order they were replaced; empty while nothing is installed.
_originals: list[_Swap] = []
_lock = threading.Lock()


def install(*, loop_only: bool = False) -> None:
    """Put Tulipa's event loop, and every native class and function, in the place of asyncio's for the whole process.

    Does nothing when something is installed already. A custom event loop policy set earlier gives way, as it does to
    asyncio.set_event_loop_policy(); loops that exist stay what they are. If loop_only is true, the loop is all that is
    swapped.
    """
    with _lock:
        if _originals:
            return
        replacements = list(_loops())
        if not loop_only:
            replacements += _names()
        for owner, name, value in replacements:
            _originals.append(_Swap(owner, name, getattr(owner, name)))
            setattr(owner, name, value)


def uninstall() -> None:
    """Undo install(): every name holds again what it held before. Does nothing when nothing is installed."""
    with _lock:
        while _originals:
            owner, name, value = _originals.pop()
            setattr(owner, name, value)


def _loops() -> Iterator[_Swap]:
    """Yield what makes every way of getting a loop give a Tulipa loop."""
    default_policy: Any = vars(unix_events)["_UnixDefaultEventLoopPolicy"]
    # Not through get_event_loop_policy(), which would create one, and warns since 3.14.
    if not _follows(vars(events)["_event_loop_policy"], default_policy):
        yield _Swap(events, "_event_loop_policy", None)
    yield _Swap(default_policy, "_loop_factory", EventLoop)
    for name in ("SelectorEventLoop", "EventLoop"):
        for owner in (asyncio, unix_events):
            if hasattr(owner, name):  # the second one: 3.13+
                yield _Swap(owner, name, EventLoop)


def _names() -> Iterator[_Swap]:
    """Yield the native names: inside the package, and inside its module that defines the stock one."""
    for module in NATIVE:
        defining = sys.modules[f"{asyncio.__name__}.{module}"]
        for name, value in native_names(module):
            for owner in (asyncio, defining):
                if hasattr(owner, name):  # some are in their module alone
                    yield _Swap(owner, name, value)


def _follows(policy: object, default_policy: Any) -> bool:
    """Return whether this policy, or the default one where None is set, makes what `_loop_factory` says."""
    if policy is None:
        return True
    kind: Any = type(policy)
    return (
        isinstance(policy, default_policy)
        and kind.new_event_loop is default_policy.new_event_loop
        and kind._loop_factory in (default_policy._loop_factory, EventLoop)
    )
