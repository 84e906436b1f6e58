"""`python -m tests.stdlib.report RESULT.json ...`: writes docs/conformance.md from the runner's result files.

Every number on that page comes from here; it is never edited by hand. Runs of other implementations than Tulipa, or of
chosen tests only, are refused: the page would claim what was not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .catalogue import MODES
from .expectations import GOOD, INTERNALS, NOT_BUILT, UVLOOP_ONLY
from .runner import ROOT

PAGE = ROOT / "docs" / "conformance.md"
KINDS = ("passed", "skipped", INTERNALS, UVLOOP_ONLY, "not built yet", "unexpected")
SUITES = (*MODES, "uvloop")

INTRODUCTION = """\
# Conformance

CPython tests asyncio with its own suite, `test.test_asyncio`. Tulipa runs that suite, as each Python ships it, in
four modes: with Tulipa's loop in place of asyncio's (`loop`); with the native Task and Future in place of the C ones
that the suite tests by name, mixed with C and Python ones (`inject`); with asyncio's names swapped as
`tulipa.install()` does (`global`); and with the native locks, queues, streams and sleep as well (`toolbox`). uvloop tests
its own loop and asyncio's with one suite; it is run with Tulipa in uvloop's place (`uvloop`). This page is generated
by `python -m tests.stdlib.report` from the runs' results.

A test of category *internals* asserts how the stock loop is written (its private attributes, or mocks put in the place
of its collaborators), and one of *uvloop only* what uvloop does on purpose unlike asyncio, or how it is written: they
say nothing of another loop. *Not built yet* names a feature that is still to come.
"""


@dataclass(frozen=True)
class Result:
    """One result file."""

    python: tuple[int, ...]
    mode: str
    tests: dict[str, str]
    """The kind of each test."""
    reasons: dict[str, tuple[str, str]]
    """Category and reason of each test that failed as expected."""

    @property
    def version(self) -> str:
        return ".".join(map(str, self.python))


def read(path: Path) -> Result:
    """Read a result file and sort its tests into kinds."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["implementation"] != "tulipa" or not all(module["complete"] for module in data["modules"]):
        sys.exit(f"{path}: not a whole run of tulipa")
    reasons = {test: (entry["category"], entry["reason"]) for test, entry in data["expected"].items()}
    tests = {
        test: _kind(outcome["status"], reasons.get(test))
        for module in data["modules"]
        for test, outcome in module["outcomes"].items()
    }
    # 3.15.0rc1 and the like keep their numbers only: the page compares releases.
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in data["python"].split(".")[:3])
    return Result(numbers, data["mode"], tests, reasons)


def _kind(status: str, reason: tuple[str, str] | None) -> str:
    if status in GOOD:
        return "passed" if status == "pass" else "skipped"
    if reason is None:
        return "unexpected"
    return "not built yet" if reason[0].startswith(NOT_BUILT) else reason[0]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """A Markdown table: the first column to the left, numbers to the right."""
    titles = list(head)
    yield "| " + " | ".join(titles) + " |"
    yield "| --- |" + " ---: |" * (len(titles) - 1)
    for cells in rows:
        yield "| " + " | ".join(map(str, cells)) + " |"


def summary(results: list[Result]) -> Iterator[str]:
    """One line per Python and mode."""
    yield "## In all\n"
    rows = []
    for result in results:
        counts = Counter(result.tests.values())
        rows.append([result.version, result.mode, len(result.tests), *(counts[kind] for kind in KINDS)])
    yield from table(["Python", "mode", "tests", *KINDS], rows)


def by_module(results: list[Result], mode: str) -> Iterator[str]:
    """Passed of counted, per module and Python; skipped tests are not counted."""
    mine = [result for result in results if result.mode == mode]
    yield f"\n## Mode `{mode}`: passed of those that ran\n"
    modules = sorted({test.partition(".")[0] for result in mine for test in result.tests})
    rows = [[f"`{module}`", *(_score(result, module) for result in mine)] for module in modules]
    yield from table(["module", *(result.version for result in mine)], rows)


def _score(result: Result, module: str) -> str:
    kinds = [
        kind for test, kind in result.tests.items() if test.partition(".")[0] == module and kind != "skipped"
    ]
    return f"{kinds.count('passed')} / {len(kinds)}" if kinds else ""


def expected_failures(results: list[Result]) -> Iterator[str]:
    """Why tests fail, with how many in each Python and mode."""
    causes: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = {}
    for result in results:
        for cause in result.reasons.values():
            causes[cause] += 1
            where.setdefault(cause, set()).add(f"{result.version} {result.mode}")
    for title in (INTERNALS, UVLOOP_ONLY, NOT_BUILT.rstrip(": ")):
        chosen = [(cause, count) for cause, count in causes.most_common() if cause[0].startswith(title)]
        yield f"\n## Expected to fail: {title}\n"
        if not chosen:
            yield "None."
            continue
        rows = [[_cause(cause), count, len(where[cause])] for cause, count in chosen]
        yield from table(["reason", "failures", "in runs"], rows)


def _cause(cause: tuple[str, str]) -> str:
    category, reason = cause
    return reason if category in (INTERNALS, UVLOOP_ONLY) else f"{category.removeprefix(NOT_BUILT)}: {reason}"


def page(results: list[Result]) -> str:
    """The whole page."""
    results = sorted(results, key=lambda result: (result.python, SUITES.index(result.mode)))
    lines = [INTRODUCTION, *summary(results)]
    for mode in SUITES:
        if any(result.mode == mode for result in results):
            lines += by_module(results, mode)
    lines += expected_failures(results)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or with `--output -` print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.stdlib.report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    text = page([read(path) for path in options.results])
    if str(options.output) == "-":
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
