"""The short programs of examples/ideas: on Tulipa, however it gets there, each prints what it prints on asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "ideas"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py"))
OLD_STYLE = {"old_style": "asyncio has had no generator coroutines since Python 3.11"}
TULIPA_RUN = [sys.executable, "-m", "tulipa", "run"]


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout
    return done.stdout


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in OLD_STYLE])
class TestOnBoth:
    def test_installed(self, name: str) -> None:
        program = str(FOLDER / f"{name}.py")
        stock = output(sys.executable, program)
        assert output(*TULIPA_RUN, program) == stock
        assert output(*TULIPA_RUN, "--loop-only", program) == stock

    def test_by_another_import(self, name: str, tmp_path: Path) -> None:
        source = (FOLDER / f"{name}.py").read_text()
        changed = tmp_path / f"{name}.py"
        changed.write_text(source.replace("import asyncio\n", "import tulipa as asyncio\n", 1))
        assert changed.read_text() != source
        assert output(sys.executable, str(changed)) == output(sys.executable, str(FOLDER / f"{name}.py"))


def test_old_style() -> None:
    lines = output(
        sys.executable, "-W", "ignore::DeprecationWarning", str(FOLDER / "old_style.py")
    ).splitlines()
    assert lines == [
        "hello 0",
        "hello 1",
        "HELLO",
        "['A', 'B']",
        "['C', 'D'] set()",
        "set by a callback",
        "total 10",
        "cancelled True",
        "True True",
        "True",
    ]


def test_nothing_is_left_out() -> None:
    assert set(OLD_STYLE) < set(PROGRAMS)
    assert len(PROGRAMS) >= 10
