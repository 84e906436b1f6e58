"""anyio, whose cancellation reads private attributes of tasks and futures."""

from __future__ import annotations

import json

from .process import LOOP, PROGRAMS, Program


def test_anyio() -> None:
    with Program(PROGRAMS / "anyio_program.py") as program:
        assert program.finish() == 0, program.text()
        seen = json.loads(program.text())
    assert seen.pop("loop").partition(".")[0] == LOOP
    assert seen == {
        "moved on": True,
        "failed after": True,
        "shielded": True,
        "outer cancelled": True,
        "sibling cancelled": True,
        "group": ["child"],
        "started": "up",
        "received": sum(range(50)),
        "thread": 42,
        "echoed": True,
        "tasks left": 0,
    }
