"""Debug mode: what is slow, where things were made, who forgot what; and forks of a process whose loop runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import tulipa


def busy() -> None:
    """Hold the loop up for longer than debug mode finds acceptable here."""
    time.sleep(0.02)


def slow_ones(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [message for message in messages if message.startswith("Executing ")]


def debugging_loop() -> Any:
    loop: Any = tulipa.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    return loop


def test_whatever_is_slow_is_named_with_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    async def slow_step() -> None:
        busy()

    loop = debugging_loop()
    reading, writing = os.pipe()
    os.write(writing, b"x")
    timer_ran, reader_ran, handler_ran = (asyncio.Event() for _ in range(3))

    def slow_timer() -> None:
        busy()
        timer_ran.set()

    def slow_reader() -> None:
        loop.remove_reader(reading)
        busy()
        reader_ran.set()

    def slow_handler() -> None:
        busy()
        handler_ran.set()

    async def main() -> None:
        await asyncio.create_task(slow_step(), name="slow task")
        loop.call_later(0.001, slow_timer)
        loop.add_reader(reading, slow_reader)
        loop.add_signal_handler(signal.SIGUSR1, slow_handler)
        os.kill(os.getpid(), signal.SIGUSR1)
        for ran in (timer_ran, reader_ran, handler_ran):
            await ran.wait()
        loop.remove_signal_handler(signal.SIGUSR1)

    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(main())
    loop.close()
    os.close(reading)
    os.close(writing)
    found = sorted(slow_ones(caplog))
    assert all(re.search(r" took 0\.\d{3} seconds$", message) for message in found)
    for name in ("slow_timer()", "slow_reader()", "slow_handler()"):
        assert sum(f"<locals>.{name} at {__file__}" in message for message in found) == 1, found
    assert sum("<Task finished name='slow task' coro=<" in message for message in found) == 1, found
    assert all("created at " in message for message in found)


def test_nothing_is_timed_and_nothing_remembered_without_debug_mode(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.slow_callback_duration = 0
        task: Any = asyncio.create_task(asyncio.sleep(0))
        handle: Any = loop.call_soon(busy)
        assert [loop.create_future()._source_traceback, task._source_traceback, handle._source_traceback] == [
            None
        ] * 3
        assert sys.get_coroutine_origin_tracking_depth() == 0
        await task

    with caplog.at_level(logging.DEBUG, "asyncio"):
        tulipa.run(main(), debug=False)
    assert not slow_ones(caplog)


def test_calls_from_another_thread_are_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(print)
        reading, writing = socket.socketpair()
        calls: list[Any] = [
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
            lambda: loop.call_at(1, print),
            lambda: future.set_result(None),
        ]
        errors = []

        def from_outside() -> None:
            for call in calls:
                with pytest.raises(RuntimeError) as caught:
                    call()
                errors.append(str(caught.value))

        await asyncio.to_thread(from_outside)
        assert set(errors) == {
            "Non-thread-safe operation invoked on an event loop other than the current one"
        }
        reading.close()
        writing.close()

    tulipa.run(main(), debug=True)


def test_a_coroutine_that_nobody_awaited_says_where_it_was_made() -> None:
    async def forgotten() -> None: ...

    async def main() -> None:
        forgotten()  # the very mistake
        gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tulipa.run(main(), debug=True)
    (text,) = [str(warning.message) for warning in caught if "never awaited" in str(warning.message)]
    assert "Coroutine created at (most recent call last)" in text
    assert "forgotten()  # the very mistake" in text
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_the_exception_handler_is_told_where_things_were_made(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.call_soon(divmod, 1, 0)  # handle
        future = loop.create_future()  # future
        future.set_exception(LookupError("nobody looks"))
        del future
        await asyncio.sleep(0)
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"):
        tulipa.run(main(), debug=True)
    texts = [record.getMessage() for record in caplog.records]
    for what, line in (("Exception in callback divmod(1, 0)", "# handle"), ("Future exception", "# future")):
        (text,) = [text for text in texts if text.startswith(what)]
        assert "bject created at (most recent call last):" in text
        assert line in text


def resource_warnings(function: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
        gc.collect()
    return [str(warning.message) for warning in caught if warning.category is ResourceWarning]


def test_what_is_left_open_is_warned_of() -> None:
    def forget_a_loop() -> None:
        loop = tulipa.new_event_loop()
        del loop

    def forget_a_transport() -> None:
        async def main() -> None:
            here, there = socket.socketpair()
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)
            there.close()

        loop = tulipa.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    def forget_a_pipe() -> None:
        async def main() -> None:
            reading, writing = os.pipe()
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0))
            os.close(writing)

        loop = tulipa.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    def forget_a_child() -> None:
        async def main() -> None:
            await asyncio.create_subprocess_exec("sleep", "100")

        loop = tulipa.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    for forget, text in (
        (forget_a_loop, "unclosed event loop <EventLoop running=False closed=False debug=False>"),
        (forget_a_transport, "unclosed transport <StreamTransport "),
        (forget_a_pipe, "unclosed transport <ReadPipeTransport "),
        (forget_a_child, "unclosed transport <_UnixSubprocessTransport pid="),
    ):
        found = resource_warnings(forget)
        assert any(warning.startswith(text) for warning in found), (forget, found)


def test_debug_mode_can_be_switched_while_the_loop_runs() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for debug in (True, False, True):
            loop.set_debug(debug)
            await asyncio.sleep(0)  # asyncio too switches the tracking of coroutines by a callback
            assert loop.get_debug() is debug
            assert (loop.create_future()._source_traceback is not None) is debug
            assert (sys.get_coroutine_origin_tracking_depth() > 0) is debug

    tulipa.run(main())


def in_a_child(body: Any) -> int:
    """Run body() in a fork of this process; return the exit status: 0 if it returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while threads run, from 3.12 on
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            body()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def all_sorts() -> str:
    """Use what a loop has: timers, threads, children, connections, tasks."""
    loop = asyncio.get_running_loop()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"echo")
    echoed = (await reader.read()).decode()
    writer.close()
    server.close()
    await asyncio.sleep(0.001)
    in_thread = await loop.run_in_executor(None, str.upper, "thread")
    process = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return f"{echoed} {in_thread} {output.decode().strip()}"


EXPECTED = "echo THREAD child"


def test_a_fork_in_a_running_loop_can_make_a_loop_of_its_own() -> None:
    def child() -> None:
        assert asyncio._get_running_loop() is None
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        assert tulipa.run(all_sorts()) == EXPECTED

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await all_sorts() == EXPECTED
        assert in_a_child(child) == 0
        # The parent's loop has noticed nothing.
        assert asyncio.get_running_loop() is loop
        assert await all_sorts() == EXPECTED
        assert await loop.run_in_executor(None, in_a_child, child) == 0

    tulipa.run(main())


def test_a_fork_while_the_loop_does_not_run() -> None:
    loop = tulipa.new_event_loop()
    assert loop.run_until_complete(all_sorts()) == EXPECTED

    def child() -> None:
        assert tulipa.run(all_sorts()) == EXPECTED

    assert in_a_child(child) == 0
    assert loop.run_until_complete(all_sorts()) == EXPECTED
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_no_code_runs_in_forks_on_tulipas_behalf() -> None:
    program = """
import os, sys
def register(*, before=None, after_in_child=None, after_in_parent=None):
    names = [name for depth in range(1, 50) if (name := frame_name(depth))]
    assert not any(name.startswith("tulipa") for name in names[:1]), names
    registered.append(names[0])
def frame_name(depth):
    try:
        return sys._getframe(depth + 1).f_globals.get("__name__")
    except ValueError:
        return None
registered = []
os.register_at_fork = register
import asyncio, tulipa
async def main():
    await asyncio.get_running_loop().run_in_executor(None, int)
tulipa.run(main())
tulipa.install()
asyncio.run(main())
print(sorted(name for name in registered if "tulipa" in name))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_threads_of_the_parents_pool_are_the_parents() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        names = await loop.run_in_executor(None, lambda: [thread.name for thread in threading.enumerate()])
        assert "asyncio_0" in names

        def child() -> None:
            assert [thread.name for thread in threading.enumerate()] == ["MainThread"]

        assert in_a_child(child) == 0

    tulipa.run(main())


STEPPED = """
import asyncio, sys
if sys.argv[1] == "tulipa":
    import tulipa
    tulipa.install()

async def leaf(value):
    await asyncio.sleep(0)
    return value

async def main():
    queue = asyncio.Queue()
    queue.put_nowait(7)
    lock = asyncio.Lock()
    breakpoint()
    task = asyncio.create_task(leaf(2))
    await task
    await queue.get()
    await lock.acquire()
    await asyncio.gather(leaf(4))
    await asyncio.sleep(0, "result")
    print("end")

asyncio.run(main())
"""


def test_a_debugger_steps_over_every_await(tmp_path: Path) -> None:
    """The exceptions that carry results are none to it, as on asyncio."""
    script = tmp_path / "stepped.py"
    script.write_text(STEPPED)
    shown = []
    for name in ("asyncio", "tulipa"):
        done = subprocess.run(
            [sys.executable, str(script), name],
            input="next\n" * 7 + "continue\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert "StopIteration" not in shown[1]
    assert shown[1] == shown[0]
