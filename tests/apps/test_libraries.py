"""Libraries that need no server but their own: the same program on Tulipa and on asyncio, with the same report."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from .process import LAUNCHER, PROGRAMS, Program, same_on_both_loops


def test_tornado() -> None:
    assert same_on_both_loops("tornado_program.py") == {
        "answers": True,
        "posted": "5000000",
        "streamed": 1000,
        "error": 418,
        "websocket": "OVER A WEBSOCKET",
        "thread": True,
    }


def test_twisted() -> None:
    assert same_on_both_loops("twisted_program.py") == {
        "lines": True,
        "page": "a page",
        "later": "later",
        "thread": 45,
        "child": "a child",
        "future": "from asyncio",
    }


def test_websockets() -> None:
    assert same_on_both_loops("websockets_program.py") == {
        "talks": True,
        "large": True,
        "pieces": "cut into pieces",
        "latency": True,
        "broadcast": "to all",
        "closed": [4000, "as asked"],
        "tasks left": 0,
    }


def test_aiofiles() -> None:
    assert same_on_both_loops("aiofiles_program.py") == {
        "sizes": 5300,
        "lines": "7 19",
        "read": "0\n7",
        "files": 50,
        "error": "No such file or directory",
        "gone": True,
    }


@pytest.fixture
def site() -> Iterator[str]:
    with Program(PROGRAMS / "aiohttp_server.py") as server:
        yield f"http://127.0.0.1:{server.port()}"


def test_httpx(site: str) -> None:
    assert same_on_both_loops("httpx_program.py", site) == {
        "answers": [[200, "hello"]],
        "echoed": True,
        "streamed": 1000,
        "timed out": True,
        "error": 500,
        "refused": "ConnectError",
    }


@pytest.mark.parametrize("program", ["anyio_program.py", "tornado_program.py", "websockets_program.py"])
def test_warnings_may_be_errors(program: str) -> None:
    """In development mode too, which is asyncio's debug mode."""
    launcher = [sys.executable, "-X", "dev", "-W", "error", *LAUNCHER[1:]]
    with Program(PROGRAMS / program, launcher=launcher) as running:
        assert running.finish() == 0, running.text()
        assert "Warning" not in running.text()
