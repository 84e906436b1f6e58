"""`python -m tests.stdlib`: CPython's asyncio tests against Tulipa. Exits with 1 when the verdict is bad."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from .catalogue import MODES, modules_for, suite_is_installed
from .expectations import Expectations
from .implementations import IMPLEMENTATIONS
from .results import add_options, execute
from .runner import Plan


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.stdlib", description=__doc__)
    add_options(parser)
    parser.add_argument("--mode", choices=MODES, default="loop")
    parser.add_argument(
        "--impl", choices=sorted(IMPLEMENTATIONS), default="tulipa", help="stdlib: the calibration"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run, print the table, judge."""
    options = parse(arguments)
    if not suite_is_installed():
        sys.exit("this Python was installed without its test suite (on Debian: libpython3.X-testsuite)")
    known = modules_for(options.mode)
    if missing := [name for name in options.modules if name not in known]:
        sys.exit(f"mode {options.mode} has no test module {', '.join(missing)} on this Python")
    expectations = Expectations.load(options.mode) if options.impl == "tulipa" else Expectations.none()
    plan = Plan(
        options.impl,
        options.mode,
        keyword=options.keyword,
        list_only=options.list,
        hang_after=options.hang,
        expected=expectations.expects,
    )
    if options.verbose:
        plan = replace(plan, on_outcome=lambda test, outcome: print(f"{outcome.status:6} {test}", flush=True))
    return execute(options, options.modules or known, plan, expectations)


if __name__ == "__main__":
    sys.exit(main())
