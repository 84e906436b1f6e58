"""TLS for tests: certificates of an authority of their own, and a peer that does exactly what it is told.

The peer is a plain `ssl.SSLObject` over a socket, driven from the running loop: so one test decides which bytes go out,
and when, on either side of the same process, and no thread is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from pathlib import Path

CERTIFICATES = Path(__file__).with_name("certificates")


def server_context(certificate: str = "server") -> ssl.SSLContext:
    """Make a server's context."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATES / "authority.pem")
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return context


def client_context() -> ssl.SSLContext:
    """Make the context of a client that trusts the tests' servers."""
    return ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")


class Peer:
    """The other end of a TLS connection, by hand."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext | None = None, *, server_side: bool = True
    ) -> None:
        """Take over a connected socket."""
        sock.setblocking(False)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or (server_context() if server_side else client_context())
        name = None if server_side else "localhost"
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side, name)
        self._loop = asyncio.get_running_loop()

    async def flush(self) -> None:
        """Send what the session wants to be sent."""
        if data := self.outgoing.read():
            await self._loop.sock_sendall(self.sock, data)

    async def fetch(self) -> bool:
        """Take in more ciphertext; return False at the end of the stream."""
        data = await self._loop.sock_recv(self.sock, 65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return bool(data)

    async def handshake(self) -> None:
        """Make the handshake."""
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self.fetch()
            else:
                await self.flush()
                return

    def ciphertext(self, data: bytes) -> bytes:
        """Return the records of `data`, without sending them."""
        self.session.write(data)
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        """Send data."""
        await self.send_raw(self.ciphertext(data))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self, count: int) -> bytes:
        """Return the next `count` bytes of data, or fewer if the session or the stream ends."""
        data = b""
        while len(data) < count:
            try:
                part = self.session.read(count - len(data))
            except ssl.SSLWantReadError:
                await self.fetch()
                continue
            except ssl.SSLEOFError:
                break
            if not part:
                break
            data += part
        return data

    async def end(self) -> None:
        """Say good-bye, and close the socket."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
            self.session.unwrap()
        with contextlib.suppress(OSError):
            await self.flush()
        self.sock.close()

    def reset(self) -> None:
        """End the connection the hard way."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def listening() -> socket.socket:
    """Return a listening socket on 127.0.0.1."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def accept(listener: socket.socket) -> socket.socket:
    """Return the next connection of a listening socket, which is closed."""
    with listener:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
    return sock


async def connect(address: tuple[str, int]) -> socket.socket:
    """Return a socket connected to `address`."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return sock
