"""HTTP without input or output: what every style needs, however it moves the bytes.

The styles call it with the bytes they received; it never waits, and the only sockets it touches are those
that `dial` opens. It understands what the site of this example sends (a status line, headers,
`Content-Length`), not all of HTTP.
"""

import contextlib
import os
import re
import socket
import threading
from dataclasses import dataclass

CHUNK = 64 * 1024
"""Bytes asked of a socket at a time."""

_END_OF_HEAD = b"\r\n\r\n"


class HttpError(Exception):
    """The site answered with something other than a whole page."""


@dataclass(frozen=True)
class Site:
    """Where the site listens, and the paths of the articles. Small enough to send to another process."""

    host: str
    port: int
    articles: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """The pair that `socket.connect` takes."""
        return (self.host, self.port)

    def url(self, path: str) -> str:
        """The whole address of `path`, for libraries that want one."""
        return f"http://{self.host}:{self.port}{path}"


@dataclass(frozen=True)
class Page:
    """One fetched article and who fetched it."""

    path: str
    body: bytes
    process: int
    thread: int

    @classmethod
    def fetched_here(cls, path: str, body: bytes) -> "Page":
        """A page whose last byte has just arrived in the calling thread of the calling process."""
        return cls(path, body, os.getpid(), threading.get_native_id())


class Response:
    """Collects the bytes of one response and knows when they are complete."""

    def __init__(self, path: str) -> None:
        """Begin with nothing received; `path` is what was asked for."""
        self._path = path
        self._received = bytearray()
        self._body_start = 0
        self._length: int | None = None

    def feed(self, data: bytes) -> bool:
        """Take what the socket gave and return whether the response is complete.

        Empty `data` means what it means to `recv`: the other side has closed. Raises HttpError if that
        happens too early, or if the status is not 200.
        """
        if not data:
            raise HttpError(f"{self._path}: the connection was closed after {len(self._received)} bytes")
        self._received += data
        if self._length is None:
            self._read_head()
        return self._length is not None and len(self._received) >= self._body_start + self._length

    def page(self) -> Page:
        """The page, once `feed` has returned True."""
        assert self._length is not None, "page() comes after feed() has returned True"
        body = bytes(self._received[self._body_start : self._body_start + self._length])
        return Page.fetched_here(self._path, body)

    def _read_head(self) -> None:
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        status, *headers = self._received[:end].decode("latin-1").split("\r\n")
        if status.split(" ")[1:2] != ["200"]:
            raise HttpError(f"{self._path}: {status}")
        fields = {name.lower(): value for name, _, value in (line.partition(":") for line in headers)}
        if "content-length" not in fields:
            raise HttpError(f"{self._path}: no Content-Length")
        self._length = int(fields["content-length"])
        self._body_start = end + len(_END_OF_HEAD)


def request(site: Site, path: str) -> bytes:
    """The bytes that ask `site` for `path`, on a connection used once."""
    head = f"GET {path} HTTP/1.1\r\nHost: {site.host}:{site.port}\r\nConnection: close\r\n\r\n"
    return head.encode("ascii")


def dial(site: Site) -> socket.socket:
    """A non-blocking socket that has begun to connect.

    It is connected, or has failed, when it becomes writable. A failure is raised by the first `send`.
    """
    sock = socket.socket()
    sock.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            sock.connect(site.address)
    except OSError:
        sock.close()
        raise
    return sock


def links(body: bytes) -> tuple[str, ...]:
    """The paths that a page links to, each once, in the order of the page."""
    return tuple(dict.fromkeys(re.findall(r'href="(/[^"]*)"', body.decode())))
