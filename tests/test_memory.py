"""Where Python has no memory left, an operation fails with MemoryError, and the loop goes on."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_operations_survive_that_memory_runs_out() -> None:
    pytest.importorskip(
        "_testcapi", reason="what makes allocations fail is a module that distributions leave out"
    )
    program = Path(__file__).with_name("exhaustion.py")
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout == "survived\n"
    assert "panicked" not in ended.stderr
