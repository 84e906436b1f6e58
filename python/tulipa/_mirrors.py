"""`tulipa.tasks`, `tulipa.subprocess` and the rest: asyncio's modules, with the native names in them.

Programs that say `import tulipa as asyncio` go on to say `asyncio.subprocess.PIPE` and `asyncio.exceptions`. Each
mirror is a module that holds the native names of asyncio's module and looks all others up there, when they are
asked for. `import tulipa.subprocess` finds the mirrors among the modules that are loaded.
"""

import sys
from asyncio import __name__ as _asyncio
from types import ModuleType
from typing import Any

from ._native import package_names


def mirrors() -> dict[str, ModuleType]:
    """Return the mirrors of all modules of asyncio that this process has loaded, by name."""
    prefix = _asyncio + "."
    names = [name.removeprefix(prefix) for name in sys.modules if name.startswith(prefix)]
    return {name: _mirror(name) for name in names if "." not in name}


def _mirror(name: str) -> ModuleType:
    stock = sys.modules[f"{_asyncio}.{name}"]
    module = ModuleType(f"tulipa.{name}", stock.__doc__)
    contents = vars(module)
    contents.update(package_names(name))

    def attribute(asked: str) -> Any:
        try:
            if asked.startswith("__") and asked != "__all__":
                raise AttributeError  # what makes a module is the mirror's own
            return getattr(stock, asked)
        except AttributeError:
            raise AttributeError(f"module {module.__name__!r} has no attribute {asked!r}") from None

    def names() -> list[str]:
        return sorted({*contents, *dir(stock)})

    # `from tulipa.tasks import *` and dir() go by these.
    contents.update(__getattr__=attribute, __dir__=names)
    sys.modules[module.__name__] = module
    return module
