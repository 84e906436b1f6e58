"""Shared by all Python tests: says which implementation of asyncio this run is about."""

from __future__ import annotations

import pytest

from .implementation import IMPLEMENTATION


def pytest_report_header(config: pytest.Config) -> str:
    """Say it when the tests do not run on Tulipa."""
    suffix = "" if IMPLEMENTATION == "tulipa" else " (the calibration)"
    return f"asyncio implementation: {IMPLEMENTATION}{suffix}"
