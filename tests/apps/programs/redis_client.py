"""redis-py's asyncio client: commands, pipelines, transactions, many connections, pub/sub, blocking reads, reconnects.

Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import redis.asyncio as redis


async def main(port: int) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    client: Any = redis.Redis(host="127.0.0.1", port=port, decode_responses=True, max_connections=300)
    seen["ping"] = await client.ping()
    seen["set"] = await client.set("greeting", "hello")
    seen["get"] = [await client.get("greeting"), await client.get("missing")]
    large = "x" * 3_000_000
    await client.set("large", large)
    seen["large"] = await client.get("large") == large
    seen["counted"] = sorted(await asyncio.gather(*(client.incr("counter") for _ in range(200)))) == list(
        range(1, 201)
    )
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(500):
            pipeline.set(f"key {number}", number)
        for number in range(500):
            pipeline.get(f"key {number}")
        seen["pipeline"] = (await pipeline.execute())[500:] == [str(number) for number in range(500)]
    async with client.pipeline(transaction=True) as transaction:
        seen["transaction"] = await transaction.set("a", "1").incr("a").get("a").execute()
    try:
        await client.execute_command("NOSUCHCOMMAND")
    except redis.ResponseError:
        seen["error"] = True
    seen["published"] = await publish(client)
    waiting = asyncio.create_task(client.blpop(["list"], timeout=10))
    await asyncio.sleep(0.01)
    await client.rpush("list", "item")
    seen["blpop"] = list(await waiting)
    await client.connection_pool.disconnect()
    seen["reconnected"] = await client.get("greeting")
    await client.aclose()
    return seen


async def publish(client: Any) -> list[str]:
    """Subscribe, publish three messages, return what was heard."""
    heard = []
    async with client.pubsub() as subscription:
        await subscription.subscribe("news")
        assert (await subscription.get_message(timeout=5))["type"] == "subscribe"
        for number in range(3):
            await client.publish("news", f"message {number}")
        async for message in subscription.listen():
            heard.append(message["data"])
            if len(heard) == 3:
                return heard
    return heard


print(json.dumps(asyncio.run(main(int(sys.argv[1])))))
