"""Shared by all Python tests: says which implementation of asyncio this run is about, and lets Ctrl-C through."""

from __future__ import annotations

import signal

import pytest

from .implementation import IMPLEMENTATION


def pytest_configure() -> None:
    """Undo what shells do to background jobs: programs that the tests start, and interrupt, would ignore Ctrl-C too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> str:
    """Say it when the tests do not run on Tulipa."""
    suffix = "" if IMPLEMENTATION == "tulipa" else " (the calibration)"
    return f"asyncio implementation: {IMPLEMENTATION}{suffix}"
