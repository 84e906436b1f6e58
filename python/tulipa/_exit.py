"""The end of the interpreter: the current loop goes while asyncio's modules are still whole.

A loop that was set as current, and never closed, is held by asyncio's policy through the state of a thread, which the
collector does not look into. With the loop lives its class, and with that whatever modules the class's code refers to:
the interpreter empties them, one name after another, in the order opposite to that of their imports. It would come to
`asyncio.unix_events` before it comes to the policy, and the loop would close itself without that module's names.

Used by the package alone. Nothing happens before the interpreter ends.
"""

import sys
from asyncio import events
from typing import Any


class Farewell:
    """Ends with the package, which is collected, or else emptied before the modules of asyncio are."""

    def __init__(self, package: dict[str, Any]) -> None:
        """Become part of a cycle, so as not to end before the modules of the program have gone."""
        self._package = package

    def __del__(self) -> None:
        """Drop the policy, and with it the current loop of every thread."""
        if sys.is_finalizing():
            vars(events)["_event_loop_policy"] = None
