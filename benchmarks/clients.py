"""Rows of real clients, unmodified: aiohttp, redis-py (hiredis) and asyncpg, each against a compiled server.

The figure is operations per second of the client's CPU time. Every answer is looked at.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.model import Client, Connect, Operation, Server
from benchmarks.servers import HTTP, POSTGRESQL, REDIS

BODY = b"Hello, World!"
"""What the load generator's HTTP server says."""
KEYS = tuple(f"key:{number}" for number in range(10))
VALUE = b"some value, of thirty-two bytes."
QUERY = "SELECT number, 'name ' || number AS name FROM generate_series(1, $1::int) AS number"
RECORDS = 10


class WrongAnswer(Exception):
    """The server said something else than it should."""


def check(right: bool) -> None:
    """A benchmark of wrong answers is worth nothing."""
    if not right:
        raise WrongAnswer


@asynccontextmanager
async def connect_aiohttp(port: int, connections: int) -> AsyncIterator[Sequence[Operation]]:
    """GET requests in one session."""
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def get() -> None:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                check(await response.read() == BODY)

        yield [get] * connections


@asynccontextmanager
async def connect_redis(port: int, connections: int) -> AsyncIterator[Sequence[Operation]]:
    """Pipelines of ten SETs and ten GETs, over connections of one pool."""
    from redis.asyncio import Redis

    async def exchange() -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for key in KEYS:
                pipeline.set(key, VALUE)
            for key in KEYS:
                pipeline.get(key)
            check(await pipeline.execute() == [True] * len(KEYS) + [VALUE] * len(KEYS))

    async with Redis(host="127.0.0.1", port=port, max_connections=connections) as client:
        yield [exchange] * connections


@asynccontextmanager
async def connect_redis_commands(port: int, connections: int) -> AsyncIterator[Sequence[Operation]]:
    """One command at a time, over connections of one pool."""
    from redis.asyncio import Redis

    async def exchange() -> None:
        check(await client.get("key") == VALUE)

    async with Redis(host="127.0.0.1", port=port, max_connections=connections) as client:
        await client.set("key", VALUE)
        yield [exchange] * connections


@asynccontextmanager
async def connect_asyncpg(port: int, connections: int) -> AsyncIterator[Sequence[Operation]]:
    """Queries for ten records, each task on a connection of its own."""
    import asyncpg

    def querying(connection: asyncpg.Connection) -> Operation:
        async def query() -> None:
            check(len(await connection.fetch(QUERY, RECORDS)) == RECORDS)

        return query

    async with asyncpg.create_pool(address(port), min_size=connections, max_size=connections) as pool:
        yield [querying(await pool.acquire()) for _ in range(connections)]
        pool.terminate()


@asynccontextmanager
async def connect_asyncpg_pool(port: int, connections: int) -> AsyncIterator[Sequence[Operation]]:
    """The same queries, each on whatever connection the pool gives."""
    import asyncpg

    async with asyncpg.create_pool(address(port), min_size=connections, max_size=connections) as pool:

        async def query() -> None:
            check(len(await pool.fetch(QUERY, RECORDS)) == RECORDS)

        yield [query] * connections


def address(port: int) -> str:
    """Of the database."""
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def program(name: str, title: str, server: Server, connect: Connect, tasks: int, *packages: str) -> Client:
    """A row."""
    return Client(name, f"{title}, {tasks} conn", server, connect, tasks, program=True, packages=packages)


ROWS = (
    program("aiohttp_client", "aiohttp client", HTTP, connect_aiohttp, 100, "aiohttp"),
    program("redis_pipeline", "redis-py pipeline of 20", REDIS, connect_redis, 10, "redis", "hiredis"),
    program("redis_get", "redis-py GET", REDIS, connect_redis_commands, 10, "redis", "hiredis"),
    program("asyncpg_query", "asyncpg query", POSTGRESQL, connect_asyncpg, 10, "asyncpg"),
    program("asyncpg_pool", "asyncpg query by pool", POSTGRESQL, connect_asyncpg_pool, 10, "asyncpg"),
)
