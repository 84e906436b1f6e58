"""Rows of TLS: the echo Protocol behind TLS 1.3, with the one cipher that the load generator offers.

The certificate is made for this and known to everybody; nobody checks it.
"""

import asyncio
import ssl
from pathlib import Path

from benchmarks.echo import KIB, Echo, load
from benchmarks.model import Held, Served, Serving

CERTIFICATE = Path(__file__).with_name("certificate.pem")


async def serve_tls() -> Serving:
    """The Protocol of `echo`, over TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096, ssl=context)
    return Serving(server.sockets[0].getsockname()[1], server)


def tls(kib: int, connections: int) -> Served:
    """A row."""
    title = f"TLS echo {kib} KiB, {connections} conn"
    return Served(f"tls_{kib}k_{connections}", title, serve_tls, (*load(kib * KIB, connections), "--tls"))


ROWS = (
    tls(1, 10),
    tls(1, 100),
    tls(64, 10),
    tls(64, 100),
    Held("tls_idle_memory", "idle TLS connection: memory", serve_tls, 1000, ("--tls",)),
)
