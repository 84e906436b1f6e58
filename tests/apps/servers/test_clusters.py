"""gRPC, and a Dask cluster on one loop: the same program on Tulipa and on asyncio, with the same report."""

from __future__ import annotations

from ..process import same_on_both_loops


def test_grpc() -> None:
    assert same_on_both_loops("grpc_program.py") == {
        "doubled": True,
        "large": 2_000_000,
        "counted": 500,
        "joined": "some words joined",
        "upper": ["SOME ", "WORDS ", "JOINED"],
        "error": ["NOT_FOUND", "there is nothing"],
        "timed out": "DEADLINE_EXCEEDED",
        "cancelled": "CANCELLED",
    }


def test_dask() -> None:
    assert same_on_both_loops("dask_cluster.py") == {
        "on the same kind of loop": True,
        "squares": True,
        "sum": sum(number * number for number in range(200)),
        "from worker to worker": 999,
        "error": "LookupError(7)",
        "workers": 3,
    }
