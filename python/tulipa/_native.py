"""Which names of asyncio are native, and which of its modules defines each: one table.

The package's own names, its mirrors of asyncio's modules and what `install()` swaps are all read from it. Imported by
the package; it changes nothing.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from . import _tulipa

NATIVE: Final[dict[str, tuple[str, ...]]] = {
    "futures": ("Future", "wrap_future"),
    "tasks": (
        "Task",
        "create_task",
        "ensure_future",
        "gather",
        "run_coroutine_threadsafe",
        "shield",
        "sleep",
    ),
}


def native_names(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the native names that asyncio's module of that name defines, and what they stand for here."""
    for name in NATIVE.get(module, ()):
        yield name, getattr(_tulipa, name)
    if module == "tasks" and eager_task_factory is not None:
        yield "eager_task_factory", eager_task_factory


def _eager_task_factory() -> Any:
    """Return the factory of native eager tasks, where this Python has such (3.12+).

    Made by asyncio's own maker, so that the function keeps the `__code__` that libraries recognise it by.
    """
    maker = getattr(asyncio, "create_eager_task_factory", None)
    return maker and maker(_tulipa.Task)


eager_task_factory: Final = _eager_task_factory()
