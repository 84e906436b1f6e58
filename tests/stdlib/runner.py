"""Runs modules of a suite, each in a process of its own, and survives what the tests do to it.

A test that hangs or kills its process is recorded as such and the module is started again past it, so that one fault
costs one test. Called by `results`, for the commands, and by `background`, for pytest; `expectations` judges.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# The child is not given the checkout through PYTHONPATH or its working directory: both reach the processes that the
# tests start, and tests leave files behind in the working directory.
BOOTSTRAP = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from %s import main; main()"
STDERR_LIMIT = 4000


@dataclass
class Outcome:
    """What became of one test: pass, skip, fail, error, hang or crash."""

    status: str
    seconds: float = 0.0
    message: str = ""


@dataclass
class ModuleRun:
    """What became of one module."""

    module: str
    tests: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    loops: int = 0
    seconds: float = 0.0
    complete: bool = True
    """False when a keyword chose among the tests."""

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """How to run: shared by all modules of one command."""

    implementation: str
    mode: str
    child: str = "tests.stdlib.child"
    """The module whose `main` runs one test module."""
    keyword: str = ""
    list_only: bool = False
    hang_after: float = 60.0
    """Seconds without news after which a test counts as hanging; CPython's slowest tests take about ten."""
    hang_after_expected: float = 10.0
    """The same for a test that is expected to fail, as many of those hang."""
    expected: Callable[[str], bool] = lambda test: False
    on_outcome: Callable[[str, Outcome], None] = lambda test, outcome: None


def run_module(module: str, plan: Plan) -> ModuleRun:
    """Run one module to its end, however many processes that takes."""
    run = ModuleRun(module, complete=not plan.keyword)
    started = time.monotonic()
    while True:
        attempt = _Attempt(run, plan)
        before = len(run.outcomes)
        attempt.execute()
        if attempt.finished or len(run.outcomes) == before:
            break
    run.seconds = time.monotonic() - started
    return run


class _Attempt:
    """One process: from its start to its end, natural or not."""

    def __init__(self, run: ModuleRun, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._current: str | None = None
        self._hung = False
        self._loops = 0
        self.finished = False
        """Whether the module needs no other attempt."""

    def execute(self) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="tulipa-stdlib-") as folder,
            tempfile.TemporaryFile() as stderr,
        ):
            readable, writable = os.pipe()
            process = subprocess.Popen(
                self._command(folder, writable),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=folder,
                pass_fds=[writable],
                start_new_session=True,
            )
            os.close(writable)
            try:
                for line in self._lines(process, readable):
                    self._receive(*json.loads(line))
            finally:
                os.close(readable)
                _kill_group(process)
            stderr.seek(0)
            self._conclude(process.wait(), stderr.read()[-STDERR_LIMIT:].decode(errors="replace"))

    def _command(self, folder: str, report_fd: int) -> list[str]:
        plan = self._plan
        done = Path(folder, "done")
        done.write_text("\n".join(self._run.outcomes), encoding="utf-8")
        command = [sys.executable, "-X", "faulthandler", "-c", BOOTSTRAP.replace("%s", plan.child)]
        command += ["--report-fd", str(report_fd)]
        command += [
            "--implementation",
            plan.implementation,
            "--mode",
            plan.mode,
            "--module",
            self._run.module,
        ]
        command += ["--done", str(done), "--keyword", plan.keyword]
        return [*command, "--list"] if plan.list_only else command

    def _lines(self, process: subprocess.Popen[bytes], readable: int) -> Iterator[bytes]:
        """The child's lines, until it ends; kills it when nothing is heard for too long."""
        os.set_blocking(readable, False)
        pending = b""
        exited = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(readable, selectors.EVENT_READ)
                # The pipe's end alone would not do: a process left behind by a test may hold it open.
                selector.register(exited, selectors.EVENT_READ)
                while True:
                    ready = {key.fd for key, _ in selector.select(self._patience())}
                    if not ready:
                        self._hung = True
                        _kill_with_traceback(process)
                        continue
                    with suppress(BlockingIOError):
                        data = os.read(readable, 1 << 20)
                        if not data and readable in ready:
                            selector.unregister(readable)  # all is said, and now it has to end
                        pending += data
                    *lines, pending = pending.split(b"\n")
                    yield from lines
                    if exited in ready:
                        return
        finally:
            os.close(exited)

    def _patience(self) -> float:
        expected = self._current is not None and self._plan.expected(self._current)
        return self._plan.hang_after_expected if expected else self._plan.hang_after

    def _receive(self, kind: str, *details: Any) -> None:
        if kind == "tests":
            self._run.tests = details[0]
        elif kind == "start":
            self._current = details[0]
        elif kind == "end":
            self._current = None
            test, status, seconds, message = details
            self._record(test, Outcome(status, round(seconds, 3), message))
        elif kind == "loops":
            self._run.loops += details[0] - self._loops
            self._loops = details[0]
        elif kind == "done":
            self.finished = True

    def _record(self, test: str, outcome: Outcome) -> None:
        self._run.outcomes[test] = outcome
        self._plan.on_outcome(test, outcome)

    def _conclude(self, code: int, stderr: str) -> None:
        """Blame the process's end on the test it was in, or on the module when it was in none."""
        message = f"exit code {code}\n{stderr}"
        status = "hang" if self._hung else "crash"
        if self._current is not None:
            self._record(self._current, Outcome(status, 0.0, message))
        elif not self._run.tests and not self.finished:
            self._record(self._run.module, Outcome("hang" if self._hung else "error", 0.0, message))
            self.finished = True
        elif code != 0:
            where = "at exit" if self.finished else f"after {list(self._run.outcomes)[-1:]}"
            self._record(f"{self._run.module}.<{where}>", Outcome(status, 0.0, message))


def _kill_with_traceback(process: subprocess.Popen[bytes]) -> None:
    """Ask faulthandler for the stacks of all threads, then make sure."""
    process.send_signal(signal.SIGABRT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever the tests left running; the child leads a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
