"""aiomysql: a pool, transactions, streamed rows, large values, errors. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiomysql


async def main(socket: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    pool = await aiomysql.create_pool(unix_socket=socket, user="root", db="test", autocommit=True, maxsize=10)

    async def ask(query: str, *arguments: Any) -> Any:
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(query, arguments)
            return await cursor.fetchall()

    await ask("CREATE OR REPLACE TABLE items (number bigint PRIMARY KEY, name text) ENGINE=InnoDB")
    async with pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO items VALUES (%s, %s)", [(number, f"item {number}") for number in range(5000)]
        )
        seen["inserted"] = cursor.rowcount
    answers = await asyncio.gather(*(ask("SELECT name FROM items WHERE number = %s", n) for n in range(100)))
    seen["answers"] = [rows[0][0] for rows in answers] == [f"item {number}" for number in range(100)]
    ((large,),) = await ask("SELECT repeat('x', 3000000)")
    seen["large"] = len(large)
    async with pool.acquire() as connection:
        async with connection.cursor(aiomysql.SSCursor) as cursor:
            await cursor.execute("SELECT number FROM items ORDER BY number")
            seen["streamed"] = [row[0] async for row in cursor] == list(range(5000))
        await connection.begin()
        async with connection.cursor() as cursor:
            await cursor.execute("DELETE FROM items")
        await connection.rollback()
    seen["rolled back"] = (await ask("SELECT count(*) FROM items"))[0][0]
    try:
        await ask("INSERT INTO items VALUES (1, '')")
    except aiomysql.IntegrityError as error:
        seen["error"] = error.args[0]
    pool.close()
    await pool.wait_closed()
    return seen


print(json.dumps(asyncio.run(main(sys.argv[1]))))
