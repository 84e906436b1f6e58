"""Tornado: an HTTP server with a websocket, its clients, a periodic callback, threads. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import tornado.gen
import tornado.httpclient
import tornado.httpserver
import tornado.ioloop
import tornado.netutil
import tornado.web
import tornado.websocket


class Hello(tornado.web.RequestHandler):
    async def get(self) -> None:
        await tornado.gen.sleep(0.001)
        self.write({"hello": self.get_argument("name")})

    async def post(self) -> None:
        self.write(str(len(self.request.body)))


class Stream(tornado.web.RequestHandler):
    async def get(self) -> None:
        for number in range(1000):
            self.write(b"%06d\n" % number)
            await self.flush()


class Fails(tornado.web.RequestHandler):
    def get(self) -> None:
        raise tornado.web.HTTPError(418)


class Upper(tornado.websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message.upper())


async def main() -> dict[str, Any]:
    loop = tornado.ioloop.IOLoop.current()
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    handlers = [("/", Hello), ("/stream", Stream), ("/fails", Fails), ("/upper", Upper)]
    server = tornado.httpserver.HTTPServer(
        tornado.web.Application(handlers, log_function=lambda handler: None)
    )
    (sock,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([sock])
    base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    client = tornado.httpclient.AsyncHTTPClient(max_clients=50)

    answers = await asyncio.gather(*(client.fetch(f"{base}/?name={number}") for number in range(200)))
    seen["answers"] = [json.loads(answer.body)["hello"] for answer in answers] == list(map(str, range(200)))
    seen["posted"] = (await client.fetch(base, method="POST", body=b"x" * 5_000_000)).body.decode()
    seen["streamed"] = len((await client.fetch(f"{base}/stream")).body.splitlines())
    seen["error"] = (await client.fetch(f"{base}/fails", raise_error=False)).code

    websocket = await tornado.websocket.websocket_connect(f"{base.replace('http', 'ws')}/upper")
    await websocket.write_message("over a websocket")
    seen["websocket"] = await websocket.read_message()
    websocket.close()

    ticks = asyncio.Semaphore(0)
    periodic = tornado.ioloop.PeriodicCallback(ticks.release, 1)
    periodic.start()
    for _ in range(5):
        await ticks.acquire()
    periodic.stop()

    seen["thread"] = await loop.run_in_executor(None, threading.current_thread) is not threading.main_thread()
    called = asyncio.Event()
    threading.Thread(target=loop.add_callback, args=(called.set,)).start()
    await called.wait()
    server.stop()
    await server.close_all_connections()
    return seen


print(json.dumps(asyncio.run(main())))
