"""Runs the modules that a command names and prints what came of them: a table, then everything that is wrong.

Shared by the commands of the suites that others wrote (`tests.stdlib`, `tests.peers`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .expectations import GOOD, Expectations
from .runner import ModuleRun, Outcome, Plan, run_module

COLUMNS = ("pass", "skip", "expected", "unexpected")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that these commands share."""
    parser.add_argument("modules", nargs="*", help="test modules, such as test_base (default: all of them)")
    parser.add_argument("-k", dest="keyword", default="", help="run only tests whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="modules run at once")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds without news that mean a hang")
    parser.add_argument("--json", type=Path, help="write the results here, for tests.stdlib.report")
    parser.add_argument("--list", action="store_true", help="name the tests, run none")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="a line per test, tracebacks of failures"
    )


def execute(
    options: argparse.Namespace, modules: Sequence[str], plan: Plan, expectations: Expectations
) -> int:
    """Run, print, write the result file; the exit code."""
    runs = run_all(modules, plan, expectations, options.jobs)
    if options.list:
        return 0
    if options.json:
        options.json.write_text(json.dumps(as_json(plan, expectations, runs), indent=1), encoding="utf-8")
    return verdict(runs, expectations, verbose=options.verbose)


def run_all(modules: Sequence[str], plan: Plan, expectations: Expectations, jobs: int) -> list[ModuleRun]:
    """Run the modules, printing a line for each as it ends."""
    print(f"{plan.implementation}, mode {plan.mode}, Python {platform.python_version()}")
    print(
        f"{'module':26}{'tests':>7}"
        + "".join(f"{name:>12}" for name in COLUMNS)
        + f"{'loops':>8}{'seconds':>9}"
    )
    runs = []
    with ThreadPoolExecutor(jobs) as pool:
        for run in pool.map(lambda module: run_module(module, plan), modules):
            runs.append(run)
            print("\n".join(run.tests) if plan.list_only else row(run, expectations), flush=True)
    return runs


def tally(run: ModuleRun, expectations: Expectations) -> Counter[str]:
    """How many tests of a module fell into each column."""
    unexpected = set(expectations.unexpected(run))

    def column(test: str, outcome: Outcome) -> str:
        if outcome.status in GOOD:
            return outcome.status
        return "unexpected" if test in unexpected else "expected"

    return Counter(column(test, outcome) for test, outcome in run.outcomes.items())


def row(run: ModuleRun, expectations: Expectations) -> str:
    """One line of the table."""
    counts = tally(run, expectations)
    cells = "".join(f"{counts[name]:>12}" for name in COLUMNS)
    return f"{run.module:26}{len(run.tests):>7}{cells}{run.loops:>8}{run.seconds:>9.1f}"


def as_json(plan: Plan, expectations: Expectations, runs: list[ModuleRun]) -> dict[str, Any]:
    """The result file: what was run, what came of it, what had been expected and why."""
    expected = {
        test: {"category": entry.category, "reason": entry.reason}
        for run in runs
        for test, outcome in run.outcomes.items()
        if outcome.status not in GOOD and (entry := expectations.entry_for(test))
    }
    return {
        "implementation": plan.implementation,
        "mode": plan.mode,
        "python": platform.python_version(),
        "modules": [run.as_json() for run in runs],
        "expected": expected,
    }


def verdict(runs: list[ModuleRun], expectations: Expectations, *, verbose: bool = False) -> int:
    """Print the total and what is wrong; the exit code."""
    total: Counter[str] = Counter()
    for run in runs:
        total += tally(run, expectations)
    print(
        f"{'total':26}{sum(len(run.tests) for run in runs):>7}"
        + "".join(f"{total[name]:>12}" for name in COLUMNS)
    )
    for run in runs:
        for test in expectations.unexpected(run):
            outcome = run.outcomes[test]
            lines = outcome.message.strip().splitlines() or [""]
            print(f"UNEXPECTED {outcome.status} {test}: {outcome.message if verbose else lines[-1]}")
        if absent := set(run.tests) - set(run.outcomes):
            print(f"NOT RUN {run.module}: {len(absent)} tests, such as {min(absent)}")
    stale = expectations.stale(runs)
    for problem in stale:
        print(f"STALE {problem}")
    return 1 if total["unexpected"] or stale or any(set(run.tests) - set(run.outcomes) for run in runs) else 0


def complaints(run: ModuleRun, expectations: Expectations) -> list[str]:
    """All that is wrong with one module's run, for pytest."""
    found = [
        f"{run.outcomes[test].status} {test}\n{run.outcomes[test].message}"
        for test in expectations.unexpected(run)
    ]
    found += [f"not run: {test}" for test in run.tests if test not in run.outcomes]
    return found + [f"stale: {problem}" for problem in expectations.stale([run])]
