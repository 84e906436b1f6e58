"""anyio on its asyncio backend: task groups, cancel scopes, streams, threads, TCP. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import SocketStream, TaskStatus


async def scopes(seen: dict[str, Any]) -> None:
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(100)
    seen["moved on"] = scope.cancelled_caught
    try:
        with anyio.fail_after(0.01):
            await anyio.sleep(100)
    except TimeoutError:
        seen["failed after"] = True
    with anyio.CancelScope() as outer:
        with anyio.CancelScope(shield=True):
            outer.cancel()
            await anyio.sleep(0.01)
            seen["shielded"] = True
        await anyio.sleep(100)
    seen["outer cancelled"] = outer.cancelled_caught


async def groups(seen: dict[str, Any]) -> None:
    async def fails() -> None:
        await anyio.sleep(0)
        raise LookupError("child")

    async def waits() -> None:
        try:
            await anyio.sleep(100)
        except anyio.get_cancelled_exc_class():
            seen["sibling cancelled"] = True
            raise

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(waits)
    except* LookupError as errors:
        seen["group"] = [str(error) for error in errors.exceptions]

    async def service(task_status: TaskStatus[str]) -> None:
        task_status.started("up")
        await anyio.sleep(100)

    async with anyio.create_task_group() as group:
        seen["started"] = await group.start(service)
        group.cancel_scope.cancel()


async def streams(seen: dict[str, Any]) -> None:
    send, receive = anyio.create_memory_object_stream[int](2)

    async def produce() -> None:
        async with send:
            for number in range(50):
                await send.send(number)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async with receive:
            seen["received"] = sum([number async for number in receive])


async def threads(seen: dict[str, Any]) -> None:
    def work() -> int:
        return anyio.from_thread.run(add, 20, 22)

    async def add(left: int, right: int) -> int:
        await anyio.sleep(0)
        return left + right

    seen["thread"] = await anyio.to_thread.run_sync(work)


async def tcp(seen: dict[str, Any]) -> None:
    async def echo(stream: SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data.upper())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        answers = []

        async def client(number: int) -> None:
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"hello %d" % number)
                answers.append(await stream.receive())

        async with anyio.create_task_group() as clients:
            for number in range(20):
                clients.start_soon(client, number)
        group.cancel_scope.cancel()
    await listener.aclose()
    seen["echoed"] = sorted(answers) == sorted(b"HELLO %d" % number for number in range(20))


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    for part in (scopes, groups, streams, threads, tcp):
        await part(seen)
    seen["tasks left"] = len(asyncio.all_tasks()) - 1
    return seen


print(json.dumps(anyio.run(main)))
