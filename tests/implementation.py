"""Which implementation of asyncio the tests in this folder run, and how a test's child process gets at it.

It is Tulipa unless `TULIPA_TEST_IMPL=stdlib` asks for the stock classes. That is the calibration: a test that compares
the two, or expects something of asyncio, must pass on stock asyncio first.
"""

from __future__ import annotations

import os
from typing import Final

IMPLEMENTATION: Final = os.environ.get("TULIPA_TEST_IMPL", "tulipa")
if IMPLEMENTATION not in ("tulipa", "stdlib"):
    raise ValueError(f"TULIPA_TEST_IMPL is {IMPLEMENTATION!r}, neither 'tulipa' nor 'stdlib'")
