"""The types of the extension module, checked against it by stubtest.

What asyncio's own stubs say of a method is not repeated: native classes derive from asyncio's. The exception is the
loop's base, which derives from nothing and comes first among the bases of `tulipa.EventLoop`. Of private names only
those are here that the package uses.
"""

import asyncio
import sys
from asyncio import create_task as create_task
from asyncio import ensure_future as ensure_future
from asyncio import gather as gather
from asyncio import run_coroutine_threadsafe as run_coroutine_threadsafe
from asyncio import shield as shield
from asyncio import sleep as sleep
from asyncio import wrap_future as wrap_future
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context
from socket import socket
from typing import Any, Final, Literal, TypeAlias, TypeVar, TypeVarTuple, final, overload

from typing_extensions import disjoint_base

__all__ = [
    "BaseEventLoop",
    "Event",
    "Future",
    "Handle",
    "Lock",
    "Operation",
    "ReadPipeTransport",
    "StreamTransport",
    "Task",
    "TimerHandle",
    "Waiter",
    "WorkQueue",
    "WritePipeTransport",
    "__version__",
    "create_task",
    "ensure_future",
    "gather",
    "run_coroutine_threadsafe",
    "shield",
    "wrap_future",
    "sleep",
]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_CoroutineLike: TypeAlias = Coroutine[Any, Any, _T] | Generator[Any, None, _T]
_Watched: TypeAlias = tuple[Any, int, bool, bool, asyncio.Handle | None, asyncio.Handle | None]

__version__: Final[str]

@disjoint_base
class Future(asyncio.Future[_T]): ...

# No class statement could make this one: the module lays it out so that both bases fit.
@disjoint_base
class Task(asyncio.Task[_T], Future[_T]): ...  # type: ignore[misc]

@final
class Operation(Coroutine[Any, Any, _T]):
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_await(self) -> Any: ...
    cr_code: None
    cr_frame: None
    cr_origin: None
    cr_running: bool
    cr_suspended: bool
    def __await__(self) -> Generator[Any, Any, _T]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class Waiter:
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Generator[Any, None, Any]: ...
    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None: ...
    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int: ...
    def cancel(self, msg: Any | None = None) -> bool: ...
    def cancelled(self) -> bool: ...
    def done(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: type | BaseException, /) -> None: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...

@disjoint_base
class Lock:
    _locked: bool
    _loop: asyncio.AbstractEventLoop | None
    @property
    def _waiters(self) -> Any: ...
    def __init__(self) -> None: ...
    def _get_loop(self) -> asyncio.AbstractEventLoop: ...
    def locked(self) -> bool: ...
    def acquire(self) -> Operation[Literal[True]]: ...
    def release(self) -> None: ...
    def __aenter__(self) -> Operation[None]: ...
    def __aexit__(self, *_exception: object) -> Operation[None]: ...

@disjoint_base
class Event:
    _value: bool
    _loop: asyncio.AbstractEventLoop | None
    @property
    def _waiters(self) -> Any: ...
    def __init__(self) -> None: ...
    def _get_loop(self) -> asyncio.AbstractEventLoop: ...
    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self) -> Operation[Literal[True]]: ...

class Handle(asyncio.Handle): ...

@disjoint_base
class TimerHandle(asyncio.TimerHandle): ...

@final
class StreamTransport(asyncio.Transport):
    _sock: socket
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...

@final
class ReadPipeTransport(asyncio.ReadTransport): ...

# asyncio's stubs do not show the class between, which keeps the water marks.
@final
class WritePipeTransport(asyncio.Transport): ...

@final
class WorkQueue:
    def __new__(cls) -> WorkQueue: ...
    def put(self, item: object) -> None: ...
    def get_nowait(self) -> Any: ...
    def qsize(self) -> int: ...
    def wants_worker(self) -> bool: ...
    def serve(self) -> Any: ...

@disjoint_base
class BaseEventLoop:
    _debug: bool
    _default_executor: Executor | None
    _driver: str
    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any: ...
    def run_forever(self) -> None: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def time(self) -> float: ...
    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def create_future(self) -> Future[Any]: ...
    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]: ...
    if sys.version_info >= (3, 13):
        # The keywords are the task factory's: it gets those that were given.
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: object = None,
            context: Context | None = None,
            eager_start: bool | None = None,
            **kwargs: Any,
        ) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: object = None, context: Context | None = None
        ) -> asyncio.Task[_T]: ...

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None: ...
    def _release(self) -> None: ...
    def _watch_in_background(self, fd: int) -> None: ...
    def _watched(self) -> list[_Watched]: ...
    def _transport_of(self, fd: int) -> Any: ...
    def _make_stream_transport(
        self,
        sock: socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> StreamTransport: ...
    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport: ...
    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport: ...
    def _send_file(
        self,
        future: asyncio.Future[int],
        sock: socket,
        file: int,
        offset: int,
        count: int | None,
        size: int,
    ) -> None: ...
    def _accept_streams(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket,
        server: Any,
        backlog: int,
        context: Context | None = None,
    ) -> None: ...
