"""`python -m asyncio ps` and `pstree` see native tasks, their names, stacks and who awaits them (3.14 and later)."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, subprocess, sys
import tulipa

async def leaf():
    await asyncio.get_running_loop().create_future()

async def waits(task):
    await task

async def main():
    worker = asyncio.create_task(leaf(), name="worker")
    waiter = asyncio.create_task(waits(worker), name="waiter")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    subprocess.run([sys.executable, "-m", "asyncio", sys.argv[1], str(os.getpid())], check=True)
    waiter.cancel()

tulipa.run(main())
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has these tools since 3.14")


#: More tasks without a name than show their number at a time.
CROWD = """
import asyncio, os, subprocess, sys
import tulipa

async def main():
    event = tulipa.Event()

    async def waits():
        await event.wait()

    tasks = [asyncio.create_task(waits()) for _ in range(1500)]
    await asyncio.sleep(0)
    asked = tasks[-1].get_name()
    tasks[-2].set_name("set")
    subprocess.run([sys.executable, "-m", "asyncio", sys.argv[1], str(os.getpid())], check=True)
    assert [task.get_name() for task in tasks[:-2]] == [f"Task-{number}" for number in range(2, 1500)]
    event.set()
    await asyncio.gather(*tasks)
    del tasks
    print("asked", asked, flush=True)
    after = asyncio.create_task(waits())
    await asyncio.sleep(0)
    await after
    event.clear()
    after = asyncio.create_task(waits())
    await asyncio.sleep(0)
    subprocess.run([sys.executable, "-m", "asyncio", sys.argv[1], str(os.getpid())], check=True)
    after.cancel()

tulipa.run(main())
"""


#: Tasks of what is no coroutine of CPython's, among them one that is itself what its task waits for.
NATIVE = """
import asyncio, os, subprocess, sys
import tulipa

async def main():
    coroutines = [tulipa.Queue().get(), tulipa.Event().wait(), tulipa.sleep(60), tulipa.wait_for(tulipa.sleep(60), 60)]
    tasks = [asyncio.create_task(each, name=f"native-{number}") for number, each in enumerate(coroutines)]
    await asyncio.sleep(0)
    assert [task.get_coro() for task in tasks] == coroutines
    subprocess.run([sys.executable, "-m", "asyncio", sys.argv[1], str(os.getpid())], check=True)

tulipa.run(main())
"""


def show(tool: str, program: str = PROGRAM) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, tool], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("tool", ["ps", "pstree"])
def test_tasks_of_native_operations_are_shown_too(tool: str) -> None:
    shown = show(tool, NATIVE)
    assert sorted(re.findall(r"native-\d", shown)) == ["native-0", "native-1", "native-2", "native-3"]


def test_ps_names_every_native_task_with_its_stack_and_its_awaiter() -> None:
    lines = {line.split()[2]: line for line in show("ps").splitlines()[2:]}
    assert set(lines) == {"Task-1", "waiter", "worker"}
    assert re.search(r"worker +leaf +waits +waiter +0x[0-9a-f]+", lines["worker"])


def test_pstree_puts_a_task_below_the_one_that_awaits_it() -> None:
    tree = [line.strip(" │├└─") for line in show("pstree").splitlines()]
    waiter, worker = tree.index("(T) waiter"), tree.index("(T) worker")
    assert waiter < worker
    assert tree[waiter + 1].startswith("waits ")
    assert tree[worker + 1].startswith("leaf ")


def test_ps_shows_a_crowd_without_its_numbers() -> None:
    crowd, _, few = show("ps", CROWD).partition("asked")
    names = [line.split()[2] for line in crowd.splitlines()[2:]]
    numbers = [name for name in names if name.startswith("Task-")]
    assert len(names) == 1501
    assert set(names) - set(numbers) == {"Task", "set"}
    # As many as are shown at a time, the main task among them, and the one whose name was asked for.
    assert set(numbers) == {f"Task-{number}" for number in (*range(1, 1025), 1501)}
    assert {line.split()[2] for line in few.splitlines()[3:]} == {"Task-1", "Task-1503"}
