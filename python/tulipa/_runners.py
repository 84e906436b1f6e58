"""`run()`, `Runner` and how programs come by a loop: asyncio's entry points with a Tulipa loop under them.

The running is left to `asyncio.Runner`, which is already right about Ctrl-C, leftover tasks and clean-up; only
the loop it drives is ours. Called by programs through the package; nothing here changes anything in asyncio.
"""

import sys
import threading
import warnings
from asyncio import AbstractEventLoop, events, runners, unix_events
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from ._event_loop import EventLoop

_T = TypeVar("_T")

# asyncio takes any awaitable since 3.14, and says "a coroutine was expected" before that.
if sys.version_info >= (3, 14):
    _Main: TypeAlias = Awaitable[_T]
else:
    _Main: TypeAlias = Coroutine[Any, Any, _T]


def new_event_loop() -> EventLoop:
    """Create and return a new Tulipa event loop, without making it the current one."""
    return EventLoop()


def get_event_loop() -> AbstractEventLoop:
    """Return the running event loop, or the one that was set as current.

    Where asyncio makes a loop if there is none (in the main thread, until Python 3.13), this makes a Tulipa loop.
    """
    if sys.version_info < (3, 14) and events._get_running_loop() is None and _would_make_one():
        if sys.version_info >= (3, 12):
            warnings.warn("There is no current event loop", DeprecationWarning, stacklevel=2)
        events.set_event_loop(new_event_loop())
    return events.get_event_loop()


def _would_make_one() -> bool:
    """Return whether the policy is asyncio's default one, and would make a loop if asked for the current one."""
    default: Any = vars(unix_events)["_UnixDefaultEventLoopPolicy"]
    policy: Any = events.get_event_loop_policy()
    return (
        type(policy) is default
        and policy._local._loop is None
        and not policy._local._set_called
        and threading.current_thread() is threading.main_thread()
    )


class Runner(runners.Runner):  # type: ignore[misc]  # final for the type checker only
    """A context manager that controls a Tulipa event loop's life, as asyncio.Runner does its loop's."""

    def __init__(
        self, *, debug: bool | None = None, loop_factory: Callable[[], AbstractEventLoop] | None = None
    ) -> None:
        """Remember what to make the loop by; that happens when it is first needed."""
        super().__init__(debug=debug, loop_factory=loop_factory or self._make_current_loop)

    def _make_current_loop(self) -> EventLoop:
        """Make a loop and set it as the current one, as asyncio does with the loops it makes unasked."""
        loop = new_event_loop()
        events.set_event_loop(loop)
        self._set_event_loop = True  # which tells close() to take it back
        return loop


def run(
    main: _Main[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], AbstractEventLoop] | None = None,
) -> _T:
    """Execute the coroutine on a new Tulipa event loop and return the result.

    Takes care of managing the loop, finalizing asynchronous generators and closing the default executor, as
    asyncio.run() does. If debug is true, the loop runs in debug mode; None leaves the choice to PYTHONASYNCIODEBUG
    and -X dev. If loop_factory is given, it makes the loop instead.

    Raises RuntimeError when an event loop already runs in this thread. Ctrl-C cancels the main task and then
    raises KeyboardInterrupt.
    """
    if events._get_running_loop() is not None:
        # The text is asyncio's to the letter: programs and their tests match on it.
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
