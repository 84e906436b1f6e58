"""`python -m tests.peers`: uvloop's tests against Tulipa. Exits with 1 when the verdict is bad."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from ..stdlib.results import add_options, execute
from .suite import MODULES, expectations_for, plan_for


def main(arguments: list[str] | None = None) -> int:
    """Run, print the table, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--impl", choices=("stdlib", "tulipa"), default="tulipa", help="stdlib: the calibration"
    )
    options = parser.parse_args(arguments)
    if missing := [name for name in options.modules if name not in MODULES]:
        sys.exit(f"there is no test module {', '.join(missing)}")
    expectations = expectations_for(options.impl)
    plan = replace(
        plan_for(options.impl, expectations),
        keyword=options.keyword,
        list_only=options.list,
        hang_after=options.hang,
    )
    if options.verbose:
        plan = replace(plan, on_outcome=lambda test, outcome: print(f"{outcome.status:6} {test}", flush=True))
    return execute(options, options.modules or MODULES, plan, expectations)


if __name__ == "__main__":
    sys.exit(main())
