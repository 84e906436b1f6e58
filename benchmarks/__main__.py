"""The command line: `python -m benchmarks --help`."""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import chart, report
from benchmarks.harness import missing, run
from benchmarks.loops import LOOPS
from benchmarks.measure import FLOOR, ROOT, Settings
from benchmarks.rows import ROWS, select

RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Measures what the arguments ask for; prints the table, writes the files."""
    arguments = parse()
    if arguments.list:
        print("\n".join(f"{row.name:24}{row.title}  [{row.unit.label}]" for row in ROWS.values()))
        return 0
    about = environment(arguments.rounds)
    print(headline(about), file=sys.stderr)
    for name in arguments.loops:
        if reason := missing(name):
            print(f"without {name}: {reason}", file=sys.stderr)
    results: list[tuple[Any, Any]] = []
    try:
        for result in run(arguments.rows, arguments.loops, arguments.rounds, settings(arguments), progress):
            results.append(result)
    except KeyboardInterrupt:
        print("\ninterrupted: only the rows that were finished are reported", file=sys.stderr)
    progress("")
    if not results:
        return 130
    print(report.text(results))
    write(arguments.json, json.dumps(report.as_json(results, about), indent=1) + "\n")
    write(arguments.svg, chart.svg(results, headline(about)))
    return 0


def parse() -> argparse.Namespace:
    """The arguments, with rows and loops resolved and `--quick` applied."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Event loops side by side, in one run.")
    known = [*LOOPS, FLOOR]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument(
        "--rows", default="*", help="names or shell patterns, with commas between (default: all)"
    )
    parser.add_argument("--loops", default=",".join(known), help=f"of {', '.join(known)} (default: all)")
    parser.add_argument("--rounds", type=int, help="how often each cell is measured (default: 5)")
    parser.add_argument("--seconds", type=float, help="how long a server is measured each time (default: 2)")
    parser.add_argument("--quick", action="store_true", help="a look: 2 rounds of a quarter of the time")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{python}.json", help="default: %(default)s")
    parser.add_argument("--svg", type=Path, default=RESULTS / f"{python}.svg", help="default: %(default)s")
    parser.add_argument("--load-binary", type=Path, help="a built load generator (default: cargo builds it)")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    arguments = parser.parse_args()
    arguments.loops = arguments.loops.split(",")
    if unknown := set(arguments.loops) - set(known):
        parser.error(f"no such loop: {', '.join(sorted(unknown))}; loops: {', '.join(known)}")
    try:
        arguments.rows = select(arguments.rows.split(","))
    except ValueError as error:
        parser.error(str(error))
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 2.0)
    if arguments.rounds < 1 or not 0.05 <= arguments.seconds <= 3600:
        parser.error("expected at least one round and between 0.05 and 3600 seconds")
    return arguments


def settings(arguments: argparse.Namespace) -> Settings:
    """Where things run: server and load on a core each, when there are two to have."""
    cores = sorted(os.sched_getaffinity(0))
    pair = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    load = arguments.load_binary.resolve() if arguments.load_binary else build_load()
    return Settings(load, arguments.seconds, 0.02 if arguments.quick else 0.08, *pair)


def build_load() -> Path:
    """Has cargo build the load generator and asks it where the result is."""
    command = "cargo build --release --package tulipa-load --message-format json-render-diagnostics"
    output = subprocess.run(command.split(), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return next(Path(message["executable"]) for message in messages if message.get("executable"))


def environment(rounds: int) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "kernel": platform.release(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "rounds": rounds,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {loop.package: loop.version() for loop in LOOPS.values() if not loop.missing()},
    }


def processor() -> str:
    """The processor's name, as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def headline(about: dict[str, Any]) -> str:
    """One line on where this ran."""
    versions = ", ".join(" ".join(item) for item in about["versions"].items() if item[0] != "asyncio")
    busy = f" (busy: load {about['load_average']:.1f})" if about["load_average"] > 0.5 else ""
    return (
        f"Python {about['python']}, Linux {about['kernel']}, {about['cores']} cores{busy}, "
        f"medians of {about['rounds']}; {versions or 'no rival installed'}"
    )


def progress(text: str) -> None:
    """Shows what is being measured, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def write(path: Path, content: str) -> None:
    """Writes a result and says where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
