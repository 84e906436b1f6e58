"""Rows of many connections: the memory of idle ones, and ten thousand at work.

An idle connection's figure is the growth of the server's resident memory, divided by the number of
connections: the transport, the protocol (`echo.Echo`, an ordinary class with one attribute) and whatever the
loop keeps for them. What the kernel keeps is not in it.
"""

from benchmarks.echo import KIB, load, serve_echo
from benchmarks.model import Held, Served

ROWS = (
    Held("idle_memory", "idle connection: memory", serve_echo, 5000),
    Served("echo_1k_10000", "echo 1 KiB, 10,000 conn", serve_echo, load(KIB, 10_000), floor=True),
)
