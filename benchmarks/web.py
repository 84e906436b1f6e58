"""Rows of real web servers, unmodified: uvicorn (httptools) and aiohttp, answering thirteen bytes of text."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.model import Served, Serving

BODY = b"Hello, World!"
LOAD = ("http-load", "--connections", "100")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def plaintext(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def serve_uvicorn() -> Serving:
    """uvicorn without access log or lifespan."""
    import uvicorn

    config = uvicorn.Config(
        plaintext, port=0, http="httptools", lifespan="off", log_level="error", access_log=False, backlog=4096
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


ROWS = (
    Served("uvicorn", "uvicorn plaintext", serve_uvicorn, LOAD, web=True),
    Served("aiohttp", "aiohttp server", serve_aiohttp, LOAD, web=True),
)
