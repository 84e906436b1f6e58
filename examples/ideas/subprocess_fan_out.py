"""Many child processes at once: work for each through its pipes, results as they come."""

import asyncio
import sys

PROGRAM = "import sys; numbers = map(int, sys.stdin.read().split()); print(sum(numbers))"


async def sum_in_a_child(numbers: range) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(" ".join(map(str, numbers)).encode())
    assert process.returncode == 0
    return int(output)


async def main() -> None:
    parts = [range(start, start + 25) for start in range(0, 100, 25)]
    sums = await asyncio.gather(*map(sum_in_a_child, parts))
    print(sums, sum(sums), sum(range(100)))

    shell = await asyncio.create_subprocess_shell("echo one; echo two >&2; exit 3", stdout=-1, stderr=-1)
    print(await shell.communicate(), shell.returncode)


asyncio.run(main())
