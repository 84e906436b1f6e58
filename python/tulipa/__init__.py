"""Tulipa: all of Python's asyncio, rebuilt in Rust.

This is the package's public face: names, and nothing else. Two ways lead in::

    tulipa.run(main())      # one program, one changed line
    tulipa.install()        # asyncio's own names become Tulipa's, for code that cannot be changed

Importing it changes nothing in asyncio; only `install()` does, and `uninstall()` takes it back.
"""

import sys
from typing import TYPE_CHECKING, Any

from ._event_loop import EventLoop
from ._install import install, uninstall
from ._runners import new_event_loop, run
from ._tulipa import Future, Handle, Task, TimerHandle, __version__

if TYPE_CHECKING and sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy as EventLoopPolicy

__all__ = [
    "EventLoop",
    "Future",
    "Handle",
    "Task",
    "TimerHandle",
    "__version__",
    "install",
    "new_event_loop",
    "run",
    "uninstall",
]

# Where asyncio deprecates policies it leaves them out of its own `__all__` too: `import *` must not warn.
if sys.version_info < (3, 14):
    __all__ += ["EventLoopPolicy"]


def __getattr__(name: str) -> Any:
    """Import the event loop policy at first use: where it is deprecated, only those who ask are told."""
    if name != "EventLoopPolicy" or sys.version_info >= (3, 16):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.version_info >= (3, 14):
        import warnings

        message = "'tulipa.EventLoopPolicy' is deprecated and slated for removal in Python 3.16"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    from ._policy import EventLoopPolicy

    return EventLoopPolicy
