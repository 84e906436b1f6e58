"""grpc.aio: calls of all four kinds, errors, time limits, cancelling, many at once. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio


async def double(request: bytes, context: Any) -> bytes:
    return request * 2


async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b"".join([request async for request in requests])


async def upper(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request.upper()


async def fails(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is nothing")
    raise AssertionError("abort() raises")


async def sleeps(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(60)
    return b""


def service() -> grpc.GenericRpcHandler:
    methods = {
        "double": grpc.unary_unary_rpc_method_handler(double),
        "count": grpc.unary_stream_rpc_method_handler(count),
        "join": grpc.stream_unary_rpc_method_handler(join),
        "upper": grpc.stream_stream_rpc_method_handler(upper),
        "fails": grpc.unary_unary_rpc_method_handler(fails),
        "sleeps": grpc.unary_unary_rpc_method_handler(sleeps),
    }
    return grpc.method_handlers_generic_handler("test", methods)


async def main() -> dict[str, Any]:
    seen: dict[str, Any] = {"loop": type(asyncio.get_running_loop()).__module__}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/double")
        answers = await asyncio.gather(*(call(b"%d " % number) for number in range(200)))
        seen["doubled"] = answers == [b"%d " % number * 2 for number in range(200)]
        seen["large"] = len(await call(b"x" * 1_000_000))
        seen["counted"] = len([answer async for answer in channel.unary_stream("/test/count")(b"500")])

        async def words() -> AsyncIterator[bytes]:
            for word in ("some ", "words ", "joined"):
                yield word.encode()
                await asyncio.sleep(0)

        seen["joined"] = (await channel.stream_unary("/test/join")(words())).decode()
        seen["upper"] = [answer.decode() async for answer in channel.stream_stream("/test/upper")(words())]
        try:
            await channel.unary_unary("/test/fails")(b"")
        except grpc.aio.AioRpcError as error:
            seen["error"] = [error.code().name, error.details()]
        try:
            await channel.unary_unary("/test/sleeps")(b"", timeout=0.1)
        except grpc.aio.AioRpcError as error:
            seen["timed out"] = error.code().name
        sleeping = channel.unary_unary("/test/sleeps")(b"")
        asyncio.get_running_loop().call_later(0.05, sleeping.cancel)
        try:
            await sleeping
        except asyncio.CancelledError:
            seen["cancelled"] = (await sleeping.code()).name
    await server.stop(0)
    return seen


print(json.dumps(asyncio.run(main())))
