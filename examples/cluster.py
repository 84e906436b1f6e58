"""One program, more processors than one process has: work handed to a Dask cluster by run_in_executor.

Run as `tulipa run examples/cluster.py`. Here the cluster is two worker processes on this machine; on the day that is
too few, `Client("tcp://scheduler:8786")` names a real one, and nothing else changes: an executor is an executor.
"""

import asyncio
import os
import time
from concurrent.futures import Executor
from typing import Any

LIMITS = range(20_000, 100_000, 10_000)


def primes_below(limit: int) -> tuple[int, int]:
    """Count primes the slow way; return the number, and the process that counted."""
    count = sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit)
    )
    return count, os.getpid()


async def count_all(executor: Executor) -> list[tuple[int, int]]:
    """Have the cluster count, while this loop goes on ticking."""
    loop = asyncio.get_running_loop()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = loop.create_task(tick())
    begin = time.perf_counter()
    answers = await asyncio.gather(*(loop.run_in_executor(executor, primes_below, limit) for limit in LIMITS))
    ticking.cancel()
    print(
        f"{len(answers)} counts in {time.perf_counter() - begin:.2f} s; the loop ticked {ticks} times meanwhile"
    )
    return answers


def main() -> None:
    """Start a cluster, use it, and stop it."""
    # Here, because the workers import this file again.
    from distributed import Client, LocalCluster

    start: Any = LocalCluster  # not typed
    connect: Any = Client
    with (
        start(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        connect(cluster) as client,
    ):
        answers = asyncio.run(count_all(client.get_executor()))
    for limit, (count, _) in zip(LIMITS, answers, strict=True):
        print(f"{count:5} primes below {limit}")
    workers = {pid for _, pid in answers}
    print(f"counted by {len(workers)} processes, none of them this one: {os.getpid() not in workers}")


if __name__ == "__main__":
    main()
