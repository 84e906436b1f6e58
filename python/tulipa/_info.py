"""What `tulipa info` tells: the versions and abilities a bug report should state.

Everything is asked of the running process at the moment of the call, but for the event loop policies: asking for them
warns, so the version number says whether they are there.
Called by the command line only. It opens one event loop, closes it again, and changes nothing.
"""

import _asyncio
import asyncio
import platform
import sys
from contextlib import closing
from typing import Any

from ._event_loop import EventLoop
from ._tulipa import Future, Task, __version__


def describe() -> dict[str, Any]:
    """Return the facts as plain values, ready for JSON."""
    return {
        "tulipa": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "driver": _driver(),
        "features": _features(),
    }


def _features() -> dict[str, bool | str]:
    return {
        "real asyncio subclasses": issubclass(Future, _asyncio.Future) and issubclass(Task, _asyncio.Task),
        "eager tasks": hasattr(asyncio, "eager_task_factory"),
        "event loop policies": sys.version_info < (3, 16),
        "interpreter lock": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "io_uring allowed": _io_uring_allowed(),
    }


def _driver() -> str:
    """Name what a new loop waits with."""
    with closing(EventLoop()) as event_loop:
        return event_loop._driver


def _io_uring_allowed() -> str:
    """Say what the administrator's switch says: it exists since Linux 6.6."""
    try:
        with open("/proc/sys/kernel/io_uring_disabled", encoding="ascii") as file:
            value = file.read().strip()
    except FileNotFoundError:
        return "unknown"
    return {"0": "yes", "1": "to the privileged", "2": "no"}.get(value, value)
