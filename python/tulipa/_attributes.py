"""`Attributes`: the `__dict__` of an object that keeps in native fields what asyncio's keeps in its dict.

Programs copy the dict of a stream's protocol and put it back later: that is how aioconsole has a standard stream
outlive its connection. So it shows the fields too, and what is written into it goes to the object. Made by native code
each time that `__dict__` is asked for; it shows the object as it was then, and never looks again.
"""

from collections.abc import MutableMapping
from types import GetSetDescriptorType
from typing import Any
from weakref import WeakKeyDictionary

# What asyncio's class has as a property as well.
_NO_FIELDS = ("__dict__", "_stream_reader")

_names: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()


class Attributes(dict[str, Any]):
    """The attributes of an object: its native fields, and those in the dict that it has of its own."""

    __slots__ = ("_fields", "_object", "_own")

    def __init__(self, instance: Any, own: dict[str, Any]) -> None:
        self._object, self._own, self._fields = instance, own, _fields(type(instance))
        super().__init__({name: getattr(instance, name) for name in self._fields} | own)

    def __setitem__(self, name: str, value: Any) -> None:
        """Set an attribute. A field that has the value already is left alone: some can only be read."""
        if name not in self._fields:
            self._own[name] = value
        elif value is not getattr(self._object, name):
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


def _fields(kind: type) -> tuple[str, ...]:
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
