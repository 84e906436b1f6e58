"""Tulipa: all of Python's asyncio, rebuilt in Rust.

This is the package's public face: names, and nothing else. Three ways lead in::

    tulipa.run(main())          # one program, one changed line
    import tulipa as asyncio    # every public name of asyncio is here, native where Tulipa has it
    tulipa.install()            # asyncio's own names become Tulipa's, for code that cannot be changed

Importing it changes nothing in asyncio; only `install()` does, and `uninstall()` takes it back.
"""

import asyncio as _asyncio
import sys
from asyncio import *  # noqa: F403  # every public name of the running Python's asyncio, then ours over them
from typing import TYPE_CHECKING, Any

from . import _frames as _frames  # now, as it keeps what asyncio has before anything is swapped
from ._coroutines import coroutine as coroutine
from ._event_loop import EventLoop as EventLoop
from ._event_loop import SelectorEventLoop as SelectorEventLoop
from ._exit import Farewell as _Farewell
from ._install import install as install
from ._install import uninstall as uninstall
from ._mirrors import mirrors as _mirrors
from ._native import NATIVE as _NATIVE
from ._native import package_names as _package_names
from ._runners import get_event_loop as get_event_loop
from ._runners import new_event_loop as new_event_loop
from ._runners import run as run
from ._tulipa import QueueShutDown as QueueShutDown
from ._tulipa import __version__ as __version__

if TYPE_CHECKING:
    # At run time it is found among the native names; `asyncio.__all__` has it since 3.12.
    from asyncio import TaskGroup as TaskGroup

    # And these are mirrors of asyncio's modules.
    from asyncio import base_events as base_events
    from asyncio import constants as constants
    from asyncio import coroutines as coroutines
    from asyncio import events as events
    from asyncio import exceptions as exceptions
    from asyncio import futures as futures
    from asyncio import locks as locks
    from asyncio import log as log
    from asyncio import protocols as protocols
    from asyncio import queues as queues
    from asyncio import runners as runners
    from asyncio import sslproto as sslproto
    from asyncio import streams as streams
    from asyncio import subprocess as subprocess
    from asyncio import taskgroups as taskgroups
    from asyncio import tasks as tasks
    from asyncio import threads as threads
    from asyncio import timeouts as timeouts
    from asyncio import transports as transports

    # What `__getattr__` gives out. It is hidden from checkers, to whom any name would be there with it.
    if sys.version_info >= (3, 14) and sys.version_info < (3, 16):
        from asyncio import AbstractEventLoopPolicy as AbstractEventLoopPolicy
        from asyncio import DefaultEventLoopPolicy as DefaultEventLoopPolicy

        from ._policy import EventLoopPolicy as EventLoopPolicy

if not TYPE_CHECKING:  # type checkers want a list of names, which no two Pythons have in common
    __all__ = [
        *_asyncio.__all__,
        "EventLoop",
        "QueueShutDown",  # 3.13+ in asyncio; ours can be shut down on every Python
        "__version__",
        "coroutine",
        "install",
        "uninstall",
    ]
    # Where asyncio deprecates policies it leaves them out of its own `__all__` too: `import *` must not warn.
    if sys.version_info < (3, 14):
        __all__ += ["EventLoopPolicy"]

# The native names, over those that came from asyncio. To type checkers they stay asyncio's, so that a Queue can be
# handed to whoever asks for one, and is what asyncio's own functions are declared to return.
if not TYPE_CHECKING:
    from ._runners import Runner as Runner
    from ._tulipa import Handle as Handle
    from ._tulipa import TimerHandle as TimerHandle

for _module in _NATIVE:
    globals().update(
        {name: value for name, value in _package_names(_module).items() if hasattr(_asyncio, name)}
    )
globals().update(_mirrors())

_farewell = _Farewell(globals())

if sys.version_info < (3, 14):
    # A module without `__getattr__` gives its names three times as fast, and this is done at every use of one.
    from ._policy import EventLoopPolicy as EventLoopPolicy
elif not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Find what is deprecated at first use: only those who ask are told. asyncio finds its own names so, too."""
        if name != "EventLoopPolicy" or sys.version_info >= (3, 16):
            return _from_asyncio(name)
        import warnings

        from ._policy import EventLoopPolicy

        message = "'tulipa.EventLoopPolicy' is deprecated and slated for removal in Python 3.16"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return EventLoopPolicy

    def _from_asyncio(name: str) -> Any:
        try:
            return vars(_asyncio)["__getattr__"](name)
        except (AttributeError, KeyError):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
