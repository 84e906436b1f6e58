"""`Attributes`: the `__dict__` of an object that keeps in native fields what asyncio's keeps in its dict.

Programs copy the dict of a stream's protocol and put it back later: that is how aioconsole has a standard stream
outlive its connection. Others look into that of a loop for the thread that runs it, as Home Assistant does. So it
shows the fields too, and what is written into it goes to the object. Made each time that `__dict__` is asked for; it
shows the object as it was then, and never looks again.
"""

from collections.abc import MutableMapping
from types import GetSetDescriptorType
from typing import Any
from weakref import WeakKeyDictionary

# What a field is that nothing was put into yet.
_NOTHING = object()

# What asyncio's class has as a property as well.
_NO_FIELDS = ("__dict__", "_stream_reader")

_names: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


class Attributes(dict[str, Any]):
    """The attributes of an object: its fields, the native ones unless others are named, and those in its own dict."""

    __slots__ = ("_fields", "_object", "_own")

    def __init__(self, instance: Any, own: dict[str, Any], fields: tuple[str, ...] | None = None) -> None:
        self._object, self._own = instance, own
        self._fields = _native_fields(type(instance)) if fields is None else fields
        values = ((name, getattr(instance, name, _NOTHING)) for name in self._fields)
        super().__init__({name: value for name, value in values if value is not _NOTHING} | own)

    def __setitem__(self, name: str, value: Any) -> None:
        """Set an attribute. A field that has the value already is left alone: some can only be read."""
        if name not in self._fields:
            self._own[name] = value
        elif value is not getattr(self._object, name, _NOTHING):
            setattr(self._object, name, value)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        """Delete an attribute. Raises AttributeError for a field."""
        if name in self._fields:
            delattr(self._object, name)
        else:
            del self._own[name]
        super().__delitem__(name)

    def __ior__(self, others: Any) -> "Attributes":  # type: ignore[misc, override]
        """Set several attributes."""
        self.update(others)
        return self

    # All by the two methods above.
    clear = MutableMapping.clear
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    update = MutableMapping.update

    def replace(self, attributes: dict[str, Any]) -> None:
        """Have these attributes, and no others save the fields. Raises TypeError for what is no dict."""
        if not isinstance(attributes, dict):
            raise TypeError(f"__dict__ must be set to a dictionary, not a '{type(attributes).__name__}'")
        for name in [name for name in self._own if name not in attributes]:
            del self[name]
        self.update(attributes)


def _native_fields(kind: type) -> tuple[str, ...]:
    """Return the names of the native fields of a class."""
    names = _names.get(kind)
    if names is None:
        found = (
            name
            for base in reversed(kind.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, GetSetDescriptorType) and value.__objclass__.__module__ == "tulipa._tulipa"
        )
        names = _names[kind] = tuple(name for name in found if name not in _NO_FIELDS)
    return names
