"""uvloop's suite under pytest: one test per module, judged by the same list as the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ..implementation import IMPLEMENTATION
from ..stdlib.background import module_runs
from ..stdlib.results import complaints
from ..stdlib.runner import ModuleRun, Plan
from .suite import LEFT_OUT, MODULES, expectations_for, fetched_modules, plan_for

EXPECTATIONS = expectations_for("tulipa")

pytestmark = pytest.mark.skipif(
    IMPLEMENTATION != "tulipa", reason="what asyncio makes of these tests is its own affair"
)


@pytest.fixture(scope="module")
def run_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ModuleRun]]:
    def job(module: str) -> tuple[str, Plan]:
        return module, plan_for("tulipa", EXPECTATIONS)

    assert fetched_modules() == set(MODULES) | set(LEFT_OUT)
    chosen = [
        item.callspec.params["module"] for item in request.session.items if item.module is request.module
    ]
    with module_runs(chosen, job) as run_of:
        yield run_of


@pytest.mark.parametrize("module", MODULES)
def test_uvloop_suite(run_of: Callable[[str], ModuleRun], module: str) -> None:
    run = run_of(module)
    assert run.outcomes, f"{module} has no tests"
    wrong = complaints(run, EXPECTATIONS)
    assert not wrong, "\n".join(wrong)
