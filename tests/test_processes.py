"""Child processes: every option of Popen, every way in which a child can end, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tulipa

PIPE = asyncio.subprocess.PIPE
PYTHON = sys.executable


def run(main: Any, debug: bool = False) -> Any:
    return tulipa.run(asyncio.wait_for(main, 120), debug=debug)


def descriptors() -> set[tuple[int, str]]:
    """Return what is open. A loop opens a ring for itself when it first has much to send; that one is not counted."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing itself
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return {(fd, what) for fd, what in found if what != "anon_inode:[io_uring]"}


def children() -> set[str]:
    """Return the children of this process, dead ones that nobody has waited for among them."""
    lists = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return {child for children in lists for child in children}


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Check that a test leaves neither descriptors nor children, dead or alive."""
    gc.collect()
    before = descriptors(), children()
    yield
    gc.collect()
    assert (descriptors(), children()) == before


class Held:
    """A child that goes on when it is let."""

    def __init__(self, process: Any, end: int) -> None:
        self.pid, self.wait, self.transport = process.pid, process.wait, process._transport
        self._end = end

    def release(self) -> int:
        os.close(self._end)
        return int(self.pid)


async def held(command: str) -> Held:
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_shell(f"read word; {command}", stdin=reading)
    os.close(reading)
    return Held(process, writing)


async def output_of(*command: str, **options: Any) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=subprocess.STDOUT, **options)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


@pytest.mark.usefixtures("nothing_left")
def test_exit_statuses() -> None:
    async def main() -> None:
        for command, status in (
            ("exit 0", 0),
            ("exit 3", 3),
            ("kill -9 $$", -9),
            ("kill -15 $$", -15),
            ("exit 255", 255),
        ):
            process = await asyncio.create_subprocess_shell(command)
            assert await process.wait() == status
            assert process.returncode == status
            assert await process.wait() == status

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_signals_to_a_child_and_to_one_that_is_gone() -> None:
    async def main() -> None:
        for method, number in (("kill", signal.SIGKILL), ("terminate", signal.SIGTERM)):
            process = await asyncio.create_subprocess_exec("sleep", "100")
            getattr(process, method)()
            assert await process.wait() == -number
        process = await asyncio.create_subprocess_exec("sleep", "100")
        process.send_signal(signal.SIGUSR1)
        assert await process.wait() == -signal.SIGUSR1
        with pytest.raises(ProcessLookupError):
            process.kill()

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_child_takes_no_thread_and_no_signal_handler() -> None:
    async def main() -> None:
        threads, handler = threading.active_count(), signal.getsignal(signal.SIGCHLD)
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        assert threading.active_count() == threads
        assert signal.getsignal(signal.SIGCHLD) is handler
        await process.communicate(b"")

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_options_of_popen(tmp_path: Path) -> None:
    async def main() -> None:
        assert await output_of("pwd", cwd=tmp_path) == f"{tmp_path}\n"
        assert (
            await output_of("sh", "-c", "echo $WORD", env={"WORD": "given", "PATH": os.environ["PATH"]})
            == "given\n"
        )
        assert await output_of("sh", "-c", "umask", umask=0o27) == "0027\n"
        assert await output_of("name", "-c", "echo $0", executable="/bin/sh") == "-c\n".replace("-c", "name")
        show = "import os; print(os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())"
        assert await output_of(PYTHON, "-c", show, start_new_session=True) == "True True\n"
        assert await output_of(PYTHON, "-c", show, process_group=0) == "False True\n"
        reading, writing = os.pipe()
        try:
            assert (
                await output_of("sh", "-c", f"echo word >/dev/fd/{writing}; echo done", pass_fds=[writing])
                == "done\n"
            )
            assert os.read(reading, 100) == b"word\n"
        finally:
            os.close(reading)
            os.close(writing)
        ignored = "import signal; print(signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN)"
        assert await output_of("sh", "-c", "kill -PIPE $$; echo alive", restore_signals=False) == "alive\n"
        assert await output_of(PYTHON, "-c", ignored) == "True\n"
        if os.getuid() == 0:
            assert await output_of("id", "-u", user=65534) == "65534\n"
            assert await output_of("id", "-g", group=65534) == "65534\n"
            assert await output_of("id", "-G", extra_groups=[1, 2], group=3) == "3 1 2\n"
        with warnings.catch_warnings():
            # From 3.12 on a fork while threads run is warned of.
            warnings.simplefilter("ignore", DeprecationWarning)
            assert await output_of("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o31)) == "0031\n"

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_where_output_goes(tmp_path: Path) -> None:
    async def main() -> None:
        with open(tmp_path / "out", "wb") as file:
            process = await asyncio.create_subprocess_shell(
                "echo out; echo error >&2", stdout=file, stderr=PIPE
            )
            assert await process.communicate() == (None, b"error\n")
        assert (tmp_path / "out").read_text() == "out\n"
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec("cat", stdin=null, stdout=PIPE)
        assert await process.communicate() == (b"", None)

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_megabyte_through_a_child_and_back() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        data = os.urandom(1 << 20)
        assert (await process.communicate(data))[0] == data

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_child_that_does_not_read_its_input() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert await process.communicate(bytes(1 << 20)) == (None, None)
        assert process.returncode == 0

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_does_not_exist() -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)
        with pytest.raises(ValueError, match="universal_newlines must be False"):
            await asyncio.create_subprocess_exec("true", universal_newlines=True)

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_thousands_of_short_children_leave_nothing() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = descriptors(), children()
        limit = asyncio.Semaphore(40)

        async def one(number: int) -> int:
            async with limit:
                process = await asyncio.create_subprocess_exec("/bin/true")
                return await process.wait()

        assert sum(await asyncio.gather(*(one(number) for number in range(2000)))) == 0
        assert (descriptors(), children()) == before
        assert not loop._children._pidfds

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_children_with_pipes_leave_nothing() -> None:
    async def main() -> None:
        before = descriptors()

        async def one(number: int) -> None:
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert await process.communicate(b"%d" % number) == (b"%d" % number, b"")

        for _ in range(10):
            await asyncio.gather(*(one(number) for number in range(20)))
        await asyncio.sleep(0)
        gc.collect()
        assert descriptors() == before

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_child_whose_status_the_program_has_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        process = await held("exit 7")
        # While this waits the loop sees nothing.
        assert os.waitpid(process.release(), 0)[1] == 7 << 8
        return await process.wait()

    with caplog.at_level(logging.WARNING, "asyncio"):
        assert run(main()) == 255
    (record,) = caplog.records
    assert record.getMessage().endswith(" exit status already read:  will report returncode 255")


@pytest.mark.usefixtures("nothing_left")
def test_a_child_that_cannot_be_waited_for_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is reported, as by asyncio, which is not told of the child's end then."""

    async def main() -> None:
        reports: asyncio.Queue[Any] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.put_nowait(context))
        process: Any = await asyncio.create_subprocess_exec("cat", stdin=PIPE)

        def fails(*_args: Any) -> Any:
            raise OSError("unexpected")

        with monkeypatch.context() as patched:
            patched.setattr(os, "waitid", fails)
            process.stdin.close()
            report = await reports.get()
        assert str(report["exception"]) == "unexpected"
        assert "anon_inode:[pidfd]" not in {what for _, what in descriptors()}
        os.waitpid(process.pid, 0)
        process._transport._process_exited(0)
        await process.wait()

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_child_that_is_gone_before_it_is_watched(
    caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """Its number may be another child's by then, so it is the first thing asked for; still a handler can be faster."""
    open_pidfd = os.pidfd_open

    def slow(pid: int, flags: int = 0) -> int:
        os.waitpid(pid, 0)
        return open_pidfd(pid, flags)

    monkeypatch.setattr(os, "pidfd_open", slow)

    async def main() -> int:
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    # There the Popen has been asked by then, under asyncio too, and says 0 of a child that is gone.
    asked = sys.version_info >= (3, 14)
    with caplog.at_level(logging.WARNING, "asyncio"):
        assert run(main()) == (0 if asked else 255)
    assert len(caplog.records) == (0 if asked else 1)


@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_ignores_sigchld(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        return await process.wait()

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with caplog.at_level(logging.WARNING, "asyncio"):
            assert run(main()) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_handles_sigchld_itself() -> None:
    seen: list[int] = []

    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, told.set)
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        assert await process.wait() == 7
        await told.wait()
        loop.remove_signal_handler(signal.SIGCHLD)
        signal.signal(signal.SIGCHLD, lambda number, _: seen.append(number))
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 8")
        assert await process.wait() == 8

    try:
        run(main())
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    assert signal.SIGCHLD in seen


@pytest.mark.usefixtures("nothing_left")
def test_a_child_whose_popen_has_waited_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """What Popen knows is not lost: asyncio's own watchers would say 255."""

    async def main() -> int:
        process = await held("exit 7")
        process.release()
        assert process.transport.get_extra_info("subprocess").wait() == 7
        return int(await process.wait())

    with caplog.at_level(logging.WARNING, "asyncio"):
        assert run(main()) == 7
    assert not caplog.records


@pytest.mark.usefixtures("nothing_left")
def test_a_number_that_was_given_to_another_child() -> None:
    """The status is asked for by the pidfd: another child of the same number is none of the loop's business."""
    if not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        return  # Without the right to choose numbers there is nothing to be seen.

    async def main() -> None:
        process = await held("exit 7")
        os.waitpid(process.release(), 0)
        other = fork_as(process.pid)
        try:
            assert await process.wait() == 255
            if other == process.pid:
                assert os.waitpid(other, os.WNOHANG) == (0, 0)
        finally:
            os.kill(other, signal.SIGKILL)
            assert os.waitpid(other, 0)[0] == other

    run(main())


def fork_as(pid: int) -> int:
    """Start a child that sleeps, under that number if nobody else is faster."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    return subprocess.Popen(["sleep", "100"]).pid


@pytest.mark.usefixtures("nothing_left")
def test_a_loop_in_another_thread() -> None:
    answers: list[int] = []

    async def main() -> int:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        return await process.wait()

    threads = [threading.Thread(target=lambda: answers.append(run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [5, 5, 5, 5]


@pytest.mark.usefixtures("nothing_left")
def test_the_transport_shows_what_asyncios_shows() -> None:
    async def main() -> None:
        process: Any = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        transport = process._transport
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_extra_info("subprocess").pid == transport.get_pid() == process.pid
        assert transport.get_extra_info("nothing", 1) == 1
        text = repr(transport)
        assert text.startswith(f"<_UnixSubprocessTransport pid={process.pid} running stdin=<")
        assert transport.get_returncode() is None
        assert transport.get_pipe_transport(2) is None
        assert not transport.is_closing()
        await process.communicate(b"")
        # The exit may be noticed just before communicate() asks for it; the protocol closes the transport a turn later.
        await asyncio.sleep(0)
        assert transport.is_closing()
        assert repr(transport).startswith(f"<_UnixSubprocessTransport closed pid={process.pid} returncode=0")

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_closing_the_transport_kills_the_child() -> None:
    async def main() -> None:
        process: Any = await asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE)
        process._transport.close()
        assert await process.wait() == -signal.SIGKILL

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_cancelling_while_the_child_is_being_connected() -> None:
    async def main() -> None:
        before = children()
        for turns in range(6):
            task = asyncio.create_task(
                asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(outcome, asyncio.CancelledError):
                outcome.kill()
                await outcome.wait()
                outcome._transport.close()
        assert children() == before

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_loop_that_is_closed_before_its_child_has_ended() -> None:
    loop: Any = tulipa.new_event_loop()
    process: Any = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "100"))
    pid, watching = process.pid, set(loop._children._pidfds)
    assert len(watching) == 1
    loop.close()
    assert not watching & {fd for fd, _ in descriptors()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del process
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert f"unclosed transport <_UnixSubprocessTransport pid={pid} running>" in texts
    # Its Popen, as it went, may have collected it.
    with contextlib.suppress(ChildProcessError):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_collected_unclosed_before_its_child_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    loop: Any = tulipa.new_event_loop()
    process: Any = loop.run_until_complete(asyncio.create_subprocess_exec("sleep", "100"))
    pid, watching = process.pid, set(loop._children._pidfds)
    del loop, process
    gc.collect()
    assert not failures
    assert not watching & {fd for fd, _ in descriptors()}
    with contextlib.suppress(ChildProcessError):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers are gone since 3.14")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_watcher_of_the_programs_own_is_used() -> None:
    used: list[int] = []

    class Watcher(asyncio.ThreadedChildWatcher):
        def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
            used.append(pid)
            super().add_child_handler(pid, callback, *args)

    async def main() -> tuple[int, int]:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        return process.pid, await process.wait()

    asyncio.set_child_watcher(Watcher())
    try:
        pid, status = run(main())
    finally:
        asyncio.set_child_watcher(None)
    assert used == [pid]
    assert status == 7
    assert run(main())[1] == 7
    assert len(used) == 1


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers are gone since 3.14")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_watcher_that_is_not_active_is_refused_as_by_asyncio() -> None:
    asyncio.set_child_watcher(asyncio.SafeChildWatcher())
    loop = tulipa.new_event_loop()
    try:
        with pytest.raises(RuntimeError, match=r"is not activated, *subprocess support is not installed"):
            loop.run_until_complete(asyncio.create_subprocess_exec("true"))
    finally:
        asyncio.set_child_watcher(None)
        loop.close()


def test_a_kernel_without_pidfds_gets_asyncios_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int, flags: int = 0) -> int:
        raise PermissionError(1, "no pidfds here")

    from tulipa import _processes

    monkeypatch.setattr(os, "pidfd_open", refused)
    monkeypatch.setattr(_processes, "HAS_PIDFDS", _processes._has_pidfds())
    assert not _processes.HAS_PIDFDS

    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        if sys.version_info >= (3, 14):
            loop._watcher = asyncio.unix_events._ThreadedChildWatcher()  # type: ignore[attr-defined]
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        return await process.wait()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if sys.version_info < (3, 14):
            asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())
        try:
            assert run(main()) == 7
        finally:
            if sys.version_info < (3, 14):
                asyncio.set_child_watcher(None)


def test_debug_mode_logs_the_life_of_a_child(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(main(), debug=True)
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("process 'true' created: pid ") for message in messages)
    assert any(message.endswith("exited with return code 0") for message in messages)
