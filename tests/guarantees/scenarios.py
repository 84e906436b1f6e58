"""One function per guarantee; its docstring says what is guaranteed. Run by test_guarantees, through the differential
tests' harness: once on stock asyncio, once on Tulipa, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import socket
import threading
import time
import weakref
from typing import Any

from ..differential.log import Log

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outer")


def turns(loop: asyncio.AbstractEventLoop, count: int = 6) -> None:
    """Run a number of turns."""

    def tick(left: int) -> None:
        if left:
            loop.call_soon(tick, left - 1)
        else:
            loop.stop()

    loop.call_soon(tick, count)
    loop.run_forever()


def divide(*_: object) -> None:
    """A callback that fails."""
    raise ZeroDivisionError("division by zero")


def case_io_between_turns(log: Log) -> None:
    """A turn runs what was ready when it began; I/O is looked at between turns and queued behind."""
    loop = asyncio.new_event_loop()
    left, right = socket.socketpair()
    right.send(b"x")
    loop.add_reader(left, lambda: log("io", loop.remove_reader(left)))

    def chain(names: str) -> None:
        log(names[0])
        if names[1:]:
            loop.call_soon(chain, names[1:])

    loop.call_soon(chain, "abc")
    turns(loop, 8)
    loop.close()
    left.close()
    right.close()


def case_timer_of_no_delay_after_ready_callbacks(log: Log) -> None:
    """call_later(0) runs after what is ready, before what that schedules."""
    loop = asyncio.new_event_loop()
    loop.call_later(0, log, "timer")
    loop.call_soon(log, "a")
    loop.call_soon(lambda: loop.call_soon(log, "b"))
    turns(loop)
    loop.close()


def case_overdue_timers(log: Log) -> None:
    """Overdue timers run after ready callbacks, in order of their deadlines."""
    loop = asyncio.new_event_loop()
    now = loop.time()
    for late, name in ((1, "t1"), (2, "t2"), (0.5, "t3")):
        loop.call_at(now - late, log, name)
    loop.call_soon(log, "ready")
    turns(loop)
    loop.close()


def case_timers_due_together_fire_together(log: Log) -> None:
    """Timers of one deadline fire in one turn, before anything they schedule (among themselves in any order)."""
    loop = asyncio.new_event_loop()
    out: list[object] = []
    deadline = loop.time() + 0.01
    for number in range(4):
        loop.call_at(
            deadline, lambda number=number: (out.append(number), loop.call_soon(out.append, "scheduled"))
        )
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    log(sorted(out[:4], key=str), out[4:])
    loop.close()


def case_done_callbacks_in_order(log: Log) -> None:
    """Done callbacks are queued one by one in the order they were added, never called inline."""
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    future.add_done_callback(lambda _: log("1"))
    future.add_done_callback(lambda _: log("2"))
    loop.call_soon(log, "before the result")
    future.set_result(None)
    loop.call_soon(log, "after the result")
    future.add_done_callback(lambda _: log("3"))
    log("not yet")
    turns(loop)
    loop.close()


def case_exception_context_keys(log: Log) -> None:
    """The exception handler is called with the loop and a context of message, exception and handle."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda given, context: log(given is loop, sorted(context)))
    loop.call_soon(divide)
    turns(loop)
    loop.close()


def case_exception_handler_in_the_callbacks_context(log: Log) -> None:
    """Since 3.12 the exception handler runs in the context of the callback that failed."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: log(variable.get()))

    def fails() -> None:
        variable.set("inner")
        divide()

    loop.call_soon(fails)
    turns(loop)
    loop.close()


def case_exception_handler_of_a_timer(log: Log) -> None:
    """The same for a timer, whose handle is a TimerHandle."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: log(variable.get(), type(context["handle"]).__name__))

    def fails() -> None:
        variable.set("inner")
        divide()

    loop.call_later(0, fails)
    turns(loop)
    loop.close()


def case_keyboard_interrupt_keeps_the_queue(log: Log) -> None:
    """KeyboardInterrupt leaves run_forever at once; what was ready stays for the next run."""
    loop = asyncio.new_event_loop()

    def interrupt() -> None:
        raise KeyboardInterrupt

    loop.call_soon(interrupt)
    loop.call_soon(log, "left")
    log.attempt("run", loop.run_forever)
    turns(loop)
    loop.close()


def case_other_base_exceptions(log: Log) -> None:
    """Any other BaseException goes to the exception handler and the loop goes on."""

    class Unusual(BaseException):
        pass

    def raises() -> None:
        raise Unusual

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: log(type(context["exception"]).__name__))
    loop.call_soon(raises)
    turns(loop)
    log("went on")
    loop.close()


def case_system_exit_in_a_task(log: Log) -> None:
    """SystemExit in a task leaves the loop and is the task's exception."""

    async def exits() -> None:
        raise SystemExit(3)

    loop = asyncio.new_event_loop()
    task = loop.create_task(exits())
    log.attempt("run", loop.run_until_complete, task)
    log(task.done(), task.exception())
    loop.close()


def case_stopped_before_complete(log: Log) -> None:
    """run_until_complete of a loop that is stopped raises, and the future can be completed later."""

    async def stops() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1)

    loop = asyncio.new_event_loop()
    task = loop.create_task(stops())
    log.attempt("run", loop.run_until_complete, task)
    task.cancel()
    turns(loop)
    log(task.cancelled())
    loop.close()


def case_stop_before_run(log: Log) -> None:
    """stop() before run_forever() means exactly one turn."""
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: (log(1), loop.call_soon(log, 2)))
    loop.stop()
    loop.run_forever()
    log("stopped")
    loop.close()


def case_handles(log: Log) -> None:
    """Handles are asyncio's: subclasses, attributes, weak references, comparison, cancel."""
    loop = asyncio.new_event_loop()
    handle, timer = loop.call_soon(log), loop.call_later(9, log)
    log(
        isinstance(handle, asyncio.Handle),
        isinstance(timer, asyncio.TimerHandle),
        isinstance(timer, asyncio.Handle),
    )
    for name in (
        *("cancelled", "get_context", "when", "_run", "_callback", "_args"),
        *("_cancelled", "_when", "_scheduled", "_source_traceback", "_loop"),
    ):
        log(name, hasattr(handle, name), hasattr(timer, name))
    log(weakref.ref(handle)() is handle, timer < loop.call_later(10, log))
    timer.cancel()
    handle.cancel()
    log(timer.cancelled(), handle.cancelled())
    loop.close()


def case_cancel_releases_references(log: Log) -> None:
    """A cancelled timer keeps neither its callback nor its arguments."""

    class Payload:
        pass

    loop = asyncio.new_event_loop()
    payload = Payload()
    reference = weakref.ref(payload)
    handle = loop.call_later(100, log, payload)
    del payload
    handle.cancel()
    log(reference() is None)
    loop.close()


def case_debug_checks_the_thread(log: Log) -> None:
    """In debug mode call_soon from another thread raises RuntimeError."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        thread = threading.Thread(target=lambda: log.attempt("call_soon", loop.call_soon, print))
        thread.start()
        thread.join()

    asyncio.run(main())


def case_debug_refuses_coroutine_callbacks(log: Log) -> None:
    """In debug mode a coroutine function as callback is a TypeError."""

    async def coroutine() -> None:
        pass

    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    log.attempt("call_soon", loop.call_soon, coroutine)
    loop.close()


def case_debug_logs_slow_callbacks(log: Log) -> None:
    """In debug mode a slow task step is logged by the task's repr."""

    async def slow() -> None:
        time.sleep(0.03)

    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.run_until_complete(loop.create_task(slow(), name="slow"))
    log(logging.getLogger("asyncio").isEnabledFor(logging.WARNING))
    loop.close()


def case_closed_loop(log: Log) -> None:
    """Every scheduling call on a closed loop raises RuntimeError."""

    async def coroutine() -> None:
        pass

    loop: Any = asyncio.new_event_loop()
    loop.close()
    waiting = coroutine()
    for name, arguments in (
        ("call_soon", (print,)),
        ("call_later", (1, print)),
        ("call_at", (1, print)),
        ("call_soon_threadsafe", (print,)),
        ("run_forever", ()),
        ("create_task", (waiting,)),
        ("run_in_executor", (None, print)),
    ):
        log.attempt(name, getattr(loop, name), *arguments)
    waiting.close()


def case_nested_runs(log: Log) -> None:
    """Running a loop within a running loop raises, with one text for the same loop and one for another."""
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    for nested in (other, loop):
        loop.call_soon(log.attempt, "run_forever", nested.run_forever)
        turns(loop)
    other.close()
    loop.close()


def case_loop_is_collectable(log: Log) -> None:
    """A closed loop in cycles with its callbacks, timers and tasks is collected."""
    loop = asyncio.new_event_loop()
    reference = weakref.ref(loop)
    loop.call_later(100, lambda loop=loop: loop)
    loop.call_soon(lambda loop=loop: loop)
    loop.set_exception_handler(lambda *_: None)
    loop.close()
    del loop
    gc.collect()
    log(reference() is None)


def case_pending_task_that_is_lost(log: Log) -> None:
    """A pending task that nobody holds is collected, and the exception handler is told."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: log(context["message"], sorted(context)))

    async def never() -> None:
        await loop.create_future()

    loop.create_task(never())  # noqa: RUF006
    turns(loop)
    gc.collect()
    loop.close()


def case_async_generators_are_finalized(log: Log) -> None:
    """An async generator left by break is closed by the loop."""

    async def generator() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log("finalized")

    async def main() -> None:
        async for _ in generator():
            break
        gc.collect()
        for _ in range(4):
            await asyncio.sleep(0)

    asyncio.run(main())


def case_time_is_monotonic(log: Log) -> None:
    """loop.time() is time.monotonic()."""
    loop = asyncio.new_event_loop()
    before = time.monotonic()
    now = loop.time()
    log(before <= now <= time.monotonic())
    loop.close()


def case_call_at_is_precise(log: Log) -> None:
    """A timer never fires early, and not rounded to milliseconds: of many the best is well within one."""
    loop = asyncio.new_event_loop()
    lateness = []

    def measure(left: int) -> None:
        deadline = loop.time() + 0.0014

        def fired() -> None:
            lateness.append(loop.time() - deadline)
            if left:
                measure(left - 1)
            else:
                loop.stop()

        loop.call_at(deadline, fired)

    measure(20)
    loop.run_forever()
    log(min(lateness) > -1e-6, min(lateness) < 0.0012)
    loop.close()


def case_threadsafe_calls_keep_their_place(log: Log) -> None:
    """call_soon_threadsafe queues in the same order as call_soon."""
    loop = asyncio.new_event_loop()
    loop.call_soon(log, 1)
    loop.call_soon_threadsafe(log, 2)
    loop.call_soon(log, 3)
    turns(loop)
    loop.close()


def case_types_of_transports_and_servers(log: Log) -> None:
    """Transports and servers are asyncio's by inheritance; `sockets` is a tuple, empty once closed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        log(isinstance(transport, asyncio.Transport), isinstance(transport, asyncio.BaseTransport))
        log(
            isinstance(server, asyncio.AbstractServer),
            type(server.sockets).__name__,
            type(server.sockets[0]).__name__,
        )
        transport.close()
        server.close()
        await asyncio.sleep(0)
        log(type(server.sockets).__name__, len(server.sockets))

    asyncio.run(main())
