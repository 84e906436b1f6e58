"""The registry of event loops: the only place that knows how each one is made.

Called by `cell` to make a loop and by `measure` to see whether there is one to make. It imports no loop
before `new` or `install` is called, so a missing package costs nothing. Only `install` changes asyncio, for rows that
are programs.
"""

import asyncio
import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class Loop:
    """How to make one kind of event loop."""

    name: str
    package: str
    """What to import, and the name of the distribution that holds it."""
    python: tuple[int, int] = (3, 11)
    """The first Python it exists for."""
    swaps: bool = False
    """Whether its way to run an unmodified program is to replace names inside asyncio by its `install()`. The others'
    is to make the loop; their `install()` only has asyncio make it, by a policy that Python has deprecated."""

    def new(self) -> asyncio.AbstractEventLoop:
        """A new loop of this kind."""
        return cast(asyncio.AbstractEventLoop, importlib.import_module(self.package).new_event_loop())

    def install(self) -> None:
        """What is to be done before a program begins, as its own launcher would."""
        if self.swaps:
            importlib.import_module(self.package).install()

    def missing(self) -> str | None:
        """Why there is no such loop on this Python, if so."""
        if sys.version_info < self.python:
            return f"needs Python {self.python[0]}.{self.python[1]}"
        if importlib.util.find_spec(self.package) is None:
            return "not installed"
        return None

    def version(self) -> str:
        """The installed version, for the record."""
        if self.package == "asyncio":
            return platform.python_version()
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "unknown version"


OURS = "tulipa"
LOOP_ONLY = "tulipa-loop-only"
"""In rows that are programs: what `tulipa run --loop-only` gives."""

LOOPS = {
    loop.name: loop
    for loop in (
        Loop("asyncio", "asyncio"),
        Loop("uvloop", "uvloop"),
        Loop("rloop", "rloop"),
        Loop("rsloop", "rsloop"),
        Loop("zuvloop", "zuvloop", python=(3, 14)),
        Loop(OURS, "tulipa", swaps=True),
        Loop(LOOP_ONLY, "tulipa"),
    )
}
RIVALS = tuple(name for name in LOOPS if not name.startswith(OURS))
