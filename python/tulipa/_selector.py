"""`SelectorView` and `ReadyView`: what a loop watches and what it has queued, in the stock loop's terms.

The loop polls by its native driver and opens no selector, and its queue is native. Parts of the stock loop (the
transports' reprs) and some libraries read the selector's table nevertheless, and code in the place of `_run_once`
(nested loops have it) makes turns of `loop._selector.select()` and `loop._ready.popleft()`. Registering goes through
the loop's methods alone. Made by `EventLoop`; neither keeps the loop alive.
"""

import selectors
import weakref
from types import MappingProxyType
from typing import Any


class SelectorView:
    """The look-ups of a `selectors` object, over the descriptors that a loop watches, and its `select()`."""

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)

    def get_map(self) -> MappingProxyType[int, selectors.SelectorKey]:
        """Return the watched descriptors and their keys, as they are now; the keys' data are (reader, writer)."""
        loop = self._loop()
        watched = [] if loop is None else loop._watched()
        keys = {}
        for file, fd, readable, writable, reader, writer in watched:
            events = selectors.EVENT_READ * readable | selectors.EVENT_WRITE * writable
            keys[fd] = selectors.SelectorKey(file, fd, events, (reader, writer))
        return MappingProxyType(keys)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a file object or descriptor. Raises KeyError if it is not watched."""
        for key in self.get_map().values():
            if fileobj is key.fileobj or _number(fileobj) == key.fd:
                return key
        raise KeyError(f"{fileobj!r} is not registered")

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for what the loop waits for, timers included, and queue it in the loop: nothing is left to be told."""
        loop = self._loop()
        if loop is not None:
            loop._select(timeout)
        return []

    def close(self) -> None:
        """Do nothing: closing the loop lets go of its descriptors."""


class ReadyView:
    """The two ends of a loop's queue, by the methods of a deque."""

    __slots__ = ("_loop",)

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)

    def __len__(self) -> int:
        loop = self._loop()
        return 0 if loop is None else loop._ready_count()

    def append(self, handle: Any) -> None:
        """Queue a Handle."""
        loop = self._loop()
        if loop is not None:
            loop._add_callback(handle)

    def popleft(self) -> Any:
        """Take what is next: a Handle, or what is run as one. Raises IndexError if nothing is queued."""
        loop = self._loop()
        taken = None if loop is None else loop._take_job()
        if taken is None:
            raise IndexError("pop from an empty deque")
        return taken

    def clear(self) -> None:
        """Drop all that is queued."""
        loop = self._loop()
        if loop is not None:
            loop._drop_jobs()


def _number(fileobj: Any) -> int:
    """Return the descriptor of a file object, -1 for a closed one."""
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
