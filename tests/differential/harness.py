"""Runs a case in one process per implementation and compares what the two recorded. Used by the tests of this folder
and by tests/guarantees."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

from ..implementation import IMPLEMENTATION
from .log import fits

ROOT = Path(__file__).resolve().parents[2]
# -I: the process must see the installed package and this checkout, not what the environment adds.
BOOTSTRAP = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.differential.child import main; main()"
)

Recording = dict[str, list[Any]]
"""What a process recorded, by channel, plus its exit code."""


def cases_of(module: ModuleType) -> list[tuple[str, str]]:
    """The cases of one module that fit the running Python, as (module, function)."""
    return [
        (module.__name__, name)
        for name, value in vars(module).items()
        if name.startswith("case_") and fits(value)
    ]


def all_cases(package: ModuleType) -> Iterator[tuple[str, str]]:
    """The cases of every module of a package."""
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield from cases_of(importlib.import_module(info.name))


def compare(module: str, function: str, folder: Path) -> Recording:
    """Run one case on stock asyncio and on Tulipa, assert that they recorded the same, return it."""
    runs = [
        _Run(number, name, module, function, folder) for number, name in enumerate(["stdlib", IMPLEMENTATION])
    ]
    expected, actual = (run.recording() for run in runs)
    stderr = actual.pop("stderr")
    assert expected["exit"] == [0], f"the case itself fails, on stock asyncio: {expected['stderr']}"
    expected.pop("stderr")
    _forgive_leaks(expected, actual)
    differences = [
        difference
        for channel in sorted(expected.keys() | actual.keys())
        for difference in _differences(channel, expected.get(channel, []), actual.get(channel, []))
    ]
    assert not differences, "\n".join([*differences, *stderr])
    return expected


def _forgive_leaks(expected: Recording, actual: Recording) -> None:
    """Stock asyncio leaves a socket to the collector after some errors; not doing so is no difference, doing it is."""
    said = actual.get("aside", [])
    expected["aside"] = [
        event
        for event in expected.get("aside", [])
        if event in said or event[1:2] != ["ResourceWarning"] or "unclosed <socket" not in event[2]
    ]


def _differences(channel: str, expected: list[Any], actual: list[Any]) -> Iterator[str]:
    """Where two channels part: the first event that differs, and what was recorded in its place."""
    for number, (left, right) in enumerate(zip_longest(expected, actual, fillvalue="nothing more")):
        if left != right:
            yield f"{channel}, event {number}:\n  asyncio: {left}\n  {IMPLEMENTATION}: {right}"
            return


class _Run:
    """One process, started at once so that the two run side by side."""

    def __init__(self, number: int, implementation: str, module: str, function: str, folder: Path) -> None:
        self._path = folder / f"{number}-{implementation}.jsonl"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOTSTRAP, implementation, module, function, str(self._path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def recording(self) -> Recording:
        """Wait for the end (the child limits its own time) and read the log."""
        _, stderr = self._process.communicate()
        recording: Recording = {"main": [], "exit": [self._process.returncode], "stderr": [stderr[-4000:]]}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in lines:
            channel, *event = json.loads(line)
            recording.setdefault(channel, []).append(event)
        # Said when the collector comes by, so in no particular order.
        recording.get("aside", []).sort(key=repr)
        return recording
