"""The process around the loop: its signals, threads, forks and interpreters belong to the program, not to the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import tulipa

from .loops import LOOPS, run


def python(source: str, *options: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, bounded."""
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **keywords,
    )


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_program_may_handle_sigchld_and_have_children_too(new_loop: Any) -> None:
    async def main() -> tuple[int | None, int]:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        times = 0

        def handler() -> None:
            nonlocal times
            times += 1
            told.set()

        loop.add_signal_handler(signal.SIGCHLD, handler)
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
        code = await child.wait()
        await told.wait()
        loop.remove_signal_handler(signal.SIGCHLD)
        return code, times

    assert run(new_loop, main) == (3, 1)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_wakeup_descriptor_of_the_programs_survives_a_loop_without_signal_handlers(new_loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        before = signal.set_wakeup_fd(ours.fileno())
        old = signal.signal(signal.SIGUSR1, lambda *_: None)
        try:

            async def main() -> None:
                os.kill(os.getpid(), signal.SIGUSR1)
                await asyncio.sleep(0)
                child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
                await child.wait()

            run(new_loop, main)
            theirs.settimeout(10)
            assert theirs.recv(1) == bytes([signal.SIGUSR1])
        finally:
            signal.signal(signal.SIGUSR1, old)
            assert signal.set_wakeup_fd(before) == ours.fileno()


def test_no_hook_is_registered_for_forks() -> None:
    outcome = python(
        """
        import os

        def refuse(**hooks):
            raise AssertionError(f"registered {hooks}")

        import asyncio, concurrent.futures.thread, random, threading, tempfile, logging  # these have hooks of their own
        os.register_at_fork = refuse
        import tulipa

        async def main():
            await asyncio.sleep(0)
            child = await asyncio.create_subprocess_exec("true")
            await child.wait()
            await asyncio.to_thread(int)

        tulipa.run(main())
        print("done")
        """
    )
    assert (outcome.stdout, outcome.stderr) == ("done\n", "")


def test_a_forked_child_may_run_a_loop_of_its_own_and_leaves_the_parents_alone() -> None:
    outcome = python(
        """
        import asyncio, os, sys, warnings
        import tulipa
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

        async def child():
            await asyncio.sleep(0.01)
            return await asyncio.to_thread(os.getpid)

        async def main():
            before = await asyncio.to_thread(os.getpid)
            pid = os.fork()
            if pid == 0:
                try:
                    try:
                        asyncio.get_running_loop()
                    except RuntimeError:
                        ok = tulipa.run(child()) == os.getpid()
                    os._exit(0 if ok else 1)
                finally:
                    os._exit(2)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            await asyncio.sleep(0.01)
            return os.waitstatus_to_exitcode(status)

        print(tulipa.run(main()))
        """
    )
    assert (outcome.stdout, outcome.stderr) == ("0\n", "")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="interpreters have a module since Python 3.13")
def test_a_subinterpreter_is_told_that_it_cannot_import_the_package() -> None:
    outcome = python(
        """
        import _interpreters
        import tulipa
        interpreter = _interpreters.create()
        failed = _interpreters.run_string(interpreter, '''if True:
            try:
                import tulipa
            except ImportError as error:
                pass
            else:
                raise SystemExit("imported")
            import asyncio
            assert asyncio.run(asyncio.sleep(0, "ran")) == "ran"
        ''')
        _interpreters.destroy(interpreter)
        print(failed)
        assert tulipa.run(__import__("asyncio").sleep(0, 42)) == 42
        """
    )
    assert (outcome.stdout, outcome.stderr) == ("None\n", "")


@pytest.mark.parametrize("first", ["main", "another"])
def test_interpreters_that_share_the_gil_do_not_share_the_package(first: str) -> None:
    """As mod_wsgi and uWSGI make them. The one that imports it first has it."""
    module, kind = (
        ("_interpreters", "'legacy'")
        if sys.version_info >= (3, 13)
        else ("_xxsubinterpreters", "isolated=False")
    )
    outcome = python(
        f"""
        import asyncio  # 3.11's has parts that belong to the interpreter which imports it first
        import {module} as interpreters
        USE = '''if True:
            import asyncio
            try:
                import tulipa
            except ImportError as error:
                print(error, flush=True)
            else:
                print(tulipa.run(asyncio.sleep(0, "imported")), flush=True)
            assert asyncio.run(asyncio.sleep(0, "ran")) == "ran"
        '''
        if {first!r} == "main":
            exec(USE)
        for _ in range(2):
            interpreter = interpreters.create({kind})
            interpreters.run_string(interpreter, USE)
            interpreters.destroy(interpreter)
        exec(USE)
        """
    )
    refused = "module tulipa._tulipa does not support loading in subinterpreters"
    expected = (
        ["imported", refused, refused, "imported"] if first == "main" else ["imported", refused, refused]
    )
    assert (outcome.stdout.splitlines(), outcome.stderr) == (expected, "")


def test_a_loop_runs_where_asyncio_cannot_be_imported_any_more() -> None:
    outcome = python(
        """
        import asyncio, sys, tulipa
        with asyncio.Runner(loop_factory=tulipa.new_event_loop) as runner:
            sys.modules["asyncio"] = None
            print(runner.run(asyncio.sleep(0, "ran")))
        """
    )
    assert (outcome.stdout, outcome.stderr) == ("ran\n", "")


@pytest.mark.parametrize("entry", ["run_forever", "nested", "taken"])
def test_a_process_ends_well_while_loops_run_in_daemon_threads(entry: str) -> None:
    """Before 3.14 the interpreter ends such threads wherever they are: in the middle of what the loop calls."""
    program = """
        import asyncio, threading, tulipa
        def busy():
            for _ in range(5000):
                pass
        async def spin():
            started.set()
            while True:
                busy()
                await asyncio.sleep(0)
        def main():
            loop = tulipa.new_event_loop()
            task = loop.create_task(spin())
            if ENTRY == "run_forever":
                loop.run_forever()
            asyncio.events._set_running_loop(loop)
            while ENTRY == "nested":  # turns that are made in Python
                loop._run_once()
            while ENTRY == "taken":  # and jobs that are run one by one
                loop._selector.select(0)
                loop._ready.popleft()._run()
        for _ in range(4):
            started = threading.Event()
            threading.Thread(target=main, daemon=True).start()
            started.wait()
        print("the end")
    """
    for _ in range(5):
        ended = python(program.replace("ENTRY", repr(entry)))
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


@pytest.mark.parametrize("made_by", ["asyncio.SelectorEventLoop", "tulipa.EventLoop"])
@pytest.mark.parametrize("keeps", ["nothing", "itself", "the program"])
def test_a_current_loop_that_is_never_closed_goes_without_a_word(made_by: str, keeps: str) -> None:
    """The interpreter, when it ends, empties the modules that the loop needs, if it still finds them."""
    program = """
        import asyncio, tulipa
        def function():
            pass
        loop = MADE_BY()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(asyncio.sleep(0))
        if KEEPS == "itself":
            loop.keeps = loop
        if KEEPS == "the program":
            loop.call_soon(function)
        del loop
        """
    ended = python(program.replace("MADE_BY", made_by).replace("KEEPS", repr(keeps)))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_current_loop_stays_when_the_package_is_imported_anew() -> None:
    outcome = python(
        """
        import asyncio, gc, sys, tulipa
        loop = tulipa.new_event_loop()
        asyncio.set_event_loop(loop)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tulipa" and name != "tulipa._tulipa"]:
            del sys.modules[name]
        del tulipa
        gc.collect()
        print(asyncio.get_event_loop() is loop)
        loop.close()
        """
    )
    assert (outcome.stdout, outcome.stderr) == ("True\n", "")


def test_a_thread_may_end_itself_after_a_loop_has_run_in_it() -> None:
    """Only below a loop's run is a thread kept from ending."""
    ended = python(
        """
        import asyncio, ctypes, threading, tulipa
        async def main():
            await asyncio.sleep(0)
        def run():
            tulipa.run(main())
        libc = ctypes.CDLL(None)
        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        def body(_):
            run()
            libc.pthread_exit(None)
        identity = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(identity), None, body, None) == 0
        assert libc.pthread_join(identity, None) == 0
        print("the end")
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


def test_everything_can_be_dropped_by_another_thread() -> None:
    """Whatever a thread holds last it destroys: no object may insist on the loop's own."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=left)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        pending = loop.create_future()
        task = loop.create_task(asyncio.sleep(0))
        held = [
            *(transport, protocol, server, pending, task, right),
            *(
                loop.call_soon(int),
                loop.call_later(1000, int),
                loop.create_future(),
                asyncio.Queue(),
                asyncio.Lock(),
            ),
        ]
        await task
        transport.close()
        server.close()
        right.close()
        await asyncio.sleep(0)
        return held

    failures: list[Any] = []
    before = threading.excepthook
    unraisable = sys.unraisablehook
    threading.excepthook = failures.append
    sys.unraisablehook = failures.append
    try:
        loop = tulipa.new_event_loop()
        held = loop.run_until_complete(main())
        loop.close()
        held.append(loop)
        del loop

        def drop() -> None:
            while held:
                held.pop()
            gc.collect()

        thread = threading.Thread(target=drop)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before
        sys.unraisablehook = unraisable
    assert failures == []


def test_objects_tell_other_threads_what_they_are() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        left, right = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        future, task = loop.create_future(), asyncio.current_task()
        timer = loop.call_later(1000, int)

        def look() -> list[Any]:
            return [
                *(loop.is_running(), loop.get_debug(), loop.time() > 0, repr(loop)),
                *(future.done(), repr(future), task.done(), task.get_name(), repr(task)),
                *(timer.when() > 0, timer.cancelled(), repr(timer)),
                *(transport.is_closing(), transport.get_extra_info("socket") is not None, repr(transport)),
                len(asyncio.all_tasks(loop)),
            ]

        assert await asyncio.to_thread(look) == look()
        timer.cancel()
        transport.close()
        right.close()

    run(tulipa.new_event_loop, main)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_name_of_the_socket_class_may_stand_for_something_else(
    new_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests put a function there; proxies and monitors a class of their own."""
    original = socket.socket
    told: list[bytes] = []

    class Told(original):  # type: ignore[misc, valid-type]
        def recv(self, *arguments: Any) -> bytes:
            told.append(super().recv(*arguments))
            return told[-1]

    class Receiver(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.received = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.received.set_result(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    async def exchange() -> tuple[bytes, bytes]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"stream")
            writer.write_eof()
            stream = await reader.read()
            writer.close()
            await writer.wait_closed()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        transport.sendto(b"datagram", transport.get_extra_info("sockname"))
        datagram = await protocol.received
        transport.close()
        return stream, datagram

    expected = (b"stream", b"datagram")
    monkeypatch.setattr(socket, "socket", lambda *arguments, **keywords: original(*arguments, **keywords))
    assert run(new_loop, exchange) == expected
    assert told == []
    monkeypatch.setattr(socket, "socket", Told)
    assert run(new_loop, exchange) == expected
    assert b"stream" in told


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_patched_resolver_is_asked_whatever_it_is_patched_with(
    new_loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg and asyncssh replace it in their tests, VPN clients in earnest: also for an address that is a literal."""
    asked: list[Any] = []

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append((host, threading.current_thread() is threading.main_thread()))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            transport, _ = await loop.create_connection(asyncio.Protocol, "no.such.host.invalid", port)
            transport.close()
            assert (await loop.getaddrinfo("10.1.2.3", 5))[0][4] == ("127.0.0.1", 5)
            monkeypatch.undo()

    run(new_loop, main)
    assert asked == [("no.such.host.invalid", False), ("10.1.2.3", False)]


@pytest.mark.parametrize(
    ("owner", "name", "replacement"),
    [
        ("Handle", "_callback", "'a string'"),
        ("TimerHandle", "_when", "property(repr)"),
        ("Handle", "_args", "type('Other', (), {'__slots__': '_args'})._args"),
    ],
)
def test_the_import_is_refused_where_something_stands_in_place_of_a_handles_slot(
    owner: str, name: str, replacement: str
) -> None:
    done = python(f"""
        import asyncio.events
        asyncio.events.{owner}.{name} = {replacement}
        try:
            import tulipa
        except TypeError as error:
            print(error)
        """)
    text = f"asyncio.events.{owner}.{name} must be the member that the class was made with, not "
    assert done.stdout.startswith(text), (done.returncode, done.stdout, done.stderr)
