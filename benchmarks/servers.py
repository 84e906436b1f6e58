"""The servers that rows of clients talk to: which there are, where they are found, how they are started and ended.

Called by `measure`, which starts one for all cells of a row. A server listens on 127.0.0.1, keeps its data in
a temporary folder, and does not outlive the row. It knows no event loop.
"""

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.model import Failed, Server

PLACES = (
    *os.environ["PATH"].split(":"),
    "/usr/sbin",
    "/sbin",
    *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True),
)
"""Where Debian keeps servers: among the programs for administrators, and PostgreSQL's where two versions have room."""
PATIENCE = 30.0
"""Seconds in which a server must be prepared, must listen, must end."""


def redis(program: str, folder: Path, port: int) -> list[str]:
    """A server that keeps everything in memory."""
    return [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]


def cluster(program: str, folder: Path) -> list[str]:
    """The command that makes PostgreSQL's data folder: it is always in the same place as the server."""
    options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
    return [str(Path(program).resolve().with_name("initdb")), *options, "--pgdata", str(folder / "data")]


def postgres(program: str, folder: Path, port: int) -> list[str]:
    """A server without Unix socket."""
    settings = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off")
    return [program, "-D", str(folder / "data"), *(part for setting in settings for part in ("-c", setting))]


LOAD_GENERATOR = "tulipa-load"
HTTP = Server(
    LOAD_GENERATOR, lambda program, _, port: [program, "http-server", "--port", str(port)], ready='"port"'
)
REDIS = Server("redis-server", redis, ready="Ready to accept connections")
POSTGRESQL = Server(
    "postgres", postgres, "database system is ready to accept connections", "postgres", preparation=cluster
)


def path(server: Server, load: Path) -> str | None:
    """Where its program is, if anywhere: the load generator is one too."""
    if server.program == LOAD_GENERATOR:
        return str(load)
    return shutil.which(server.program, path=":".join(PLACES))


@contextmanager
def running(server: Server, load: Path, core: int | None) -> Iterator[int]:
    """The server on one core, if so wanted, as long as the context lasts; its port."""
    program = path(server, load)
    if program is None:
        raise Failed(f"{server.program} is not installed")
    user = server.user if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, tempfile.TemporaryFile("w+") as output:
        folder, port = Path(name), unused_port()
        if user is not None:
            shutil.chown(folder, user, user)
        if server.preparation is not None:
            prepare(server.preparation(program, folder), user)
        command = server.command(program, folder, port)
        with subprocess.Popen(
            command, cwd="/", user=user, stdin=subprocess.PIPE, stdout=output, stderr=output
        ) as process:
            try:
                if core is not None:
                    os.sched_setaffinity(process.pid, {core})
                wait_until_ready(process, server, Path(f"/proc/self/fd/{output.fileno()}"))
                yield port
            finally:
                end(process)


def unused_port() -> int:
    """A port that nobody listens on: these servers cannot pick one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def prepare(command: Sequence[str], user: str | None) -> None:
    """Runs a command to its good end."""
    done = subprocess.run(
        command,
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(last_words(done.stdout + done.stderr) or f"{command[0]} failed")


def wait_until_ready(process: subprocess.Popen[bytes], server: Server, output: Path) -> None:
    """Reads what it says until it says that it listens."""
    deadline = time.monotonic() + PATIENCE
    while server.ready not in (said := output.read_text()):
        if process.poll() is not None:
            raise Failed(f"{server.program} ended: {last_words(said)}")
        if time.monotonic() > deadline:
            raise Failed(f"{server.program} does not listen")
        time.sleep(0.01)


def end(process: subprocess.Popen[bytes]) -> None:
    """As by Ctrl-C, or the end of its input, at which they stop and clean up; by force if that does not help."""
    if process.stdin is not None:
        process.stdin.close()
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def last_words(said: str) -> str:
    """The last line that has anything in it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
