"""The event loop policy, for programs that choose their loop through one.

Assumes a Python that still has policies (3.11 to 3.15); `tulipa` imports it there and nowhere else, and where they are
deprecated, at first use.
It sets no policy: `asyncio.set_event_loop_policy(tulipa.EventLoopPolicy())` is the program's to say.
"""

from asyncio import unix_events
from typing import Any

from ._event_loop import EventLoop

_DefaultPolicy: Any = vars(unix_events)["_UnixDefaultEventLoopPolicy"]


class EventLoopPolicy(_DefaultPolicy):  # type: ignore[misc]
    """asyncio's default policy, child watchers included, making Tulipa loops.

    Example::

        asyncio.set_event_loop_policy(tulipa.EventLoopPolicy())
        asyncio.run(main())
    """

    _loop_factory = EventLoop
