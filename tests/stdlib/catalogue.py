"""Which modules of CPython's asyncio tests there are, and which modes run them.

The list is that of the running Python: each brings its own suite, and a module that a later Python adds is run at once.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from typing import Final

PACKAGE: Final = "test.test_asyncio"
MODES: Final = ("loop", "inject", "global", "toolbox")

INJECTED: Final = (
    "test_eager_task_factory",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_tasks",
)
"""The modules whose test classes are parametrised by Task or Future; mode `inject` runs only these."""


TOOLBOX: Final = (
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_waitfor",
)
"""The modules that use asyncio's primitives; mode `toolbox` runs only these."""


def suite_is_installed() -> bool:
    """Whether this Python was packaged with its test suite (Debian, for one, ships it separately)."""
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def modules_for(mode: str) -> list[str]:
    """The modules that `mode` runs on this Python: the whole suite, or what the mode is about."""
    if not suite_is_installed():
        return []
    package = importlib.util.find_spec(PACKAGE)
    assert package is not None, "the suite is installed"
    found = [module.name for module in pkgutil.iter_modules(package.submodule_search_locations)]
    chosen = {"inject": INJECTED, "toolbox": TOOLBOX}.get(mode, found)
    return [name for name in found if name.startswith("test_") and name in chosen]
