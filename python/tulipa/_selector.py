"""`SelectorView` and `ReadyView`: what a loop watches and what it has queued, in the stock loop's terms.

The loop polls by its native driver and opens no selector, and its queue is native. Parts of the stock loop (the
transports' reprs) and some libraries read the selector's table nevertheless, and code in the place of `_run_once`
(nested loops have it) makes turns of `loop._selector.select()`, `loop._scheduled` and `loop._ready.popleft()`. A
function in the place of `loop._selector.select` (made-up clocks have one) is what the loop waits by from then on.
Registering goes through the loop's methods alone. Made by `EventLoop`; neither keeps the loop alive.
"""

import selectors
import weakref
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

# What `select()` says of anything that has happened: there is nothing left to do about it, by anybody.
_QUEUED = (selectors.SelectorKey(-1, -1, selectors.EVENT_READ, (None, None)), selectors.EVENT_READ)


class SelectorView:
    """The look-ups of a `selectors` object, over the descriptors that a loop watches, and its `select()`."""

    def __init__(self, loop: Any) -> None:
        self._loop = weakref.ref(loop)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the loop hears of a `select`."""
        super().__setattr__(name, value)
        self._tell(name, True)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute; the loop hears of a `select`."""
        super().__delattr__(name)
        self._tell(name, False)

    def _tell(self, name: str, own: bool) -> None:
        loop = self._loop() if name == "select" else None
        if loop is not None:
            loop._wait_by_selector(own)

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
        """Wait for what the loop waits for, and queue it in the loop, save timers.

        Returns an event that has no handlers if there was anything: nothing is left to be done about it.
        """
        loop = self._loop()
        return [_QUEUED] if loop is not None and loop._select(timeout) else []

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

    def appendleft(self, handle: Any) -> None:
        """Queue a Handle before all others."""
        loop = self._loop()
        if loop is not None:
            loop._add_callback_first(handle)

    def extend(self, handles: Iterable[Any]) -> None:
        """Queue Handles."""
        for handle in handles:
            self.append(handle)

    def extendleft(self, handles: Iterable[Any]) -> None:
        """Queue Handles before all others, the last one first."""
        for handle in handles:
            self.appendleft(handle)

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
