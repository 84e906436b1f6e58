"""Measures one cell from outside: starts its process, drives it if it is a server, and never waits for ever.

Called by `harness` only. It knows no event loop; `cell` is where a loop runs.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks import servers
from benchmarks.model import Client, Failed, Figures, Held, Micro, Row, Served, Waiting

ROOT = Path(__file__).resolve().parent.parent
FLOOR = "floor"
"""Named like a loop: the echo server of the load generator."""
SILENT_SERVER = 3
"""The load generator's exit code when the server hangs."""
START = 20.0
"""Seconds in which a server must listen, a load must connect, a micro row must be done."""


@dataclass(frozen=True)
class Settings:
    """What all cells of a run share."""

    load: Path
    """The load generator."""
    seconds: float
    """How long a server or a client is measured."""
    repeat: float
    """How long one repeat of a micro row should take."""
    server_core: int | None
    load_core: int | None


@contextmanager
def opposite(row: Row, settings: Settings) -> Iterator[int | None]:
    """What all cells of a row talk to: the port of its server, for rows that need one."""
    if isinstance(row, Client):
        with servers.running(row.server, settings.load, settings.load_core) as port:
            yield port
    else:
        yield None


def measure(row: Row, loop: str, settings: Settings, port: int | None) -> Figures:
    """One cell, once, with what `opposite` gave. Raises `Failed` when it gives no figures."""
    if isinstance(row, Micro | Waiting):
        return measure_micro(row, loop, settings)
    if isinstance(row, Served):
        return measure_served(row, loop, settings)
    if isinstance(row, Held):
        return measure_held(row, loop, settings)
    if isinstance(row, Client):
        return measure_client(row, loop, settings, port)
    raise TypeError(f"unknown kind of row: {row!r}")


def measure_micro(row: Row, loop: str, settings: Settings) -> Figures:
    """The cell times itself. Its process may use all cores: some loops have threads of their own."""
    with started(cell(row, loop, settings), None) as process:
        result = process.answer(START)
        process.ended(START)
        return Figures(result["value"])


def measure_served(row: Served, loop: str, settings: Settings) -> Figures:
    """The load generator measures, and reads the server's CPU time over exactly the same stretch."""
    with server(row, loop, settings) as (pid, port):
        timing = ("--seconds", str(settings.seconds), "--server-pid", str(pid))
        with started(load(settings, port, *row.load, *timing), settings.load_core) as process:
            result = process.answer(START + settings.seconds)
    messages, seconds = result["messages"], result["seconds"]
    if not messages:
        raise Failed("hang")
    return Figures(
        messages / result["server_cpu_seconds"],
        {
            "per_second": messages / seconds,
            "p50_us": result["p50_us"],
            "p99_us": result["p99_us"],
            "max_us": result["max_us"],
            "busy": result["server_cpu_seconds"] / seconds,
            "load_busy": result["load_cpu_seconds"] / seconds,
        },
    )


def measure_held(row: Held, loop: str, settings: Settings) -> Figures:
    """Resident memory before and after many connections. A few come first: one-time costs do not count."""
    with server(row, loop, settings) as (pid, port):
        hold = load(settings, port, "connections", *row.load, "--count")
        with started([*hold, "10"], settings.load_core) as few:
            few.answer(START)
            before = resident(pid)
            with started([*hold, str(row.connections)], settings.load_core) as many:
                seconds = many.answer(START)["seconds"]
                after = resident(pid)
    return Figures((after - before) / row.connections, {"open_us": seconds / row.connections * 1e6})


def measure_client(row: Client, loop: str, settings: Settings, port: int | None) -> Figures:
    """The cell measures itself, on the core where other rows have their server."""
    with started([*cell(row, loop, settings), str(port)], settings.server_core) as process:
        result = process.answer(START + settings.seconds)
        process.ended(START)
    operations, seconds = result["operations"], result["seconds"]
    if not operations:
        raise Failed("hang")
    return Figures(
        operations / result["cpu_seconds"],
        {
            "per_second": operations / seconds,
            "p50_us": result["p50_us"],
            "p99_us": result["p99_us"],
            "busy": result["cpu_seconds"] / seconds,
        },
    )


def resident(pid: int) -> int:
    """Bytes of resident memory, exactly (`statm` may lag by some pages a thread)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise Failed("the kernel does not tell the resident memory")


@contextmanager
def server(row: Row, loop: str, settings: Settings) -> Iterator[tuple[int, int | str]]:
    """A server process that listens: its process id and its port."""
    command = [str(settings.load), FLOOR] if loop == FLOOR else cell(row, loop, settings)
    with started(command, settings.server_core) as process:
        port = process.answer(START)["port"]
        try:
            yield process.popen.pid, port
        finally:
            # The server is killed, and leaves its socket behind.
            if isinstance(port, str):
                Path(port).unlink(missing_ok=True)


def cell(row: Row, loop: str, settings: Settings) -> list[str]:
    """The command of a cell, which gets longer to live than it is waited for here."""
    limit = int(3 * START + settings.seconds)
    target = settings.seconds if isinstance(row, Client) else settings.repeat
    return [sys.executable, "-m", "benchmarks.cell", row.name, loop, str(limit), str(target)]


def load(settings: Settings, port: int | str, command: str, *arguments: str) -> list[str]:
    """A command of the load generator against a port, or the path of a Unix socket."""
    place = "--port" if isinstance(port, int) else "--unix"
    return [str(settings.load), command, place, str(port), *arguments]


@dataclass(frozen=True)
class Process:
    """A child that answers with one line of JSON."""

    popen: subprocess.Popen[str]
    errors: IO[str]

    def answer(self, timeout: float) -> dict[str, Any]:
        """Its line. `Failed` with 'hang' if it does not come in time, with its last words if it died."""
        output = self.popen.stdout
        assert output is not None
        if not select.select([output], [], [], timeout)[0]:
            raise Failed("hang")
        line = output.readline()
        if not line:
            self.ended(timeout)
            raise Failed("ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ended(self, timeout: float) -> None:
        """Waits for its end, which must be a good one."""
        try:
            code = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed("hang at exit") from None
        if code == SILENT_SERVER:
            raise Failed("hang")
        if code != 0:
            self.errors.seek(0)
            words = [line.strip() for line in self.errors if line.strip()]
            raise Failed(words[-1] if words else f"exit code {code}")


@contextmanager
def started(command: Sequence[str], core: int | None) -> Iterator[Process]:
    """A child process, on one core if so wanted, that is killed and reaped at the end."""
    with tempfile.TemporaryFile("w+") as errors:
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=errors, text=True) as popen:
            try:
                if core is not None:
                    os.sched_setaffinity(popen.pid, {core})
                yield Process(popen, errors)
            finally:
                popen.kill()
