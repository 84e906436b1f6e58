"""`python -m tests.stdlib`: CPython's asyncio tests against Tulipa. Exits with 1 when the verdict is bad."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from .catalogue import MODES, has_module, modules_for, suite_is_installed
from .expectations import GOOD, Expectations
from .implementations import IMPLEMENTATIONS
from .runner import ModuleRun, Outcome, Plan, run_module

COLUMNS = ("pass", "skip", "expected", "unexpected")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.stdlib", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", help="test modules, such as test_tasks (default: what the mode runs)"
    )
    parser.add_argument("-k", dest="keyword", default="", help="run only tests whose name contains this")
    parser.add_argument("--mode", choices=MODES, default="loop")
    parser.add_argument(
        "--impl", choices=sorted(IMPLEMENTATIONS), default="tulipa", help="stdlib: the calibration"
    )
    parser.add_argument("--all", action="store_true", help="also the modules of what is not built yet")
    parser.add_argument("--jobs", type=int, default=1, help="modules run at once")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds without news that mean a hang")
    parser.add_argument("--json", type=Path, help="write the results here, for tests.stdlib.report")
    parser.add_argument("--list", action="store_true", help="name the tests, run none")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="a line per test, tracebacks of failures"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, print the table, judge."""
    options = parse(arguments)
    if not suite_is_installed():
        sys.exit("this Python was installed without its test suite (on Debian: libpython3.X-testsuite)")
    modules = options.modules or modules_for(options.mode, everything=options.all)
    if missing := [name for name in modules if not has_module(name)]:
        sys.exit(f"this Python has no test module {', '.join(missing)}")
    expectations = Expectations.load(options.mode) if options.impl == "tulipa" else Expectations.none()
    plan = Plan(
        options.impl,
        options.mode,
        keyword=options.keyword,
        list_only=options.list,
        hang_after=options.hang,
        expected=lambda test: expectations.entry_for(test) is not None,
    )
    if options.verbose:
        plan = replace(plan, on_outcome=lambda test, outcome: print(f"{outcome.status:6} {test}", flush=True))
    runs = run_all(modules, plan, expectations, options.jobs)
    if options.list:
        return 0
    if options.json:
        options.json.write_text(json.dumps(as_json(plan, expectations, runs), indent=1), encoding="utf-8")
    return verdict(runs, expectations, verbose=options.verbose)


def run_all(modules: list[str], plan: Plan, expectations: Expectations, jobs: int) -> list[ModuleRun]:
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


if __name__ == "__main__":
    sys.exit(main())
