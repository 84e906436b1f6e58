"""Child processes: what a SubprocessProtocol is told and in which order, and what the transport says of itself."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from typing import Any

from ..log import Log


class Recorder(asyncio.SubprocessProtocol):
    """Logs all that it is told; what depends on who is faster is gathered and logged in order at the end."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.lost = asyncio.get_running_loop().create_future()
        self.exited = asyncio.Event()
        self.output = {1: b"", 2: b""}
        self.before_the_end: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.log("made", [transport.get_pipe_transport(fd) is None for fd in range(3)])

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.before_the_end.append(f"pipe {fd} lost: {type(exc).__name__}")

    def process_exited(self) -> None:
        self.before_the_end.append("exited")
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.log(sorted(self.before_the_end), self.output)
        self.log("lost", exc)
        self.lost.set_result(None)


async def start(log: Log, command: str, **options: Any) -> tuple[Any, Recorder]:
    loop = asyncio.get_running_loop()
    return await loop.subprocess_shell(lambda: Recorder(log), command, **options)


NONE: dict[str, Any] = {"stdin": None, "stdout": None, "stderr": None}


def case_without_pipes(log: Log) -> None:
    async def main() -> None:
        for command in ("exit 0", "exit 4", "kill -TERM $$"):
            transport, protocol = await start(log, command, **NONE)
            await protocol.lost
            log(transport.get_returncode(), transport.is_closing())
            transport.close()
            log(transport.get_returncode(), transport.is_closing())
            log.attempt("kill", transport.kill)

    asyncio.run(main())


def case_all_pipes(log: Log) -> None:
    async def main() -> None:
        transport, protocol = await start(log, "cat; echo error >&2; exit 5")
        pipe = transport.get_pipe_transport(0)
        pipe.write(b"some ")
        pipe.writelines([b"words", b"!"])
        log(pipe.can_write_eof(), pipe.is_closing())
        pipe.write_eof()
        await protocol.lost
        log(transport.get_returncode(), await transport._wait())
        transport.close()

    asyncio.run(main())


def case_exit_before_the_last_pipe_closes(log: Log) -> None:
    async def main() -> None:
        transport, protocol = await start(log, "exec 3<&0; (read word <&3; echo late $word) & exit 3")
        await protocol.exited.wait()
        log(transport.get_returncode(), protocol.lost.done())
        transport.get_pipe_transport(0).write(b"word\n")
        await protocol.lost
        transport.close()

    asyncio.run(main())


def case_closing_a_running_child(log: Log) -> None:
    async def main() -> None:
        transport, protocol = await start(log, "exec sleep 100", **NONE)
        transport.close()
        transport.close()
        await protocol.lost
        log(transport.get_returncode())

    asyncio.run(main())


def case_signals(log: Log) -> None:
    async def main() -> None:
        for send in ("kill", "terminate"):
            transport, protocol = await start(log, "exec sleep 100", **NONE)
            # Once: a second call may find the child dead and wait for it, which asyncio's watcher does not expect.
            getattr(transport, send)()
            await protocol.lost
            log(send, transport.get_returncode())
            transport.close()
        transport, protocol = await start(log, "exec sleep 100", **NONE)
        transport.send_signal(signal.SIGUSR2)
        await protocol.lost
        log(transport.get_returncode())
        transport.close()

    asyncio.run(main())


def case_repr(log: Log) -> None:
    def shown(transport: Any) -> str:
        return re.sub(
            r"(pid|fd)=\d+",
            r"\1=N",
            re.sub(r"<(Unix|_Unix)?(Read|Write)Pipe[^>]*>", r"<\2>", repr(transport)),
        )

    async def main() -> None:
        transport, protocol = await start(log, "cat")
        log(shown(transport))
        transport.get_pipe_transport(0).close()
        await protocol.lost
        log(shown(transport))
        transport.close()
        log(shown(transport))

    asyncio.run(main())


def case_wrong_arguments(log: Log) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        make = asyncio.SubprocessProtocol
        await log.attempt_await("no program", loop.subprocess_exec(make, "/no/such/program"))
        await log.attempt_await("not text", loop.subprocess_exec(make, 42))
        await log.attempt_await("shell", loop.subprocess_shell(make, 42))
        await log.attempt_await("shell=False", loop.subprocess_shell(make, "true", shell=False))
        await log.attempt_await("shell=True", loop.subprocess_exec(make, "true", shell=True))
        for name, value in (("text", True), ("encoding", "utf-8"), ("errors", "x"), ("bufsize", 10)):
            await log.attempt_await(name, loop.subprocess_exec(make, "true", **{name: value}))
        await log.attempt_await("nothing known", loop.subprocess_exec(make, "true", nothing_known=1))
        await log.attempt_await("cwd", loop.subprocess_exec(make, "true", cwd="/no/such/folder", **NONE))

    asyncio.run(main())


def case_streams(log: Log) -> None:
    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_shell("cat; exit 6", stdin=pipe, stdout=pipe, stderr=pipe)
        log(await process.communicate(b"to and fro"), process.returncode)
        log(await process.wait())
        # Where the exit was noticed just before wait() asked for it, the transport is gone a turn later.
        await asyncio.sleep(0)
        for method in (process.kill, process.terminate):
            log.attempt("after its end", method)
        process = await asyncio.create_subprocess_shell(
            "echo both; echo both >&2", stdout=pipe, stderr=subprocess.STDOUT
        )
        log(await process.communicate())
        process = await asyncio.create_subprocess_exec("sleep", "100", stdout=pipe)
        await log.attempt_await("in time", asyncio.wait_for(process.communicate(), 0.01))
        process.kill()
        log(await process.wait())

    asyncio.run(main())
