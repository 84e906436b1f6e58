"""uvicorn serving a FastAPI (and so a Starlette) application, as it is started from a shell."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from ..tls import CERTIFICATES, client_context
from .process import LOOP, Program

LOOP_OPTIONS = ["asyncio", "none"] + (["tulipa:new_event_loop"] if LOOP == "tulipa" else [])
"""`asyncio`, the default where uvloop is missing, names asyncio's class instead of leaving asyncio the choice."""


def started(loop: str = "asyncio", http: str = "httptools", *more: str | Path) -> Program:
    return Program(
        "-m",
        "uvicorn",
        "--http",
        http,
        "--ws",
        "websockets-sansio",
        "--loop",
        loop,
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        *more,
        "fastapi_app:app",
    )


@pytest.fixture(params=["httptools", "h11"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with started(http=request.param) as program:
        yield program.port()


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


@pytest.mark.parametrize("option", LOOP_OPTIONS)
def test_it_runs_on_the_loop_and_ends_in_good_order(option: str) -> None:
    with started(option) as program:
        port = program.port()
        status, seen = call(port, "GET", "/")
        assert (status, seen["loop"].partition(".")[0]) == (200, LOOP)
        program.interrupt()
        said = program.text()
        assert said.index("lifespan begins") < said.index("lifespan ends")
        assert "Finished server process" in said
        assert "Traceback" not in said


def test_requests_of_every_kind(port: int) -> None:
    assert call(port, "POST", "/items", {"name": "tulip", "price": 1.5}) == (
        200,
        {"name": "TULIP", "price": 3.0},
    )
    assert call(port, "POST", "/items", {"name": "tulip"})[0] == 422
    assert call(port, "POST", "/items", b"not json")[0] == 422
    assert call(port, "GET", "/nowhere")[0] == 404
    assert call(port, "GET", "/thread") == (200, {"main": False})
    assert call(port, "POST", "/size", b"x" * 5_000_000) == (200, 5_000_000)
    assert call(port, "POST", "/background")[0] == 200
    assert call(port, "GET", "/done") == (200, ["worked"])


def test_many_clients_and_a_stream(port: int) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda number: call(port, "POST", "/items", {"name": "n", "price": number}), range(200))
        )
    assert [answer[1]["price"] for answer in answers] == [number * 2 for number in range(200)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/stream?count=2000")
    assert connection.getresponse().read().splitlines()[-1] == b"001999"
    connection.close()


def test_connections_are_kept_alive(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(100):
        connection.request("GET", "/")
        assert connection.getresponse().read()
    sock = connection.sock
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    assert connection.sock is sock, "one connection served them all"
    connection.close()


def test_a_websocket(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/upper") as websocket:
        for number in range(100):
            websocket.send(f"message {number}")
            assert websocket.recv(timeout=20) == f"MESSAGE {number}"
        websocket.send("x" * 500_000)
        assert websocket.recv(timeout=20) == "X" * 500_000


def test_it_serves_tls() -> None:
    pair = CERTIFICATES / "server.pem"
    with started("asyncio", "h11", "--ssl-certfile", pair, "--ssl-keyfile", pair) as program:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", program.port(), timeout=20, context=client_context()
        )
        for size in (1, 100_000, 3_000_000):
            connection.request("POST", "/size", body=b"x" * size)
            assert connection.getresponse().read() == b"%d" % size
        connection.request("GET", "/stream?count=2000")
        assert connection.getresponse().read().splitlines()[-1] == b"001999"
        connection.close()
        program.interrupt()
        assert "Traceback" not in program.text()
