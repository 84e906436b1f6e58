"""Which names of asyncio are native, and which of its modules defines each: one table.

The package's own names, its mirrors of asyncio's modules and what `install()` swaps are all read from it. Imported by
the package; it changes nothing.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any, Final

from . import _staggered, _streams, _subprocess, _tulipa

NATIVE: Final[dict[str, tuple[str, ...]]] = {
    "coroutines": ("iscoroutine",),
    "futures": ("Future", "wrap_future"),
    "locks": ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    "queues": ("LifoQueue", "PriorityQueue", "Queue"),
    "staggered": ("staggered_race",),
    "streams": tuple(_streams.__all__),
    "subprocess": tuple(_subprocess.__all__),
    "taskgroups": ("TaskGroup",),
    "tasks": (
        "Task",
        "as_completed",
        "create_task",
        "ensure_future",
        "gather",
        "run_coroutine_threadsafe",
        "shield",
        "sleep",
        "wait",
        "wait_for",
        # Later Pythons have these in C.
        *(("all_tasks",) if sys.version_info < (3, 14) else ()),
        *(("current_task",) if sys.version_info < (3, 12) else ()),
    ),
    "threads": ("to_thread",),
    "timeouts": ("Timeout", "timeout", "timeout_at"),
}


# Where those are that the extension module does not have.
_HOLDERS: Final = {"staggered": _staggered, "streams": _streams, "subprocess": _subprocess}


def native_names(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the native names that asyncio's module of that name defines, and what they stand for here."""
    holder = _HOLDERS.get(module, _tulipa)
    for name in NATIVE.get(module, ()):
        yield name, getattr(holder, name)
    if module == "tasks" and eager_task_factory is not None:
        yield "eager_task_factory", eager_task_factory


def package_names(module: str) -> dict[str, Any]:
    """Return the same as the package has them: its `wait` makes tasks of coroutines, as asyncio's did before 3.11."""
    names = dict(native_names(module))
    if "wait" in names:
        names["wait"] = _tulipa.lenient_wait
    return names


def _eager_task_factory() -> Any:
    """Return the factory of native eager tasks, where this Python has such (3.12+).

    Made by asyncio's own maker, so that the function keeps the `__code__` that libraries recognise it by.
    """
    maker = getattr(asyncio, "create_eager_task_factory", None)
    return maker and maker(_tulipa.Task)


eager_task_factory: Final = _eager_task_factory()
