"""Starts database servers for one test module, on 127.0.0.1 or a Unix socket, with their data in a temporary folder.

A server that refuses to be root is started as the user that its package made for it.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..process import Program

PLACES = [
    *os.environ["PATH"].split(":"),
    "/usr/sbin",
    "/sbin",
    *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True),
]
"""Where Debian keeps servers: among the programs for administrators, and PostgreSQL's where two versions have room."""


def command(name: str) -> str:
    """The path of a server's program."""
    found = shutil.which(name, path=":".join(PLACES))
    assert found, f"{name} is not installed; `make test-apps` installs it"
    return found


@contextmanager
def data_folder(user: str | None) -> Iterator[Path]:
    """A folder of a short name, as that of a Unix socket must be, that belongs to the server's user."""
    with tempfile.TemporaryDirectory(prefix="tulipa-") as name:
        if user is not None:
            shutil.chown(name, user, user)
        yield Path(name)


def as_user(user: str) -> str | None:
    """Whom to start a server as: root as `user`, anybody else as himself."""
    return user if os.geteuid() == 0 else None


def initialise(*arguments: str | Path, user: str | None) -> None:
    """Run a server's command that makes its data folder."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        user=user,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server; gives the URL of its database."""
    user = as_user("postgres")
    with data_folder(user) as folder:
        data = folder / "data"
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initialise(command("initdb"), *options, "--pgdata", data, user=user)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "max_connections": "100",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with Program("-D", data, *arguments, launcher=[command("postgres")], user=user) as server:
            server.wait_for("database system is ready to accept connections")
            yield f"postgresql://postgres@/postgres?host={folder}"


@contextmanager
def mariadb() -> Iterator[str]:
    """A MariaDB server with an empty database `test`; gives the path of its socket."""
    user = as_user("mysql")
    with data_folder(user) as folder:
        data, socket = folder / "data", folder / "socket"
        options = ["--no-defaults", f"--datadir={data}"]
        installing = ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
        initialise(command("mariadb-install-db"), *options, *installing, user=user)
        settings = [f"--socket={socket}", f"--pid-file={folder / 'pid'}", "--skip-networking"]
        with Program(*options, *settings, launcher=[command("mariadbd")], user=user) as server:
            server.wait_for("ready for connections")
            yield str(socket)
