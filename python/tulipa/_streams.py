"""Opening and serving streams, after `Lib/asyncio/streams.py`, with the native reader, writer and protocol.

What these functions do, once per connection, is done by the loop; this module joins its parts. They work on any
loop: where the transport is Tulipa's, it writes into the reader's buffer itself.
"""

import asyncio
from asyncio import events
from collections.abc import Awaitable, Callable
from typing import Any

from ._tulipa import StreamReader, StreamReaderProtocol, StreamWriter

__all__ = [
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]

_DEFAULT_LIMIT = 2**16


async def open_connection(
    host: Any = None,
    port: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> tuple[StreamReader, StreamWriter]:
    """Connect, and return a reader and a writer for the connection.

    The arguments are those of loop.create_connection(), but for the protocol factory, and limit: the number of
    bytes up to which a separator is looked for.
    """
    loop = events.get_running_loop()
    reader, protocol = _reader_and_protocol(loop, limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Awaitable[None] | None],
    host: Any = None,
    port: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve, and call client_connected_cb(reader, writer) for each connection; a coroutine it returns becomes a task.

    The other arguments and the result are those of loop.create_server(), but for the protocol factory.
    """
    loop = events.get_running_loop()

    def factory() -> StreamReaderProtocol:
        return StreamReaderProtocol(StreamReader(limit, loop), client_connected_cb, loop)

    return await loop.create_server(factory, host, port, **kwds)


async def open_unix_connection(
    path: Any = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Like open_connection(), to a Unix socket."""
    loop = events.get_running_loop()
    reader, protocol = _reader_and_protocol(loop, limit)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(
    client_connected_cb: Callable[[StreamReader, StreamWriter], Awaitable[None] | None],
    path: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Like start_server(), on a Unix socket."""
    loop = events.get_running_loop()

    def factory() -> StreamReaderProtocol:
        return StreamReaderProtocol(StreamReader(limit, loop), client_connected_cb, loop)

    return await loop.create_unix_server(factory, path, **kwds)


def _reader_and_protocol(
    loop: asyncio.AbstractEventLoop, limit: int
) -> tuple[StreamReader, StreamReaderProtocol]:
    reader = StreamReader(limit, loop)
    return reader, StreamReaderProtocol(reader, loop=loop)
