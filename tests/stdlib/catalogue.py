"""Which modules of CPython's asyncio tests there are, and which modes run them.

Names only. A module the running Python does not have is left out, since each Python brings its own suite.
"""

from __future__ import annotations

import importlib.util
from typing import Final

PACKAGE: Final = "test.test_asyncio"
MODES: Final = ("loop", "inject", "global", "toolbox")

FOUNDATION: Final = (
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_server",
    "test_server_context",
    "test_staggered",
    "test_streams",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_unix_events",
    "test_waitfor",
)
"""The modules run by default: what is built is tested by these."""

OTHERS: Final = (
    "test_protocols",
    "test_selector_events",
    "test_sendfile",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_subprocess",
    "test_tools",
    "test_transports",
)
"""Runnable by name, or all at once with `--all`."""

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
    "test_staggered",
    "test_streams",
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


def has_module(name: str) -> bool:
    """Whether this Python's suite has the test module called `name`."""
    return suite_is_installed() and importlib.util.find_spec(f"{PACKAGE}.{name}") is not None


def modules_for(mode: str, *, everything: bool = False) -> list[str]:
    """The modules that `mode` runs by default on this Python."""
    by_default = {"inject": INJECTED, "toolbox": TOOLBOX}.get(mode, FOUNDATION)
    more = OTHERS if everything and by_default is FOUNDATION else ()
    return [name for name in by_default + more if has_module(name)]
