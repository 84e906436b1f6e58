"""One cell of the table, in a process of its own: `python -m benchmarks.cell ROW LOOP LIMIT TARGET`.

A micro row measures itself and prints `{"value": nanoseconds per operation}`. Other rows start their server
and print `{"port": number}` (or the path of a Unix socket), then serve until killed. Whatever happens, the
kernel ends the process after LIMIT seconds: some loops hang in ways that no Python code could end. Only
`measure` starts this.
"""

import asyncio
import gc
import json
import signal
import sys
import time

from benchmarks.loops import LOOPS
from benchmarks.model import Held, Micro, Served
from benchmarks.rows import ROWS

REPEATS = 5


def main(row_name: str, loop_name: str, limit: str, target: str) -> None:
    """Runs the cell. `target` is the number of seconds that one repeat of a micro row should take."""
    signal.alarm(int(limit))
    row = ROWS[row_name]
    with asyncio.Runner(loop_factory=LOOPS[loop_name].new) as runner:
        if isinstance(row, Micro):
            print(json.dumps({"value": runner.run(best(row, int(float(target) * 1e9)))}), flush=True)
        elif isinstance(row, Served | Held):
            runner.run(serve(row))


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


async def serve(row: Served | Held) -> None:
    """Serves, and waits for something that does not happen."""
    settle_allocator()
    serving = await row.serve()
    print(json.dumps({"port": serving.port}), flush=True)
    await asyncio.get_running_loop().create_future()
    del serving


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
