"""One cell of the table, in a process of its own: `python -m benchmarks.cell ROW LOOP LIMIT TARGET [PORT]`.

A micro row measures itself and prints `{"value": nanoseconds per operation}`, a row of waiting tasks the same
with bytes per task, a client what its operations on the server at PORT took. Other rows start their server and
print `{"port": number}` (or the path of a Unix socket), then serve until killed. Whatever happens, the kernel ends
the process after LIMIT seconds: some loops hang in ways that no Python code could end. Only `measure` starts this.
"""

import asyncio
import gc
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.loops import LOOPS
from benchmarks.measure import resident
from benchmarks.model import Client, Held, Micro, Operation, Served, Waiting
from benchmarks.rows import ROWS

REPEATS = 5
WARM_UP = 0.2
"""Seconds that a client works before it is measured."""


def main(row_name: str, loop_name: str, limit: str, target: str, port: str = "") -> None:
    """Runs the cell. `target`: the seconds that one repeat of a micro row should take, or a client all in all."""
    signal.alarm(int(limit))
    row, loop = ROWS[row_name], LOOPS[loop_name]
    if row.program:
        loop.install()
    with asyncio.Runner(loop_factory=loop.new) as runner:
        if isinstance(row, Micro):
            print(json.dumps({"value": runner.run(best(row, int(float(target) * 1e9)))}), flush=True)
        elif isinstance(row, Waiting):
            print(json.dumps({"value": runner.run(memory(row))}), flush=True)
            # Cancelling so many in one deque takes asyncio minutes: each is searched for.
            os._exit(0)
        elif isinstance(row, Served | Held):
            runner.run(serve(row))
        elif isinstance(row, Client):
            print(json.dumps(runner.run(client(row, int(port), float(target)))), flush=True)


async def best(row: Micro, target: int) -> float:
    """Nanoseconds per operation in the best of some repeats: a disturbance only ever makes one slower."""
    operations = row.batch
    while (elapsed := await timed(row, operations)) < target:
        # Towards the target, but at most tenfold: the first repeats are cold and mislead.
        factor = min(10.0, max(1.5, 1.1 * target / elapsed))
        operations = -(-int(operations * factor) // row.batch) * row.batch
    return min([await timed(row, operations) for _ in range(REPEATS)]) / operations


async def timed(row: Micro, operations: int) -> int:
    """How many nanoseconds so many operations take."""
    gc.collect()
    begin = time.perf_counter_ns()
    await row.body(operations)
    return time.perf_counter_ns() - begin


async def memory(row: Waiting) -> float:
    """Bytes of resident memory for each task. A few come first: one-time costs do not count."""
    few = await waiting(row, row.tasks // 100)
    before = resident(os.getpid())
    many = await waiting(row, row.tasks)
    after = resident(os.getpid())
    del few, many
    return (after - before) / row.tasks


async def waiting(row: Waiting, tasks: int) -> object:
    """So many tasks, which have begun to wait."""
    kept = await row.body(tasks)
    for _ in range(2):
        await asyncio.sleep(0)
    gc.collect()
    return kept


async def serve(row: Served | Held) -> None:
    """Serves, and waits for something that does not happen."""
    settle_allocator()
    serving = await row.serve()
    print(json.dumps({"port": serving.port}), flush=True)
    await asyncio.get_running_loop().create_future()
    del serving


async def client(row: Client, port: int, seconds: float) -> dict[str, float]:
    """What the operations of so many seconds took: this process' CPU time, all threads, and the latencies."""
    async with row.connect(port, row.tasks) as operations:
        await work(operations, WARM_UP)
        gc.collect()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        latencies = await work(operations, seconds)
        cpu, elapsed = time.process_time() - cpu_begin, time.perf_counter() - begin
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "operations": len(latencies),
        "cpu_seconds": cpu,
        "seconds": elapsed,
        "p50_us": percentiles[49] * 1e6,
        "p99_us": percentiles[98] * 1e6,
    }


async def work(operations: Sequence[Operation], seconds: float) -> list[float]:
    """A task for each operation, which repeats it until the time is over; how long each took."""
    end = time.perf_counter() + seconds
    latencies = []

    async def repeat(operation: Operation) -> None:
        now = time.perf_counter()
        while now < end:
            begin = now
            await operation()
            now = time.perf_counter()
            latencies.append(now - begin)

    async with asyncio.TaskGroup() as tasks:
        for operation in operations:
            tasks.create_task(repeat(operation))
    return latencies


def settle_allocator() -> None:
    """Frees one big block, as any program that has lived for a while has done.

    From then on glibc keeps blocks of that size instead of giving each back to the kernel. Without it, a loop
    that receives into a fresh 256 KiB block (asyncio, rloop) maps and unmaps memory for every message, which
    costs more than twice all the rest; a bare server would show that accident and not the loop.
    """
    block = bytearray(1 << 20)
    del block


if __name__ == "__main__":
    main(*sys.argv[1:])
