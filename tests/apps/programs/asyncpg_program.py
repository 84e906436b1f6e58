"""asyncpg: a pool, prepared statements, COPY, transactions, notifications, cancelling. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import asyncpg


async def main(url: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    async with asyncpg.create_pool(url, min_size=2, max_size=10) as pool:
        await pool.execute("DROP TABLE IF EXISTS items")
        await pool.execute("CREATE TABLE items (number bigint PRIMARY KEY, name text, data bytea)")
        rows = [(number, f"item {number}", bytes(number % 256)) for number in range(10_000)]
        await pool.copy_records_to_table("items", records=rows)
        sums = await asyncio.gather(
            *(pool.fetchval("SELECT sum(number) FROM items WHERE number % 50 = $1", n) for n in range(50))
        )
        seen["sum"] = int(sum(sums))
        seen["large"] = len(await pool.fetchval("SELECT repeat('x', 5000000)"))
        async with pool.acquire() as connection:
            statement = await connection.prepare("SELECT name FROM items WHERE number = $1")
            seen["prepared"] = [await statement.fetchval(number) for number in (1, 10, 100)]
            try:
                async with connection.transaction():
                    await connection.execute("DELETE FROM items")
                    raise LookupError
            except LookupError:
                seen["rolled back"] = await connection.fetchval("SELECT count(*) FROM items")
            async with connection.transaction():
                seen["cursor"] = sum(
                    [
                        row[0]
                        async for row in connection.cursor(
                            "SELECT number FROM items ORDER BY number LIMIT 1000"
                        )
                    ]
                )
            try:
                await connection.execute("INSERT INTO items VALUES (1)")
            except asyncpg.UniqueViolationError as error:
                seen["error"] = error.sqlstate
            try:
                await connection.fetch("SELECT pg_sleep(60)", timeout=0.1)
            except TimeoutError:
                seen["cancelled"] = await connection.fetchval("SELECT 'and still usable'")
            seen["heard"] = await listen(connection, pool)
    return seen


async def listen(connection: Any, pool: Any) -> list[str]:
    """Listen on one connection to what others say."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
        heard.put_nowait(payload)

    await connection.add_listener("news", hear)
    for number in range(3):
        await pool.execute("SELECT pg_notify('news', $1)", f"message {number}")
    received = [await heard.get() for _ in range(3)]
    await connection.remove_listener("news", hear)
    return received


print(json.dumps(asyncio.run(main(sys.argv[1]))))
