"""Each guarantee, beside stock asyncio."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..differential.harness import cases_of, compare
from . import scenarios


@pytest.mark.parametrize(
    ("module", "function"),
    [pytest.param(module, name, id=name.removeprefix("case_")) for module, name in cases_of(scenarios)],
)
def test_guarantee_holds_as_in_asyncio(module: str, function: str, tmp_path: Path) -> None:
    recording = compare(module, function, tmp_path)
    assert len(recording["main"]) > 1, "nothing was recorded"
