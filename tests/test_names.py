"""Names and addresses: what the socket module answers, without its being in the loop's way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

import tulipa

LITERALS = [
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "::1",
    "::",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "2001:DB8::7",
    "fe80::1",
]
PORTS: list[Any] = [None, 0, 80, 65535, "80", b"80", "http"]
HINTS: list[dict[str, int]] = [
    {},
    {"type": socket.SOCK_STREAM},
    {"type": socket.SOCK_DGRAM},
    {"type": socket.SOCK_RAW},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP},
    {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP},
    {"proto": socket.IPPROTO_UDP},
    {"type": socket.SOCK_STREAM, "family": socket.AF_INET},
    {"type": socket.SOCK_STREAM, "family": socket.AF_INET6},
    {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE},
    {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME},
    {"type": socket.SOCK_STREAM, "flags": socket.AI_ADDRCONFIG},
    {"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV},
]
UNUSUAL: list[tuple[Any, Any]] = [
    (None, 80),
    (None, None),
    ("localhost", 80),
    (b"localhost", "http"),
    (b"127.0.0.1", 80),
    ("127.1", 80),
    ("0x7f.0.0.1", 80),
    ("127.0.0.010", 80),
    ("fe80::1%lo", 80),
    ("1.2.3.4.5", 80),
    ("", 80),
    ("no-such-host.invalid", 80),
    ("a" * 64 + ".invalid", 80),
    ("b..c", 80),
    ("\N{LATIN SMALL LETTER SHARP S}.invalid", 80),
    ("127.0.0.1\0.invalid", 80),
    ("127.0.0.1", 65536),
    ("127.0.0.1", -1),
    ("127.0.0.1", True),
    ("127.0.0.1", 2**40),
    ("127.0.0.1", "no-such-service"),
    ("127.0.0.1", 1.5),
    (42, 80),
    (bytearray(b"127.0.0.1"), 80),
]
SOCKADDRS: list[Any] = [
    ("127.0.0.1", 80),
    ("127.0.0.1", 65535),
    ("::1", 80),
    ("::1", 80, 0, 0),
    ("::1", 80, 5, 0),
    ("::1", 80, 2**20, 0),
    ("127.0.0.1", 80, 0),
    ("127.0.0.1", 70000),
    ("localhost.invalid", 80),
    "not a tuple",
    (),
]


def run(main: Any, debug: bool = False) -> Any:
    return tulipa.run(asyncio.wait_for(main, 60), debug=debug)


def answer_of(function: Any, *args: Any, **keywords: Any) -> Any:
    """Return what a function returns, or the type and text of what it raises."""
    try:
        return function(*args, **keywords)
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)


async def async_answer_of(awaitable: Any) -> Any:
    try:
        return await awaitable
    except Exception as error:
        return type(error), getattr(error, "errno", None), str(error)


def test_every_answer_is_the_socket_modules() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        questions = [(host, port, hints) for host in LITERALS for port in PORTS for hints in HINTS]
        questions += [(host, port, hints) for host, port in UNUSUAL for hints in HINTS[:3]]
        for host, port, hints in questions:
            expected = answer_of(socket.getaddrinfo, host, port, **hints)
            answer = await async_answer_of(loop.getaddrinfo(host, port, **hints))
            assert answer == expected, (host, port, hints)
            assert repr(answer) == repr(expected)

    run(main())


def test_every_name_is_the_socket_modules() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for sockaddr in SOCKADDRS:
            for flags in (
                0,
                socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
                socket.NI_NUMERICHOST,
                socket.NI_NAMEREQD,
            ):
                expected = answer_of(socket.getnameinfo, sockaddr, flags)
                assert await async_answer_of(loop.getnameinfo(sockaddr, flags)) == expected, (sockaddr, flags)

    run(main())


def test_literals_need_no_thread_and_names_do() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("::1", "80")
        await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        assert loop._default_executor is None
        await asyncio.gather(*(loop.getaddrinfo("localhost", 80) for _ in range(40)))
        assert {thread.name.partition("_")[0] for thread in loop._default_executor._threads} == {"asyncio"}

    run(main())


def test_functions_that_a_program_puts_in_place_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *arguments: [threading.current_thread().name, *arguments]
    )
    monkeypatch.setattr(
        socket, "getnameinfo", lambda *arguments: (threading.current_thread().name, *arguments)
    )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.getaddrinfo("127.0.0.1", 80) == ["asyncio_0", "127.0.0.1", 80, 0, 0, 0, 0]
        assert await loop.getnameinfo(("127.0.0.1", 80)) == ("asyncio_0", ("127.0.0.1", 80), 0)

    run(main())


def test_functions_put_in_place_before_the_first_import_are_used() -> None:
    program = """
import asyncio, socket
socket.getaddrinfo = lambda *arguments: ["patched"]
socket.getnameinfo = lambda *arguments: ("patched", "")
import tulipa
async def main():
    loop = asyncio.get_running_loop()
    print(await loop.getaddrinfo("127.0.0.1", 80), await loop.getnameinfo(("127.0.0.1", 80)))
tulipa.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['patched'] ('patched', '')\n", "")


def test_a_programs_own_default_executor_resolves() -> None:
    used = []

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            used.append(fn)
            return super().submit(fn, *args, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Pool(1))
        await loop.getaddrinfo("localhost", 80)
        await loop.getnameinfo(("127.0.0.1", 80))

    run(main())
    assert used == [socket.getaddrinfo, socket.getnameinfo]


def test_a_cancelled_question_and_a_closed_loop_harm_nobody() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(loop.getaddrinfo("localhost", 80)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
        assert all(answer == answers[1] for answer in answers[1::2])

    run(main())
    for _ in range(20):
        loop: Any = tulipa.new_event_loop()
        coroutine = loop.getaddrinfo("localhost", 80)
        waiting = coroutine.send(None)
        pool = loop._default_executor
        loop.close()
        pool.shutdown()
        assert not waiting.done()
        coroutine.close()


def test_nothing_is_resolved_after_the_executor_was_shut_down() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await loop.getaddrinfo("localhost", 80)
        assert await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    run(main())


def test_debug_mode_logs_slow_answers_as_asyncio_does(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = -1.0
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(main(), debug=True)
    messages = [(record.levelname, record.getMessage().partition(" took")[0]) for record in caplog.records]
    kind = repr(socket.SOCK_STREAM)
    assert ("DEBUG", f"Get address info 127.0.0.1:80, type={kind}") in messages
    assert ("INFO", f"Getting address info 127.0.0.1:80, type={kind}") in messages


def test_audit_hooks_see_every_question() -> None:
    program = """
import asyncio, socket, sys, tulipa
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.getnameinfo"):
        print(event, arguments)
    if event == "socket.getaddrinfo" and arguments[1] == 666:
        raise PermissionError("not that one")
async def main():
    loop = asyncio.get_running_loop()
    await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    await loop.getaddrinfo("localhost", 80, proto=6)
    await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    try:
        await loop.getaddrinfo("127.0.0.1", 666)
    except PermissionError as error:
        print(error)
sys.addaudithook(hook)
tulipa.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"socket.getaddrinfo ('127.0.0.1', 80, 0, {int(socket.SOCK_STREAM)}, 0)",
        "socket.getaddrinfo ('localhost', 80, 0, 0, 6)",
        "socket.getnameinfo (('127.0.0.1', 80),)",
        "socket.getaddrinfo ('127.0.0.1', 666, 0, 0, 0)",
        "not that one",
    ]
