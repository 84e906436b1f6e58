"""The runner itself: it must notice hangs, crashes and unexpected results, and never lose the tests after one."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from . import runner
from .expectations import Entry, Expectations
from .runner import ModuleRun, Outcome, Plan, run_module

BAD_CHILD = """
    import argparse, json, os, sys, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--report-fd", type=int)
    parser.add_argument("--done")
    options, _ = parser.parse_known_args()
    done = open(options.done).read().split()
    def send(*message):
        os.write(options.report_fd, json.dumps(message).encode() + b"\\n")
    send("tests", ["m.C.a", "m.C.hangs", "m.C.crashes", "m.C.z"])
    for test in ["m.C.a", "m.C.hangs", "m.C.crashes", "m.C.z"]:
        if test in done:
            continue
        send("start", test)
        if test == "m.C.hangs":
            time.sleep(3600)
        if test == "m.C.crashes":
            os.abort()
        send("end", test, "pass", 0.0, "")
        send("loops", 2)
    send("done")
"""


LINGERING_CHILD = """
    import argparse, json, os, time
    parser = argparse.ArgumentParser()
    parser.add_argument("--report-fd", type=int)
    options, _ = parser.parse_known_args()
    for message in (["tests", ["m.C.a"]], ["start", "m.C.a"], ["end", "m.C.a", "pass", 0.0, ""], ["done"]):
        os.write(options.report_fd, json.dumps(message).encode() + b"\\n")
    os.close(options.report_fd)
    time.sleep(3600)
"""


def entry(*patterns: str, **extra: Any) -> Entry:
    return Entry.parse({"tests": list(patterns), "category": "internals", "reason": "because", **extra})


def module_run(**outcomes: str) -> ModuleRun:
    return ModuleRun("m", outcomes={f"m.C.{test}": Outcome(status) for test, status in outcomes.items()})


def run_child(source: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> ModuleRun:
    script = folder / "child.py"
    script.write_text(textwrap.dedent(source))
    monkeypatch.setattr(runner, "BOOTSTRAP", f"import runpy; runpy.run_path({str(script)!r})")
    return run_module("m", Plan("stdlib", "loop", hang_after=1.0))


def test_a_process_that_does_not_end_is_ended_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_child(LINGERING_CHILD, monkeypatch, tmp_path)
    statuses = {test: outcome.status for test, outcome in run.outcomes.items()}
    assert statuses == {"m.C.a": "pass", "m.<at exit>": "hang"}


def test_a_hang_and_a_crash_cost_one_test_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = run_child(BAD_CHILD, monkeypatch, tmp_path)
    statuses = {test: outcome.status for test, outcome in run.outcomes.items()}
    assert statuses == {"m.C.a": "pass", "m.C.hangs": "hang", "m.C.crashes": "crash", "m.C.z": "pass"}
    assert run.loops == 4


def test_a_module_that_cannot_be_imported_is_a_failure() -> None:
    run = run_module("no_such_module", Plan("stdlib", "loop"))
    assert [outcome.status for outcome in run.outcomes.values()] == ["error"]
    assert "No module named" in run.outcomes["no_such_module"].message


def test_the_stock_classes_are_really_replaced() -> None:
    run = run_module("test_context", Plan("subclass", "global"))
    assert run.loops > 0
    assert {outcome.status for outcome in run.outcomes.values()} == {"pass"}


def test_a_failure_that_no_entry_names_is_unexpected() -> None:
    expectations = Expectations([entry("m.C.known")])
    assert expectations.unexpected(module_run(known="fail", fresh="error", fine="pass")) == ["m.C.fresh"]


def test_an_entry_that_names_only_passing_tests_is_stale() -> None:
    expectations = Expectations([entry("m.C.fixed"), entry("m.C.still*"), entry("other.*")])
    (problem,) = expectations.stale([module_run(fixed="pass", still_bad="hang", still_good="pass")])
    assert problem.startswith("m.C.fixed")


def test_an_entry_that_races_is_stale_only_when_its_tests_are_gone() -> None:
    expectations = Expectations([entry("m.C.fast", races=True), entry("m.C.gone", races=True)])
    (problem,) = expectations.stale([module_run(fast="pass")])
    assert problem.startswith("m.C.gone")


def test_a_partial_run_makes_no_entry_stale() -> None:
    run = module_run(fixed="pass")
    run.complete = False
    assert Expectations([entry("m.C.fixed")]).stale([run]) == []


def test_bounds_are_inclusive() -> None:
    bounded = entry("m.*", since="3.12", until="3.13")
    assert [bounded.applies((3, minor)) for minor in (11, 12, 13, 14)] == [False, True, True, False]


@pytest.mark.parametrize("change", [{"category": "flaky"}, {"reason": ""}, {"sinse": "3.12"}])
def test_a_careless_entry_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="bad entry"):
        entry("m.*", **change)


@pytest.mark.parametrize("mode", ["loop", "inject", "global", "toolbox"])
def test_the_lists_can_be_read(mode: str) -> None:
    assert isinstance(Expectations.load(mode, sys.version_info[:2]), Expectations)
