"""Every case under `cases/`, each on stock asyncio and on Tulipa."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import cases
from .harness import all_cases, compare


@pytest.mark.parametrize(
    ("module", "function"),
    [
        pytest.param(module, function, id=f"{module.rpartition('.')[2]}-{function.removeprefix('case_')}")
        for module, function in all_cases(cases)
    ],
)
def test_same_as_asyncio(module: str, function: str, tmp_path: Path) -> None:
    recording = compare(module, function, tmp_path)
    assert len(recording["main"]) > 1 or len(recording) > 1, "the case recorded nothing"
