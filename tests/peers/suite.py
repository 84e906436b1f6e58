"""What of uvloop's suite is run, and how it is judged."""

from __future__ import annotations

from pathlib import Path

from ..stdlib.expectations import Expectations
from ..stdlib.runner import Plan
from .archive import PACKAGE, import_path

EXPECTED = Path(__file__).with_name("expected.toml")
MODULES = (
    "test_aiohttp",
    "test_base",
    "test_context",
    "test_dealloc",
    "test_dns",
    "test_executors",
    "test_pipes",
    "test_process",
    "test_process_spawning",
    "test_regr1",
    "test_signals",
    "test_sockets",
    "test_tcp",
    "test_udp",
    "test_unix",
)
"""The modules that are run."""

LEFT_OUT = {
    "test_cython": "a coroutine compiled by Cython into uvloop's own module",
    "test_fs_event": "a watcher of files that uvloop offers and asyncio does not",
    "test_libuv_api": "pointers to libuv's structures",
    "test_runner": "uvloop.run(), which refuses other loops",
    "test_sourcecode": "the style and the types of uvloop's sources",
    "test_testbase": "the tests' own utilities",
}
"""The modules that are not about a loop, and what they are about."""


def fetched_modules() -> set[str]:
    """The modules that the archive really has."""
    _, folder = import_path()
    return {path.stem for path in Path(folder, PACKAGE).glob("test_*.py")}


def expectations_for(implementation: str) -> Expectations:
    """The list of Tulipa's known failures; the calibration, asyncio, has some of its own that are nobody's concern."""
    return Expectations.read(EXPECTED) if implementation == "tulipa" else Expectations.none()


def plan_for(implementation: str, expectations: Expectations) -> Plan:
    """How a module is run."""
    return Plan(implementation, "uvloop", child="tests.peers.child", expected=expectations.expects)
