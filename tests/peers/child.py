"""The process that runs one module of uvloop's suite; what `tests.stdlib.child` is for CPython's.

Only the classes that uvloop runs on its own loop are run: their siblings test asyncio's.
"""

from __future__ import annotations

import importlib
import os
import sys
import unittest
from typing import Any

from ..stdlib import child
from ..stdlib.replace import LoopReplacement
from .archive import PACKAGE, import_path

IMPLEMENTATION_ATTRIBUTE = "tulipa"
"""What the tests are told they run on, neither `uvloop` nor `asyncio`: a few expect other things of each."""


def collect(implementation: str, mode: str, module_name: str) -> list[unittest.TestCase]:
    """Put the stand-in in uvloop's place, for this process and those it starts, and gather a module's tests."""
    sys.path[:0] = folders = import_path()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH")]))
    os.environ["TULIPA_TEST_IMPL"] = implementation

    import uvloop  # type: ignore[import-not-found]
    from uvloop import _testbase  # type: ignore[import-not-found]

    def new_loop(case: unittest.TestCase) -> Any:
        LoopReplacement.made += 1
        return uvloop.new_event_loop()

    _testbase.UVTestCase.new_loop = new_loop
    _testbase.UVTestCase.implementation = IMPLEMENTATION_ATTRIBUTE
    module = importlib.import_module(f"{PACKAGE}.{module_name}")
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    return [test for test in child.flatten(suite) if not isinstance(test, _testbase.AIOTestCase)]


def main() -> None:
    """See `tests.stdlib.child.main`."""
    child.main(collect, PACKAGE)
