"""`run()` and `new_event_loop()`: asyncio's entry points with a Tulipa loop under them.

The running is left to `asyncio.Runner`, which is already right about Ctrl-C, leftover tasks and clean-up; only
the loop it drives is ours. Called by programs through the package; neither function changes anything in asyncio.
"""

import sys
from asyncio import AbstractEventLoop, events, runners
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
    try:
        with runners.Runner(debug=debug, loop_factory=loop_factory or _current_event_loop) as runner:
            return runner.run(main)
    finally:
        if loop_factory is None:
            events.set_event_loop(None)


def _current_event_loop() -> EventLoop:
    """Make a loop and set it as the current one, as Runner does with the loops it makes unasked."""
    loop = new_event_loop()
    events.set_event_loop(loop)
    return loop
