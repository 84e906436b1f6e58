"""An aiohttp client: many requests at once, uploads, a stream, a websocket, errors. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

import aiohttp


async def main(base: str, authority: str | None = None) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
    async with aiohttp.ClientSession(base, connector=connector) as session:

        async def get(path: str) -> bytes:
            async with session.get(path) as response:
                return await response.read()

        async def post(path: str, body: bytes) -> bytes:
            async with session.post(path, data=body) as response:
                return await response.read()

        seen["hellos"] = sorted(
            {(await reply).decode() for reply in asyncio.as_completed([get("/") for _ in range(200)])}
        )
        bodies = [bytes([number]) * (number * 20_000 + 1) for number in range(20)]
        seen["echoes"] = bodies == await asyncio.gather(*(post("/echo", body) for body in bodies))
        seen["stream"] = len((await get("/stream?count=1000")).splitlines())
        try:
            async with session.get("/slow?seconds=30", timeout=aiohttp.ClientTimeout(total=0.1)) as response:
                await response.read()
        except TimeoutError:
            seen["timeout"] = True
        async with session.get("/fails") as response:
            seen["error"] = response.status
        async with session.ws_connect("/websocket") as websocket:
            for word in ("one", "two"):
                await websocket.send_str(word)
            seen["websocket"] = [(await websocket.receive()).data for _ in range(2)]
    try:
        async with aiohttp.request("GET", "http://127.0.0.1:1/"):
            pass
    except aiohttp.ClientConnectorError as error:
        seen["refused"] = type(error.os_error).__name__
    return seen


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
