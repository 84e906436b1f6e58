"""websockets: a server, many clients, a broadcast, large and cut messages, pings, closing. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def handler(websocket: ServerConnection) -> None:
    async for message in websocket:
        if message == "leave":
            await websocket.close(4000, "as asked")
            return
        await websocket.send(message)


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    async with serve(handler, "127.0.0.1", 0, max_size=1 << 24) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}"

        async def talk(number: int) -> int:
            async with connect(url) as websocket:
                for turn in range(20):
                    await websocket.send(f"{number} {turn}")
                    assert await websocket.recv() == f"{number} {turn}"
            return number

        seen["talks"] = await asyncio.gather(*map(talk, range(50))) == list(range(50))

        async with connect(url, max_size=1 << 24) as websocket:
            large = bytes(range(256)) * 40_000
            await websocket.send(large)
            seen["large"] = await websocket.recv() == large
            await websocket.send(["cut ", "into ", "pieces"])
            seen["pieces"] = await websocket.recv()
            seen["latency"] = await (await websocket.ping()) >= 0
            broadcast(server.connections, "to all")
            seen["broadcast"] = await websocket.recv()
            await websocket.send("leave")
            try:
                await websocket.recv()
            except websockets.ConnectionClosedError as error:
                seen["closed"] = [error.rcvd.code, error.rcvd.reason]
    seen["tasks left"] = len(asyncio.all_tasks()) - 1
    return seen


print(json.dumps(asyncio.run(main())))
