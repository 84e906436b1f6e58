"""aiohttp's server under a plain client, and its client under its server."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ..tls import CERTIFICATES
from .process import LOOP, PROGRAMS, Program


@pytest.fixture
def server() -> Iterator[tuple[Program, int]]:
    with Program(PROGRAMS / "aiohttp_server.py") as program:
        yield program, program.port()


def get(port: int, path: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    try:
        return response.status, response.read(), response.msg
    finally:
        connection.close()


def test_server_answers_many_clients(server: tuple[Program, int]) -> None:
    _, port = server
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: get(port, "/"), range(200)))
    assert {(status, body) for status, body, _ in answers} == {(200, b"hello")}
    assert answers[0][2]["X-Loop"].partition(".")[0] == LOOP


def test_server_keeps_connections_alive(server: tuple[Program, int]) -> None:
    _, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in range(50):
        connection.request("POST", "/echo", body=b"%d" % number)
        assert connection.getresponse().read() == b"%d" % number
    connection.close()


def test_server_takes_a_large_body_and_streams(server: tuple[Program, int]) -> None:
    _, port = server
    body = bytes(range(256)) * 40_000
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/digest", body=body)
    assert connection.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
    connection.request("POST", "/echo", body=body)
    assert connection.getresponse().read() == body
    connection.close()
    assert get(port, "/stream?count=3000")[1].splitlines()[-1] == b"002999"


def test_server_survives_errors_and_clients_that_leave(server: tuple[Program, int]) -> None:
    program, port = server
    assert get(port, "/fails")[0] == 500
    leaving = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    leaving.request("GET", "/slow?seconds=1")
    leaving.close()
    assert get(port, "/")[1] == b"hello"
    assert program.interrupt() == 0
    assert "ended in good order" in program.text()
    assert program.text().count("Traceback") == 1, "only the handler's own error is reported"


def test_client(server: tuple[Program, int]) -> None:
    check_client(f"http://127.0.0.1:{server[1]}")


def test_client_and_server_over_tls() -> None:
    with Program(PROGRAMS / "aiohttp_server.py", CERTIFICATES / "server.pem") as server:
        check_client(f"https://127.0.0.1:{server.port()}", CERTIFICATES / "authority.pem")
        assert server.interrupt() == 0
        assert server.text().count("Traceback") == 1, "only the handler's own error is reported"


def check_client(*arguments: str | Path) -> None:
    with Program(PROGRAMS / "aiohttp_client.py", *arguments) as client:
        code = client.finish()
        assert code == 0, client.text()
        seen = json.loads(client.text())
    assert seen.pop("loop").partition(".")[0] == LOOP
    assert seen == {
        "hellos": ["hello"],
        "echoes": True,
        "stream": 1000,
        "timeout": True,
        "error": 500,
        "websocket": ["ONE", "TWO"],
        "refused": "ConnectionRefusedError",
    }
