"""Starts a program under the implementation tested, talks with it over its output, and ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..implementation import IMPLEMENTATION

PROGRAMS = Path(__file__).with_name("programs")
LAUNCHER = [sys.executable, "-m", "tulipa", "run"] if IMPLEMENTATION == "tulipa" else [sys.executable]
LOOP = "tulipa" if IMPLEMENTATION == "tulipa" else "asyncio"
"""The package that the programs' loop must come from."""

LIFETIME = 120.0
"""Seconds after which a program is killed whatever it does; the slowest takes a few."""

READY = r"https?://127\.0\.0\.1:(\d+)"
"""How servers say that they listen, and where."""


class Program:
    """A running program; as a context manager it does not outlive the test."""

    def __init__(
        self, *arguments: str | Path, launcher: list[str] | None = None, user: str | None = None
    ) -> None:
        self.output: list[str] = []
        self._process = subprocess.Popen(
            [*(LAUNCHER if launcher is None else launcher), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROGRAMS if user is None else "/",
            user=user,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._watchdog = threading.Timer(LIFETIME, self._process.kill)
        self._watchdog.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._watchdog.cancel()
        self._stdout.close()
        if error is not None:
            error.add_note("the program's output:\n" + "".join(self.output))

    @property
    def _stdout(self) -> IO[str]:
        stdout = self._process.stdout
        assert stdout is not None, "Popen was asked for a pipe"
        return stdout

    def wait_for(self, pattern: str) -> str:
        """Read output up to a line that matches; its first group, or all that matched."""
        for line in self._stdout:
            self.output.append(line)
            if found := re.search(pattern, line):
                return found[1] if found.re.groups else found[0]
        raise AssertionError(f"the program ended without saying {pattern!r}")

    def port(self) -> int:
        """Wait until the server listens."""
        return int(self.wait_for(READY))

    def finish(self) -> int:
        """Wait for its end; the exit code."""
        self.output += self._stdout
        return self._process.wait()

    def interrupt(self) -> int:
        """Press Ctrl-C and wait for its end; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    def text(self) -> str:
        """All it has said so far."""
        return "".join(self.output)


def report(program: str, *arguments: str | Path, launcher: list[str] | None = None) -> dict[str, Any]:
    """Run a program of this folder to its end; the line of JSON that it prints."""
    with Program(PROGRAMS / program, *arguments, launcher=launcher) as running:
        assert running.finish() == 0, running.text()
        lines = [line for line in running.text().splitlines() if line.startswith("{")]
        assert len(lines) == 1, running.text()
    seen: dict[str, Any] = json.loads(lines[0])
    return seen


def same_on_both_loops(program: str, *arguments: str | Path) -> dict[str, Any]:
    """Run a program on the loop tested and on asyncio's; what both report, but for the loop."""
    tested, stock = report(program, *arguments), report(program, *arguments, launcher=[sys.executable])
    assert (tested.pop("loop").partition(".")[0], stock.pop("loop").partition(".")[0]) == (LOOP, "asyncio")
    assert tested == stock
    return tested
