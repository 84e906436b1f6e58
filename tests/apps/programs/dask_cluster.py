"""A Dask cluster in one program: scheduler, workers and client on one loop. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from distributed import Client, LocalCluster


def square(number: int) -> int:
    return number * number


def fails(number: int) -> int:
    raise LookupError(number)


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    cluster_options: dict[str, Any] = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
    async with (
        LocalCluster(n_workers=2, threads_per_worker=2, asynchronous=True, **cluster_options) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        loops = {
            type(server.loop.asyncio_loop).__module__
            for server in (cluster.scheduler, *cluster.workers.values())
        }
        seen["on the same kind of loop"] = loops == {seen["loop"]}
        futures = client.map(square, range(200))
        seen["squares"] = await client.gather(futures) == [number * number for number in range(200)]
        seen["sum"] = await client.submit(sum, futures)
        seen["from worker to worker"] = await client.submit(max, await client.scatter(list(range(1000))))
        try:
            await client.submit(fails, 7)
        except LookupError as error:
            seen["error"] = repr(error)
        cluster.scale(3)
        await client.wait_for_workers(3)
        seen["workers"] = len(cluster.workers)
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
