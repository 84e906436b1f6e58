"""Child processes as streams, after `Lib/asyncio/subprocess.py`, with native readers and writers.

The loop starts the child and owns its pipes; this module turns what it reports into streams.
"""

import asyncio
import subprocess
from asyncio import events, protocols, transports
from asyncio.log import logger
from typing import Any, cast

from ._tulipa import FlowControlMixin, ReadPipeTransport, StreamReader, StreamWriter

__all__ = ["Process", "SubprocessStreamProtocol", "create_subprocess_exec", "create_subprocess_shell"]

PIPE = subprocess.PIPE
STDOUT = subprocess.STDOUT
DEVNULL = subprocess.DEVNULL

_DEFAULT_LIMIT = 2**16


class SubprocessStreamProtocol(FlowControlMixin, protocols.SubprocessProtocol):
    """Like StreamReaderProtocol, for the three pipes of a child."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._limit = limit
        self.stdin: StreamWriter | None = None
        self.stdout: StreamReader | None = None
        self.stderr: StreamReader | None = None
        self._transport: transports.SubprocessTransport | None = None
        self._process_exited = False
        self._pipe_fds: list[int] = []
        self._stdin_closed: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        streams = {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr}
        info = [f"{name}={stream!r}" for name, stream in streams.items() if stream is not None]
        return f"<{' '.join([type(self).__name__, *info])}>"

    def connection_made(self, transport: transports.BaseTransport) -> None:
        """Make the streams of the pipes that there are."""
        self._transport = transport = cast(transports.SubprocessTransport, transport)
        self.stdout = self._reader(transport, 1)
        self.stderr = self._reader(transport, 2)
        stdin = transport.get_pipe_transport(0)
        if stdin is not None:
            self.stdin = StreamWriter(stdin, protocol=self, reader=None, loop=self._loop)

    def _reader(self, transport: transports.SubprocessTransport, fd: int) -> StreamReader | None:
        pipe = transport.get_pipe_transport(fd)
        if pipe is None:
            return None
        reader = StreamReader(self._limit, self._loop)
        reader.set_transport(pipe)
        if isinstance(pipe, ReadPipeTransport) and _has_own_receiver(self):
            # What is here already was scheduled before this, and is read first.
            pipe._feed(reader)
        self._pipe_fds.append(fd)
        return reader

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Give the reader of the pipe what has come in."""
        reader = self._reader_of(fd)
        if reader is not None:
            reader.feed_data(data)

    def _reader_of(self, fd: int) -> StreamReader | None:
        if fd == 1:
            return self.stdout
        return self.stderr if fd == 2 else None

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """End the stream of the pipe."""
        if fd == 0:
            self._stdin_lost(exc)
            return
        reader = self._reader_of(fd)
        if reader is not None:
            if exc is None:
                reader.feed_eof()
            else:
                reader.set_exception(exc)
        if fd in self._pipe_fds:
            self._pipe_fds.remove(fd)
        self._maybe_close_transport()

    def _stdin_lost(self, exc: Exception | None) -> None:
        if self.stdin is not None:
            self.stdin.close()
        self.connection_lost(exc)
        if exc is None:
            self._stdin_closed.set_result(None)
        else:
            self._stdin_closed.set_exception(exc)
            # Nobody has to call wait_closed(), so nobody is told that the exception was not looked at.
            self._stdin_closed.exception()

    def process_exited(self) -> None:
        """Close the transport, once the pipes have ended too."""
        self._process_exited = True
        self._maybe_close_transport()

    def _maybe_close_transport(self) -> None:
        if not self._pipe_fds and self._process_exited and self._transport is not None:
            self._transport.close()
            self._transport = None

    def _get_close_waiter(self, stream: StreamWriter) -> asyncio.Future[None]:
        assert stream is self.stdin
        return self._stdin_closed


def _has_own_receiver(protocol: SubprocessStreamProtocol) -> bool:
    """Return whether neither a subclass nor the instance has put something in the place of pipe_data_received()."""
    name = "pipe_data_received"
    return getattr(type(protocol), name) is _pipe_data_received and name not in vars(protocol)


_pipe_data_received = SubprocessStreamProtocol.pipe_data_received


class Process:
    """A child process and its streams."""

    def __init__(
        self,
        transport: transports.SubprocessTransport,
        protocol: SubprocessStreamProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Take over what the loop has started."""
        self._transport = transport
        self._protocol = protocol
        self._loop = loop
        self.stdin = protocol.stdin
        self.stdout = protocol.stdout
        self.stderr = protocol.stderr
        self.pid = transport.get_pid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.pid}>"

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._transport.get_returncode()

    async def wait(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        transport: Any = self._transport
        status: int = await transport._wait()
        return status

    def send_signal(self, signal: int) -> None:
        """Send a signal to the process."""
        self._transport.send_signal(signal)

    def terminate(self) -> None:
        """Ask the process to end."""
        self._transport.terminate()

    def kill(self) -> None:
        """End the process."""
        self._transport.kill()

    async def communicate(
        self, input: bytes | bytearray | memoryview | None = None
    ) -> tuple[bytes | None, bytes | None]:
        """Write input to the process, read all its output, wait for its end, and return the output."""
        stdin = self._noop() if self.stdin is None else self._feed_stdin(input)
        stdout = self._noop() if self.stdout is None else self._read_stream(1)
        stderr = self._noop() if self.stderr is None else self._read_stream(2)
        _, output, errors = await asyncio.gather(stdin, stdout, stderr)
        await self.wait()
        return output, errors

    async def _feed_stdin(self, input: bytes | bytearray | memoryview | None) -> None:
        assert self.stdin is not None
        try:
            if input is not None:
                self.stdin.write(input)
                self._log("%r communicate: feed stdin (%s bytes)", self, len(input))
            await self.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as exc:
            # A process may end, or close its input, without having read all.
            self._log("%r communicate: stdin got %r", self, exc)
        self._log("%r communicate: close stdin", self)
        self.stdin.close()

    async def _read_stream(self, fd: int) -> bytes:
        name, stream = ("stdout", self.stdout) if fd == 1 else ("stderr", self.stderr)
        assert stream is not None
        transport = self._transport.get_pipe_transport(fd)
        self._log("%r communicate: read %s", self, name)
        output = await stream.read()
        self._log("%r communicate: close %s", self, name)
        assert transport is not None
        transport.close()
        return output

    async def _noop(self) -> None:
        return None

    def _log(self, text: str, *arguments: object) -> None:
        if self._loop.get_debug():
            logger.debug(text, *arguments)


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> Process:
    """Run a shell command; the arguments are those of loop.subprocess_shell(), and the readers' limit."""
    loop = events.get_running_loop()
    transport, protocol = await loop.subprocess_shell(
        lambda: SubprocessStreamProtocol(limit, loop), cmd, stdin=stdin, stdout=stdout, stderr=stderr, **kwds
    )
    return Process(transport, protocol, loop)


async def create_subprocess_exec(
    program: Any,
    *args: Any,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> Process:
    """Run a program; the arguments are those of loop.subprocess_exec(), and the readers' limit."""
    loop = events.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit, loop),
        program,
        *args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        **kwds,
    )
    return Process(transport, protocol, loop)
