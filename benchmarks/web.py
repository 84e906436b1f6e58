"""Rows of real web servers, unmodified: uvicorn (httptools) and aiohttp, answering with some text or JSON."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.model import Served, Serving

BODY = b"Hello, World!"
ITEM: dict[str, Any] = {
    "id": 42,
    "name": "a tulip",
    "price": 1.25,
    "colours": ["red", "yellow"],
    "sold": False,
}
LOAD = ("http-load", "--connections", "100")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def plaintext(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def item(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application that makes JSON for each request."""
    body = json.dumps(ITEM).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve_plaintext() -> Serving:
    """The application of text."""
    return await serve_uvicorn(plaintext)


async def serve_json() -> Serving:
    """The application of JSON."""
    return await serve_uvicorn(item)


async def serve_fastapi() -> Serving:
    """The same JSON by FastAPI."""
    import fastapi

    application = fastapi.FastAPI()

    @application.get("/")
    async def answer() -> dict[str, Any]:
        return ITEM

    return await serve_uvicorn(application)


async def serve_uvicorn(application: Callable[..., Awaitable[None]]) -> Serving:
    """uvicorn without access log or lifespan."""
    import uvicorn

    config = uvicorn.Config(
        application,
        port=0,
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
        backlog=4096,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)
    return Serving(server.servers[0].sockets[0].getsockname()[1], serving)


async def serve_aiohttp() -> Serving:
    """aiohttp's own server without access log."""
    from aiohttp import web

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    return Serving(runner.addresses[0][1], runner)


UVICORN = ("uvicorn", "httptools")


def program(name: str, title: str, serve: Callable[[], Awaitable[Serving]], *packages: str) -> Served:
    """A row."""
    return Served(name, title, serve, LOAD, program=True, packages=packages)


ROWS = (
    program("uvicorn", "uvicorn plaintext", serve_plaintext, *UVICORN),
    program("uvicorn_json", "uvicorn JSON", serve_json, *UVICORN),
    program("fastapi", "uvicorn, FastAPI JSON", serve_fastapi, *UVICORN, "fastapi"),
    program("aiohttp", "aiohttp server", serve_aiohttp, "aiohttp"),
)
