"""httpx: many requests over few connections, a stream, an upload, a time limit, errors. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx


async def main(base: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    limits = httpx.Limits(max_connections=10)
    async with httpx.AsyncClient(base_url=base, limits=limits, timeout=20, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get("/") for _ in range(200)))
        seen["answers"] = sorted({(answer.status_code, answer.text) for answer in answers})

        async def parts() -> AsyncIterator[bytes]:
            for number in range(100):
                yield bytes([number]) * 10_000

        echoed = await client.post("/echo", content=parts())
        seen["echoed"] = echoed.content == b"".join([part async for part in parts()])
        async with client.stream("GET", "/stream?count=1000") as response:
            seen["streamed"] = len([line async for line in response.aiter_lines()])
        try:
            await client.get("/slow?seconds=30", timeout=0.1)
        except httpx.ReadTimeout:
            seen["timed out"] = True
        seen["error"] = (await client.get("/fails")).status_code
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get("http://127.0.0.1:1/")
    except httpx.ConnectError as error:
        seen["refused"] = type(error.__cause__).__name__
    return seen


print(json.dumps(asyncio.run(main(sys.argv[1]))))
