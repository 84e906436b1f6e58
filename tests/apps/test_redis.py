"""redis-py's client against a real redis-server, which `make test` installs where it is missing.

The real one rather than a stand-in: a server of our own would answer as we think a client expects, and it is in
pub/sub, blocking reads and reconnects that a loop and a server can disagree.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import LOOP, PROGRAMS, Program


def unused_port() -> int:
    """redis-server cannot pick a port itself; a collision would fail the test loudly."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    # Debian keeps it among the programs for administrators, which are not on everybody's path.
    server = shutil.which("redis-server", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert server, "redis-server is not installed"
    number = unused_port()
    options = ["--port", str(number), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with Program(*options, launcher=[server]) as process:
        process.wait_for("Ready to accept connections")
        yield number


def test_redis_client(port: int) -> None:
    with Program(PROGRAMS / "redis_client.py", str(port)) as program:
        assert program.finish() == 0, program.text()
        seen = json.loads(program.text())
    assert seen.pop("loop").partition(".")[0] == LOOP
    assert seen == {
        "ping": True,
        "set": True,
        "get": ["hello", None],
        "large": True,
        "counted": True,
        "pipeline": True,
        "transaction": [True, 2, "2"],
        "error": True,
        "published": ["message 0", "message 1", "message 2"],
        "blpop": ["list", "item"],
        "reconnected": "hello",
    }
