"""The suite under pytest: one test per module and mode, judged by the same lists as the command.

`TULIPA_TEST_IMPL=stdlib` runs the calibration instead: stock classes through the same machinery, no failure expected.
"""

from __future__ import annotations

import pytest

from ..implementation import IMPLEMENTATION
from .catalogue import MODES, modules_for, suite_is_installed
from .expectations import Expectations
from .runner import Plan, run_module

pytestmark = pytest.mark.skipif(
    not suite_is_installed(), reason="this Python was packaged without its test suite, test.test_asyncio"
)


@pytest.mark.parametrize(
    ("mode", "module"), [(mode, module) for mode in MODES for module in modules_for(mode)]
)
def test_cpython_suite(mode: str, module: str) -> None:
    expectations = Expectations.load(mode) if IMPLEMENTATION == "tulipa" else Expectations.none()
    plan = Plan(IMPLEMENTATION, mode, expected=lambda test: expectations.entry_for(test) is not None)
    run = run_module(module, plan)
    assert run.tests, f"{module} has no tests"
    complaints = [
        f"{run.outcomes[test].status} {test}\n{run.outcomes[test].message}"
        for test in expectations.unexpected(run)
    ]
    complaints += [f"not run: {test}" for test in run.tests if test not in run.outcomes]
    complaints += [f"stale: {problem}" for problem in expectations.stale([run])]
    assert not complaints, "\n".join(complaints)
