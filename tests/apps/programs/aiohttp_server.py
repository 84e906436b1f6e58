"""An aiohttp application: plain text, echo, a stream, a websocket. Says where it listens, ends on Ctrl-C.

With the file of a certificate as argument it speaks TLS.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import sys

from aiohttp import WSMsgType, web


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello", headers={"X-Loop": type(asyncio.get_running_loop()).__module__})


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def digest(request: web.Request) -> web.Response:
    sha = hashlib.sha256()
    async for chunk in request.content.iter_any():
        sha.update(chunk)
    return web.Response(text=sha.hexdigest())


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.query["count"])):
        await response.write(b"%06d\n" % number)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="slept")


async def fails(request: web.Request) -> web.Response:
    raise LookupError("in the handler")


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data.upper())
    return socket


def main() -> None:
    app = web.Application(client_max_size=1 << 26)
    app.add_routes(
        [
            web.get("/", hello),
            web.post("/echo", echo),
            web.post("/digest", digest),
            web.get("/stream", stream),
            web.get("/slow", slow),
            web.get("/fails", fails),
            web.get("/websocket", websocket),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if sys.argv[1:] else None
    if tls is not None:
        tls.load_cert_chain(sys.argv[1])
    scheme = "https" if tls else "http"
    web.run_app(
        app,
        sock=listener,
        ssl_context=tls,
        print=lambda *_: print(f"listening on {scheme}://127.0.0.1:{port}"),
    )
    print("ended in good order")


main()
