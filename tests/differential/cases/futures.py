"""Future: states, results, callbacks, and the private surface that libraries read."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from ..log import Log
from .scheduling import new_loop, print_nothing, turns


def case_states(log: Log) -> None:
    with new_loop() as loop:
        future: Any = loop.create_future()
        log(future.done(), future.cancelled(), future._state, future.get_loop() is loop, future._loop is loop)
        log.attempt("result", future.result)
        log.attempt("exception", future.exception)
        future.set_result(1)
        log(
            future.done(),
            future._state,
            future.result(),
            future.exception(),
            future._result,
            future._exception,
        )
        log.attempt("second result", future.set_result, 2)
        log.attempt("exception after result", future.set_exception, ValueError())
        log(future.cancel(), future.result())


def case_exceptions(log: Log) -> None:
    with new_loop() as loop:
        for value in (
            ValueError("v"),
            ValueError,
            KeyError(1),
            OSError(2, "No such file"),
            KeyboardInterrupt(),
        ):
            future: Any = loop.create_future()
            log.attempt("set", future.set_exception, value)
            log.attempt("result", future.result)
            log(future.exception(), future._state)
        future = loop.create_future()
        for wrong in (None, 42, "x", int, object()):
            log.attempt(f"set {type(wrong).__name__}", future.set_exception, wrong)
        log(future.done())


def case_stop_iteration(log: Log) -> None:
    class Stop(StopIteration):
        pass

    with new_loop() as loop:
        for error in (StopIteration(1), StopIteration, Stop("sub")):
            future: Any = loop.create_future()
            log.attempt("set", future.set_exception, error)
            log(future.done())
            if future.done():
                log(future.exception())


def case_errors_from_every_wrong_state(log: Log) -> None:
    with new_loop() as loop:
        cancelled: Any = loop.create_future()
        cancelled.cancel("why")
        failed: Any = loop.create_future()
        failed.set_exception(LookupError("x"))
        for future in (cancelled, failed):
            for name, args in (
                ("set_result", (1,)),
                ("set_exception", (ValueError(),)),
                ("result", ()),
                ("exception", ()),
            ):
                log.attempt(name, getattr(future, name), *args)
            log(future.cancel(), future)


def case_constructor(log: Log) -> None:
    with new_loop() as loop:
        make: Any = asyncio.Future
        log.attempt("positional", make, loop)
        log.attempt("wrong keyword", make, colour=1)
        log.attempt("wrong loop", make, loop=42)
        log(make(loop=loop))
        loop.set_debug(True)
        log(make(loop=loop)._source_traceback is not None)

    async def main() -> None:
        log(asyncio.Future().get_loop() is asyncio.get_running_loop())

    asyncio.run(main())


def case_callbacks_in_order(log: Log) -> None:
    with new_loop() as loop:
        future = loop.create_future()
        for number in range(3):
            future.add_done_callback(lambda future, number=number: log(number, future.result()))
        loop.call_soon(log, "queued before the result")
        future.set_result("r")
        loop.call_soon(log, "queued after the result")
        future.add_done_callback(lambda _: log("added when done"))
        turns(loop)
        future.add_done_callback(lambda _: log("added much later"))
        log("not called at once")
        turns(loop)


def case_remove_done_callback(log: Log) -> None:
    with new_loop() as loop:
        future = loop.create_future()

        class Equal:
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Equal)

            def __hash__(self) -> int:
                return 0

            def __call__(self, _: object) -> None:
                log("called")

        for callback in (print_nothing, Equal(), Equal(), print_nothing, log):
            future.add_done_callback(callback)
        log(future.remove_done_callback(Equal()), future.remove_done_callback(print))
        log(future.remove_done_callback(print_nothing), future.remove_done_callback(print_nothing))
        log(len(future._callbacks))
        log(future.remove_done_callback(log), future._callbacks)
        future.set_result(None)
        turns(loop)


def case_callback_comparison_that_raises(log: Log) -> None:
    with new_loop() as loop:

        class Bad:
            def __eq__(self, other: object) -> bool:
                raise LookupError("compared")

            __hash__ = None

        future = loop.create_future()
        future.add_done_callback(print_nothing)
        future.add_done_callback(print)
        log.attempt("remove", future.remove_done_callback, Bad())
        log(len(future._callbacks))


def case_callback_contexts(log: Log) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    with new_loop() as loop:
        future = loop.create_future()
        own = contextvars.copy_context()
        own.run(variable.set, "given")
        variable.set("at add")
        future.add_done_callback(lambda _: log("copied", variable.get()))
        future.add_done_callback(lambda _: log("given", variable.get()), context=own)
        variable.set("at result")
        future.set_result(None)
        future.add_done_callback(lambda _: log("after", variable.get()))
        turns(loop)
        log([type(context).__name__ for _, context in (loop.create_future()._callbacks or [])])


def case_callback_list_as_libraries_read_it(log: Log) -> None:
    with new_loop() as loop:
        future: Any = loop.create_future()
        log(future._callbacks)
        future.add_done_callback(print_nothing)
        (entry,) = future._callbacks
        log(len(entry), entry[0] is print_nothing, type(entry[1]).__name__)
        future.add_done_callback(print)
        log([callback.__name__ for callback, _ in future._callbacks])


def case_callbacks_that_fail(log: Log) -> None:
    with new_loop() as loop:
        log.watch(loop)
        future = loop.create_future()

        def fails(_: object) -> None:
            raise LookupError("in a callback")

        future.add_done_callback(fails)
        future.add_done_callback(lambda: None)
        future.add_done_callback(lambda _: log("the next is called"))
        future.set_result(None)
        turns(loop)


def case_private_surface(log: Log) -> None:
    with new_loop() as loop:
        future: Any = loop.create_future()
        for name in (
            *("_asyncio_future_blocking", "_callbacks", "_result", "_exception", "_state"),
            *("_log_traceback", "_source_traceback", "_cancel_message"),
        ):
            log(name, getattr(future, name))
        log(type(future)._asyncio_future_blocking is not None)
        log.attempt("log_traceback True", setattr, future, "_log_traceback", True)
        log.attempt("log_traceback False", setattr, future, "_log_traceback", False)
        log.attempt("del log_traceback", delattr, future, "_log_traceback")
        log.attempt("del blocking", delattr, future, "_asyncio_future_blocking")
        log.attempt("set blocking", setattr, future, "_asyncio_future_blocking", True)
        log(future._asyncio_future_blocking)
        for name in ("_state", "_result", "_exception", "_callbacks", "_loop", "_source_traceback"):
            try:
                setattr(future, name, 1)
                log(name, "settable")
            except (AttributeError, TypeError) as error:
                log(name, "not settable", type(error).__name__)
        future.colour = "red"
        log(future.colour)
        future._asyncio_future_blocking = False
        log(type(future._make_cancelled_error()).__name__)


def case_iteration(log: Log) -> None:
    with new_loop() as loop:
        future: Any = loop.create_future()
        iterator = iter(future)
        log(next(iterator) is future, future._asyncio_future_blocking)
        log.attempt("not awaited", next, iterator)
        future.set_result("result")
        for start in (future.__await__(), iter(future)):
            try:
                start.send(None)
            except StopIteration as stop:
                log("stop", stop.value)
        thrown = loop.create_future().__await__()
        log.attempt("throw", thrown.throw, LookupError("thrown"))
        log.attempt("throw type", loop.create_future().__await__().throw, LookupError)
        log.attempt("throw wrong", loop.create_future().__await__().throw, 42)
        log(loop.create_future().__await__().close())


def case_result_that_is_stop_iterations_or_tuple(log: Log) -> None:
    """What a generator returns travels in a StopIteration, where tuples and exceptions are special."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for value in ((1, 2), (), StopIteration(3), ValueError("a value"), None, [4]):
            future = loop.create_future()
            loop.call_soon(future.set_result, value)
            result = await future
            log(type(result).__name__, result is value)

    asyncio.run(main())


def case_reprs(log: Log) -> None:
    with new_loop() as loop:
        futures = [loop.create_future() for _ in range(6)]
        futures[1].set_result({"a": [1]})
        futures[2].set_exception(ValueError("v"))
        futures[3].cancel()
        futures[4].add_done_callback(print_nothing)
        for _ in range(3):
            futures[5].add_done_callback(print_nothing)
        futures[2].exception()
        for future in futures:
            log(repr(future), str(future))
        recursive = loop.create_future()
        recursive.set_result(recursive)
        log(repr(recursive))
        long = loop.create_future()
        long.set_result("x" * 200)
        log(repr(long))


def case_subclass(log: Log) -> None:
    class Mine(asyncio.Future):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.extra = "extra"

        def set_result(self, result: Any) -> None:
            log("set_result", result)
            super().set_result(result)

        def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
            log("add_done_callback", sorted(kwargs))
            super().add_done_callback(*args, **kwargs)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: Any = Mine(loop=loop)
        loop.call_soon(future.set_result, 7)
        log(await future, future.extra, isinstance(future, asyncio.Future), repr(future))

    asyncio.run(main())


def case_subclass_that_skips_init(log: Log) -> None:
    class Mine(asyncio.Future):
        def __init__(self) -> None:
            pass

    future: Any = Mine()
    for name in ("done", "cancelled", "result", "exception", "get_loop", "cancel", "__await__", "__repr__"):
        try:
            value = getattr(future, name)()
            log(name, value if isinstance(value, bool) else type(value).__name__)
        except Exception as error:
            log(name, error)
    log.attempt("set_result", future.set_result, 1)
    log.attempt("add_done_callback", future.add_done_callback, print_nothing)


def case_generic_alias_and_types(log: Log) -> None:
    import inspect
    from collections.abc import Awaitable

    with new_loop() as loop:
        future = loop.create_future()
        log(asyncio.Future.__name__, asyncio.Future[int].__args__ == (int,))
        log(
            isinstance(future, asyncio.Future),
            asyncio.isfuture(future),
            inspect.isawaitable(future),
            isinstance(future, Awaitable),
        )
        log.attempt("hash", lambda: hash(future) == hash(future))
        log(future == future, future == loop.create_future())


def case_never_retrieved(log: Log) -> None:
    import gc

    with new_loop() as loop:
        log.watch(loop)
        future = loop.create_future()
        future.set_exception(LookupError("nobody asked"))
        del future
        gc.collect()
        for retrieve in ("result", "exception"):
            seen = loop.create_future()
            seen.set_exception(LookupError("somebody asked"))
            log.attempt(retrieve, getattr(seen, retrieve))
            del seen
        gc.collect()
        log("collected")


def case_tracebacks_do_not_grow(log: Log) -> None:
    import traceback

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(LookupError("again"))
        lengths = []
        for _ in range(4):
            try:
                await future
            except LookupError as error:
                lengths.append(len(traceback.extract_tb(error.__traceback__)))
        log(lengths)

    asyncio.run(main())


def case_chained_to_concurrent_futures(log: Log) -> None:
    import concurrent.futures

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for outcome in ("result", "exception", "cancel"):
            source: concurrent.futures.Future[str] = concurrent.futures.Future()
            wrapped = asyncio.wrap_future(source)
            if outcome == "result":
                loop.call_soon(source.set_result, "value")
            elif outcome == "exception":
                loop.call_soon(source.set_exception, TimeoutError("translated"))
            else:
                loop.call_soon(wrapped.cancel)
            await log.attempt_await(outcome, wrapped)
            log(source.cancelled(), source.done())

    asyncio.run(main())
