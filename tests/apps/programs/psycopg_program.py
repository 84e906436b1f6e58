"""psycopg 3: connections, a pipeline, COPY, a server's cursor, notifications, cancelling. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import psycopg


async def main(url: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("CREATE TEMPORARY TABLE items (number bigint PRIMARY KEY, name text)")
        async with connection.cursor() as cursor, cursor.copy("COPY items FROM STDIN") as copy:
            for number in range(10_000):
                await copy.write_row((number, f"item {number}"))
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT count(*), sum(number)::bigint FROM items")
            seen["copied"] = list(await cursor.fetchone() or ())
        async with connection.transaction(), connection.cursor("on_the_server") as cursor:
            await cursor.execute("SELECT number FROM items ORDER BY number")
            seen["cursor"] = [row[0] async for row in cursor] == list(range(10_000))
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int * 2", [number]) for number in range(100)]
        seen["pipeline"] = [(await cursor.fetchone() or [None])[0] for cursor in cursors] == list(
            range(0, 200, 2)
        )
        try:
            await connection.execute("INSERT INTO items VALUES (1)")
        except psycopg.errors.UniqueViolation as error:
            seen["error"] = error.sqlstate
        sleeping = asyncio.ensure_future(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.1)
        sleeping.cancel()
        seen["cancelled"] = (await asyncio.gather(sleeping, return_exceptions=True))[0].__class__.__name__
        await connection.execute("LISTEN news")
        for number in range(3):
            await connection.execute("SELECT pg_notify('news', %s)", [f"message {number}"])
        seen["heard"] = [notice.payload async for notice in connection.notifies(stop_after=3)]

    async def ask(number: int) -> int:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            row = await (await connection.execute("SELECT %s::int", [number])).fetchone()
            assert row is not None
            return int(row[0])

    seen["many"] = await asyncio.gather(*map(ask, range(20))) == list(range(20))
    return seen


print(json.dumps(asyncio.run(main(sys.argv[1]))))
