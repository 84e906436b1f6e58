"""The suite under pytest: one test per module and mode, judged by the same lists as the command.

`TULIPA_TEST_IMPL=stdlib` runs the calibration instead: stock classes through the same machinery, no failure expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..implementation import IMPLEMENTATION
from .background import module_runs
from .catalogue import MODES, modules_for, suite_is_installed
from .expectations import Expectations
from .results import complaints
from .runner import ModuleRun, Plan

Key = tuple[str, str]

pytestmark = pytest.mark.skipif(
    not suite_is_installed(), reason="this Python was packaged without its test suite, test.test_asyncio"
)


def expectations_for(mode: str) -> Expectations:
    return Expectations.load(mode) if IMPLEMENTATION == "tulipa" else Expectations.none()


@pytest.fixture(scope="module")
def run_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Key], ModuleRun]]:
    def job(key: Key) -> tuple[str, Plan]:
        mode, module = key
        return module, Plan(IMPLEMENTATION, mode, expected=expectations_for(mode).expects)

    chosen = [item.callspec.params for item in request.session.items if item.module is request.module]
    with module_runs([(params["mode"], params["module"]) for params in chosen], job) as run_of:
        yield run_of


@pytest.mark.parametrize(
    ("mode", "module"), [(mode, module) for mode in MODES for module in modules_for(mode)]
)
def test_cpython_suite(run_of: Callable[[Key], ModuleRun], mode: str, module: str) -> None:
    run = run_of((mode, module))
    assert run.outcomes, f"{module} has no tests"
    wrong = complaints(run, expectations_for(mode))
    assert not wrong, "\n".join(wrong)
