"""The types that users' checkers see: true to the compiled module on this Python, and useful."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import tulipa

CONFIGURATION = str(Path(__file__).resolve().parents[1] / "pyproject.toml")

PROGRAM = """
import asyncio
import tulipa
from typing import assert_type

async def main() -> int:
    task = asyncio.create_task(asyncio.sleep(0, "x"))
    assert_type(await task, str)
    return 1

assert_type(tulipa.run(main(), debug=True), int)
with asyncio.Runner(loop_factory=tulipa.new_event_loop) as runner:
    assert_type(runner.run(main()), int)

loop = tulipa.new_event_loop()
future: tulipa.Future[int] = tulipa.Future(loop=loop)
as_asyncio: asyncio.Future[int] = future
assert_type(future.result(), int)
tulipa.run(main(), debug="yes")  # type: ignore[arg-type]
tulipa.install(loop_only=1)  # type: ignore[arg-type]
"""

# Where the whole of asyncio is meant.
NAMES = """
import tulipa as asyncio

async def answer() -> int:
    return 42

async def main() -> None:
    async with asyncio.TaskGroup() as group:
        task: asyncio.Task[int] = group.create_task(answer())
    asyncio.get_running_loop().call_soon(print, task.result())
    asyncio.creat_task(answer())  # type: ignore[attr-defined]

def policies() -> tuple[type, type, type]:
    return asyncio.AbstractEventLoopPolicy, asyncio.DefaultEventLoopPolicy, asyncio.EventLoopPolicy
"""


def check(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_agree_with_the_module() -> None:
    exceptions = str(Path(__file__).with_name("stubtest.txt"))
    check("mypy.stubtest", "--mypy-config-file", CONFIGURATION, "--allowlist", exceptions, "tulipa")


def check_program(source: str, folder: Path, *options: str) -> None:
    program = folder / "program.py"
    program.write_text(source)
    # No configuration: the installed package has to do alone. An unused ignore means an error that was not seen.
    cache = str(folder / "cache")
    check("mypy", "--config-file=", "--strict", "--cache-dir", cache, *options, str(program))


def test_typed_program_is_understood(tmp_path: Path) -> None:
    check_program(PROGRAM, tmp_path)


@pytest.mark.parametrize("version", ["3.11", "3.14"])
def test_checkers_know_the_names_of_each_python(version: str, tmp_path: Path) -> None:
    check_program(NAMES, tmp_path, "--python-version", version)


def test_classes_are_declared_as_asyncios() -> None:
    """What asyncio's own functions return fits them. Of names bound twice, mypy takes the first and others the last."""
    statements = ast.parse(Path(tulipa.__file__).read_text(encoding="utf-8")).body
    imports = [
        statement for statement in statements if isinstance(statement, ast.ImportFrom) and statement.level
    ]
    names = {alias.asname or alias.name for statement in imports for alias in statement.names}
    classes = {name for name in names if isinstance(vars(asyncio).get(name), type)}
    assert classes <= {
        "EventLoop",
        "SelectorEventLoop",
        "QueueShutDown",
    }  # two of its own, and asyncio's very class
