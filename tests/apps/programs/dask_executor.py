"""Hands work to a Dask cluster by run_in_executor, and says as JSON what came back."""

import asyncio
import json
import os
import time
from concurrent.futures import Executor

from distributed import Client, LocalCluster


def fail(text: str) -> None:
    raise LookupError(text)


async def main(executor: Executor) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    answers = await asyncio.gather(*(loop.run_in_executor(executor, pow, 2, number) for number in range(20)))
    pids = await asyncio.gather(*(loop.run_in_executor(executor, os.getpid) for _ in range(4)))
    error = (await asyncio.gather(loop.run_in_executor(executor, fail, "gone"), return_exceptions=True))[0]
    waiting = loop.run_in_executor(executor, time.sleep, 0.5)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        cancelled = True
    return {
        "loop": type(loop).__module__,
        "answers": answers == [2**number for number in range(20)],
        "elsewhere": os.getpid() not in pids,
        "error": repr(error),
        "cancelled": cancelled,
    }


if __name__ == "__main__":
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        print(json.dumps(asyncio.run(main(client.get_executor()))))
