"""Which tests are expected to fail, and the verdict on a run.

One list per mode, `expected/MODE.toml`, and one for uvloop's suite, of entries like

    [[failure]]
    tests = ["test_events.*.test_internal_fds"]
    category = "internals"              # or "uvloop only", or "not built yet: sendfile"
    reason = "counts the file descriptors of the stock loop's self-pipe"
    since = "3.12"                      # optional, as is `until`; both inclusive
    races = true                        # optional: the test itself returns early when a peer is fast

The list can only shrink: a run fails on a failure that no entry names, and on an entry whose tests all ran and passed.
Of an entry that races only the names are checked.
"""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .runner import ModuleRun

FOLDER = Path(__file__).with_name("expected")
INTERNALS = "internals"
UVLOOP_ONLY = "uvloop only"
NOT_BUILT = "not built yet: "
GOOD = ("pass", "skip")


@dataclass(frozen=True)
class Entry:
    """One expected failure, or several of one cause."""

    patterns: tuple[str, ...]
    category: str
    reason: str
    since: tuple[int, ...] = (3, 0)
    until: tuple[int, ...] = (3, 999)
    races: bool = False

    @classmethod
    def parse(cls, table: dict[str, Any]) -> Entry:
        """Read one table; a typing error in the file must not become a silent permission to fail."""
        unknown = set(table) - {"tests", "category", "reason", "since", "until", "races"}
        category, reason = table["category"], table["reason"]
        known = category in (INTERNALS, UVLOOP_ONLY) or category.removeprefix(NOT_BUILT) != category
        if unknown or not reason or not known:
            raise ValueError(f"bad entry: {table}")
        bounds = {name: _version(table[name]) for name in ("since", "until") if name in table}
        return cls(tuple(table["tests"]), category, reason, races=table.get("races", False), **bounds)

    def applies(self, version: tuple[int, ...]) -> bool:
        """Whether the entry is meant for this Python."""
        return self.since <= version <= self.until

    def matches(self, test: str) -> bool:
        """Whether the entry names this test."""
        return any(fnmatchcase(test, pattern) for pattern in self.patterns)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


class Expectations:
    """The entries that hold for one mode on one Python."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    @classmethod
    def load(cls, mode: str, version: tuple[int, ...] = sys.version_info[:2]) -> Expectations:
        """Read the list of `mode`."""
        return cls.read(FOLDER / f"{mode}.toml", version)

    @classmethod
    def read(cls, path: Path, version: tuple[int, ...] = sys.version_info[:2]) -> Expectations:
        """Read a list."""
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("failure", [])
        entries = [Entry.parse(table) for table in tables]
        return cls([entry for entry in entries if entry.applies(version)])

    @classmethod
    def none(cls) -> Expectations:
        """For the calibration: the stock classes must pass everything."""
        return cls([])

    def entry_for(self, test: str) -> Entry | None:
        """The first entry that names `test`."""
        return next((entry for entry in self.entries if entry.matches(test)), None)

    def expects(self, test: str) -> bool:
        """Whether `test` is expected to fail."""
        return self.entry_for(test) is not None

    def unexpected(self, run: ModuleRun) -> list[str]:
        """The tests that failed though no entry names them."""
        return [
            test
            for test, outcome in run.outcomes.items()
            if outcome.status not in GOOD and self.entry_for(test) is None
        ]

    def stale(self, runs: list[ModuleRun]) -> list[str]:
        """The patterns that name only tests which pass, or none at all, in modules that ran whole."""
        whole = {run.module: run for run in runs if run.complete}
        problems = []
        for entry in self.entries:
            for pattern in entry.patterns:
                run = whole.get(pattern.partition(".")[0])
                if run and not any(
                    (entry.races or outcome.status not in GOOD) and fnmatchcase(test, pattern)
                    for test, outcome in run.outcomes.items()
                ):
                    problems.append(f"{pattern} names no failing test any more ({entry.reason})")
        return problems
