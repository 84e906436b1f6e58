"""The types of the extension module, checked against it by stubtest.

What asyncio's own stubs say of a method is not repeated: native classes derive from asyncio's. The exception is the
loop's base, which derives from nothing and comes first among the bases of `tulipa.EventLoop`. Of private names only
those are here that the package uses.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from socket import socket
from ssl import MemoryBIO, SSLContext
from typing import Any, Final, TypeAlias, TypeVar, TypeVarTuple, final

from typing_extensions import disjoint_base

__all__ = [
    "BaseEventLoop",
    "Future",
    "Handle",
    "SSLProtocol",
    "SSLTransport",
    "StreamTransport",
    "Task",
    "TimerHandle",
    "__version__",
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

class Handle(asyncio.Handle): ...

@disjoint_base
class TimerHandle(asyncio.TimerHandle): ...

@final
class StreamTransport(asyncio.Transport):
    _sock: socket
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...
    def _lend_descriptor(self) -> None: ...
    def _take_descriptor(self) -> None: ...

@final
class SSLProtocol(asyncio.BufferedProtocol):
    _app_transport: SSLTransport
    _incoming: MemoryBIO

@final
class SSLTransport(asyncio.Transport):
    _ssl_protocol: SSLProtocol
    def get_read_buffer_size(self) -> int: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

@disjoint_base
class BaseEventLoop:
    _debug: bool
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
    def _transport_of(self, fd: int) -> StreamTransport | None: ...
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
    def _accept_streams(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket,
        server: Any,
        backlog: int,
        context: Context | None = None,
        tls: tuple[SSLContext, float | None, float | None] | None = None,
    ) -> None: ...
    def _make_ssl_protocol(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        call_connection_made: bool = True,
    ) -> SSLProtocol: ...
