"""Clients of PostgreSQL and MariaDB: the same program on Tulipa and on asyncio, with the same report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..process import same_on_both_loops
from .server import mariadb, postgresql


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgresql() as url:
        yield url


def test_asyncpg(postgres: str) -> None:
    assert same_on_both_loops("asyncpg_program.py", postgres) == {
        "sum": sum(range(10_000)),
        "large": 5_000_000,
        "prepared": ["item 1", "item 10", "item 100"],
        "rolled back": 10_000,
        "cursor": sum(range(1000)),
        "error": "23505",
        "cancelled": "and still usable",
        "heard": ["message 0", "message 1", "message 2"],
    }


def test_psycopg(postgres: str) -> None:
    assert same_on_both_loops("psycopg_program.py", postgres) == {
        "copied": [10_000, sum(range(10_000))],
        "cursor": True,
        "pipeline": True,
        "error": "23505",
        "cancelled": "CancelledError",
        "heard": ["message 0", "message 1", "message 2"],
        "many": True,
    }


def test_aiomysql() -> None:
    with mariadb() as socket:
        assert same_on_both_loops("aiomysql_program.py", socket) == {
            "inserted": 5000,
            "answers": True,
            "large": 3_000_000,
            "streamed": True,
            "rolled back": 5000,
            "error": 1062,
        }
