"""`SelectorView`: what a loop watches, for code that looks into `loop._selector`.

The loop polls by its native driver and opens no selector. Parts of the stock loop (the transports' reprs) and some
libraries read the selector's table nevertheless, so this shows the native one in the same terms. It is read-only:
registering goes through the loop's methods. Made by `EventLoop`; it does not keep the loop alive.
"""

import selectors
import weakref
from types import MappingProxyType
from typing import Any


class SelectorView:
    """The two look-ups of a `selectors` object, over the descriptors that a loop watches."""

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

    def close(self) -> None:
        """Do nothing: closing the loop lets go of its descriptors."""


def _number(fileobj: Any) -> int:
    """Return the descriptor of a file object, -1 for a closed one."""
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
