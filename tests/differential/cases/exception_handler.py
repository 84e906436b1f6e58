"""Where exceptions go that nobody awaits: the loop's exception handler, its context, its own failures."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

from ..log import Log
from .scheduling import new_loop, print_nothing, turns


def fails(*_: object) -> None:
    """A callback that raises."""
    raise LookupError("from a callback")


def case_contexts_of_callbacks(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)
        loop.call_soon(fails)
        loop.call_soon(fails, 1, "argument")
        loop.call_later(0, fails)
        loop.call_soon_threadsafe(fails)
        turns(loop)


def case_default_handler_logs(log: Log) -> None:
    with new_loop() as loop:
        loop.call_soon(fails)
        turns(loop)
        loop.call_exception_handler({"message": "only a message"})
        loop.call_exception_handler({"message": "and more", "exception": ValueError("x"), "extra": [1, 2]})
        loop.call_exception_handler({})
        loop.default_exception_handler({"message": "called directly", "future": loop.create_future()})
        log("logged")


def case_debug_context_has_a_traceback(log: Log) -> None:
    with new_loop() as loop:
        loop.set_debug(True)
        loop.set_exception_handler(
            lambda _, context: log(sorted(context), type(context.get("source_traceback")).__name__)
        )
        loop.call_soon(fails)
        loop.call_later(0, fails)
        turns(loop)


def case_handler_that_fails(log: Log) -> None:
    with new_loop() as loop:

        def bad_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            log("handler called", sorted(context))
            raise ZeroDivisionError("in the handler")

        loop.set_exception_handler(bad_handler)
        loop.call_soon(fails)
        loop.call_soon(log, "the loop goes on")
        turns(loop)


def case_handler_of_the_wrong_arity(log: Log) -> None:
    with new_loop() as loop:
        loop.set_exception_handler(lambda: None)
        loop.call_soon(fails)
        turns(loop)
        log("survived")


def case_handler_that_raises_keyboard_interrupt(log: Log) -> None:
    with new_loop() as loop:

        def interrupts(*_: object) -> None:
            raise KeyboardInterrupt("in the handler")

        loop.set_exception_handler(interrupts)
        loop.call_soon(fails)
        log.attempt("run", loop.run_forever)
        loop.set_exception_handler(None)
        turns(loop)


def case_default_handler_overridden(log: Log) -> None:
    with new_loop() as loop:
        loop.default_exception_handler = lambda context: log("overridden", sorted(context))
        loop.call_soon(fails)
        turns(loop)


def case_handler_runs_in_the_callbacks_context(log: Log) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")
    with new_loop() as loop:
        loop.set_exception_handler(lambda _, context: log(variable.get(), sorted(context)))

        def sets_and_fails() -> None:
            variable.set("inner")
            fails()

        async def task_sets_and_fails() -> None:
            sets_and_fails()

        loop.call_soon(sets_and_fails)
        loop.call_later(0, sets_and_fails)
        turns(loop)
        task = loop.create_task(task_sets_and_fails())
        turns(loop)
        del task
        gc.collect()


def case_other_base_exceptions(log: Log) -> None:
    class Unusual(BaseException):
        pass

    def raises(error: BaseException) -> None:
        raise error

    with new_loop() as loop:
        log.watch(loop)
        for error in (Unusual("u"), GeneratorExit(), asyncio.CancelledError("stray"), StopIteration(1)):
            loop.call_soon(raises, error)
        loop.call_soon(log, "the loop goes on")
        turns(loop)


def case_unretrieved_task_exception(log: Log) -> None:
    async def raises() -> None:
        raise LookupError("never looked at")

    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        task = asyncio.create_task(raises(), name="unlucky")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        log("collected")

    asyncio.run(main())


def case_unretrieved_is_logged_by_default(log: Log) -> None:
    async def raises() -> None:
        raise LookupError("logged")

    async def main() -> None:
        task = asyncio.create_task(raises(), name="unlucky")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
        log("collected")

    asyncio.run(main())


def case_destroyed_while_pending(log: Log) -> None:
    async def waits_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        log.watch(asyncio.get_running_loop())
        asyncio.create_task(waits_for_nobody(), name="forgotten")  # noqa: RUF006
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        quiet: Any = asyncio.create_task(waits_for_nobody(), name="quiet")
        await asyncio.sleep(0)
        quiet._log_destroy_pending = False
        del quiet
        gc.collect()
        log("collected")

    asyncio.run(main())


def case_never_awaited(log: Log) -> None:
    async def forgotten() -> None:
        pass

    forgotten()
    gc.collect()
    log("collected")


def case_reader_that_fails(log: Log) -> None:
    import socket

    with new_loop() as loop:
        seen = []
        left, right = socket.socketpair()
        right.send(b"x")

        def handler(_: object, context: dict[str, Any]) -> None:
            seen.append(1)
            loop.remove_reader(left)
            log(sorted(context), context["message"], context["exception"])

        loop.set_exception_handler(handler)
        loop.add_reader(left, fails)
        turns(loop)
        log(len(seen))
        left.close()
        right.close()


def case_protocol_methods_that_fail(log: Log) -> None:
    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise LookupError("in data_received")

        def connection_lost(self, error: Exception | None) -> None:
            log("connection_lost", error)
            lost.set_result(None)

    async def main() -> None:
        nonlocal lost
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        def handler(_: object, context: dict[str, Any]) -> None:
            log(sorted(context), context["message"], context["exception"])

        loop.set_exception_handler(handler)
        server = await loop.create_server(Failing, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        await lost
        writer.close()
        server.close()

    lost: asyncio.Future[None]
    asyncio.run(main())


def case_message_for_a_handle_without_a_name(log: Log) -> None:
    import functools

    with new_loop() as loop:
        log.watch(loop)
        for callback in (functools.partial(fails, 1), functools.partial(functools.partial(fails), key=1)):
            loop.call_soon(callback)
        loop.call_soon(type("Callable", (), {"__call__": fails, "__repr__": lambda self: "<an object>"})())
        turns(loop)
        print_nothing()
