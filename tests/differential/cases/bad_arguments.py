"""What every method says to arguments of the wrong kind."""

from __future__ import annotations

import asyncio
from typing import Any

from ..log import Log
from .scheduling import new_loop, turns


async def nothing() -> None:
    """A coroutine that does nothing."""


def case_scheduling_calls(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        log.attempt("call_later None", loop.call_later, None, print)
        log.attempt("call_later str", loop.call_later, "1", print)
        log.attempt("call_at None", loop.call_at, None, print)
        log.attempt("call_later nothing", loop.call_later, 1)
        log.attempt("call_soon nothing", loop.call_soon)
        log.attempt("call_soon keyword", loop.call_soon, print, end="")
        log.attempt("call_at no callback", loop.call_at, 1)


def case_callback_that_is_not_callable(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        log.watch(loop)
        loop.call_soon(log, "before")
        log.attempt("call_soon", lambda: loop.call_soon(42) and None)
        log.attempt("call_later", lambda: loop.call_later(0, "x") and None)
        turns(loop)


def case_callbacks_checked_in_debug_mode(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        loop.set_debug(True)
        for name in ("call_soon", "call_soon_threadsafe"):
            log.attempt(f"{name} coroutine function", getattr(loop, name), nothing)
            log.attempt(f"{name} not callable", getattr(loop, name), 42)
        log.attempt("call_later coroutine function", loop.call_later, 1, nothing)
        log.attempt("call_at not callable", loop.call_at, 1, None)
        log.attempt("run_in_executor coroutine function", loop.run_in_executor, None, nothing)
        coroutine = nothing()
        log.attempt("call_soon coroutine", loop.call_soon, coroutine)
        coroutine.close()


def case_context_that_is_none_or_wrong(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        log.watch(loop)
        log.attempt("None", lambda: loop.call_soon(log, "context None", context=None) and None)
        turns(loop)


def case_run_until_complete(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        for wrong in (None, 42, "x", nothing, [], object):
            log.attempt(repr(type(wrong)), loop.run_until_complete, wrong)
        log.attempt("right", loop.run_until_complete, nothing())


def case_create_task(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        for wrong in (None, 42, nothing, loop.create_future()):
            log.attempt(type(wrong).__name__, loop.create_task, wrong)
        log.attempt("nothing", loop.create_task)
        coroutine = nothing()
        log.attempt("unknown keyword", loop.create_task, coroutine, colour="red")
        coroutine.close()


def case_settings(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        log(loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug())
        log.attempt("task factory", loop.set_task_factory, 42)
        log.attempt("exception handler", loop.set_exception_handler, "x")
        log.attempt("default executor", loop.set_default_executor, 42)
        log.attempt("default executor None", loop.set_default_executor, None)
        log.attempt("call_exception_handler", loop.call_exception_handler, None)
        log.attempt("call_exception_handler empty", loop.call_exception_handler, {})
        log.attempt("slow_callback_duration", getattr, loop, "slow_callback_duration")
        loop.set_debug(True)
        log(loop.get_debug())
        loop.set_debug(0)
        log(bool(loop.get_debug()))


def case_task_factory_results(log: Log) -> None:
    with new_loop() as any_loop:
        loop: Any = any_loop
        seen: list[Any] = []

        def factory(*args: Any, **kwargs: Any) -> Any:
            seen.append((len(args), sorted(kwargs)))
            return asyncio.Task(args[1], loop=args[0], **kwargs)

        loop.set_task_factory(factory)
        log(loop.get_task_factory() is factory)
        tasks = [
            loop.create_task(nothing()),
            loop.create_task(nothing(), name="named"),
            loop.create_task(nothing(), context=__import__("contextvars").copy_context()),
        ]
        loop.run_until_complete(asyncio.gather(*tasks))
        log(seen, tasks[1].get_name())
        loop.set_task_factory(None)
        log(loop.get_task_factory())


def case_transports_calls_without_needed_arguments(log: Log) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        attempt = log.attempt_await
        await attempt("no address", loop.create_connection(asyncio.Protocol))
        await attempt(
            "host and sock", loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, sock=object())
        )
        await attempt(
            "server_hostname without ssl",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, server_hostname="x"),
        )
        await attempt(
            "handshake timeout without ssl",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, ssl_handshake_timeout=1),
        )
        await attempt(
            "shutdown timeout without ssl",
            loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, ssl_shutdown_timeout=1),
        )
        await attempt("server: nothing", loop.create_server(asyncio.Protocol))
        await attempt("server: ssl bool", loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=True))
        await attempt(
            "server: host and sock", loop.create_server(asyncio.Protocol, "127.0.0.1", 0, sock=object())
        )
        await attempt(
            "server: timeout without ssl",
            loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl_handshake_timeout=1),
        )
        await attempt(
            "server: port str", loop.create_server(asyncio.Protocol, "127.0.0.1", "no-such-service-name")
        )

    asyncio.run(main())


def case_sockets_of_the_wrong_kind(log: Log) -> None:
    import socket

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            datagram.setblocking(False)
            for name in ("create_connection", "create_server"):
                try:
                    await getattr(loop, name)(asyncio.Protocol, sock=datagram)
                except Exception as error:
                    log(name, type(error).__name__, str(error).partition("<socket")[0])

    asyncio.run(main())


def case_run_coroutine_threadsafe(log: Log) -> None:
    with new_loop() as loop:
        for wrong in (42, None, nothing):
            log.attempt(type(wrong).__name__, asyncio.run_coroutine_threadsafe, wrong, loop)


def case_ensure_and_wrap_future(log: Log) -> None:
    with new_loop() as loop:
        other = asyncio.new_event_loop()
        future = loop.create_future()
        log(
            asyncio.ensure_future(future, loop=loop) is future,
            asyncio.wrap_future(future, loop=loop) is future,
        )
        log.attempt("other loop", asyncio.ensure_future, future, loop=other)
        log.attempt("wrong", asyncio.ensure_future, 42, loop=loop)
        log(asyncio.isfuture(future), asyncio.isfuture(42), asyncio.isfuture(type(future)))
        other.close()


def case_methods_of_a_closed_loop(log: Log) -> None:
    loop: Any = asyncio.new_event_loop()
    loop.call_soon(log, "must not run")
    loop.call_later(0, log, "must not run")
    loop.close()
    loop.close()
    log(loop.is_closed(), loop.is_running())
    for name, args in [
        ("call_soon", (print,)),
        ("call_soon_threadsafe", (print,)),
        ("call_later", (1, print)),
        ("call_at", (1, print)),
        ("run_forever", ()),
        ("run_in_executor", (None, print)),
        ("stop", ()),
        ("create_future", ()),
        ("time", ()),
    ]:
        log.attempt(name, lambda name=name, args=args: getattr(loop, name)(*args) and None)
    for name in ("run_until_complete", "create_task"):
        coroutine = nothing()
        log.attempt(name, getattr(loop, name), coroutine)
        coroutine.close()
    log(repr(loop))


def case_closing_a_running_loop(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        log.attempt("close", loop.close)
        log(loop.is_running(), loop.is_closed(), repr(loop))

    asyncio.run(main())
