"""A Dask cluster as an executor: how a program outgrows one machine."""

from __future__ import annotations

import json
from pathlib import Path

from .process import LOOP, PROGRAMS, Program

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster.py"


def test_a_clusters_executor() -> None:
    with Program(PROGRAMS / "dask_executor.py") as program:
        assert program.finish() == 0, program.text()
        # Its workers log to the same place.
        seen = json.loads(next(line for line in program.text().splitlines() if line.startswith("{")))
    assert seen.pop("loop").partition(".")[0] == LOOP
    assert seen == {"answers": True, "elsewhere": True, "error": "LookupError('gone')", "cancelled": True}


def test_the_example() -> None:
    with Program(EXAMPLE) as program:
        assert program.finish() == 0, program.text()
        text = program.text()
    assert " 8713 primes below 90000\n" in text
    assert text.endswith("none of them this one: True\n")
