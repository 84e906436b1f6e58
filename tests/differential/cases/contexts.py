"""Context variables through every kind of callback."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading

from ..log import Log
from .scheduling import new_loop, turns

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def case_callbacks_copy_the_current_context(log: Log) -> None:
    with new_loop() as loop:
        for name in ("call_soon", "call_soon_threadsafe"):
            variable.set(name)
            getattr(loop, name)(lambda name=name: log(name, variable.get()))
        variable.set("call_later")
        loop.call_later(0, lambda: log(variable.get()))
        variable.set("call_at")
        loop.call_at(loop.time(), lambda: log(variable.get()))
        variable.set("when run")
        turns(loop)


def case_given_context(log: Log) -> None:
    with new_loop() as loop:
        own = contextvars.copy_context()

        def append(text: str) -> None:
            variable.set(variable.get() + text)

        loop.call_soon(append, "+soon", context=own)
        loop.call_soon_threadsafe(append, "+threadsafe", context=own)
        loop.call_later(0, append, "+later", context=own)
        handle = loop.call_soon(append, "+last", context=own)
        log(getattr(handle, "get_context", lambda: own)() is own)
        turns(loop)
        log(own[variable], variable.get())


def case_readers_and_writers(log: Log) -> None:
    with new_loop() as loop:
        left, right = socket.socketpair()
        right.send(b"x")
        variable.set("at add")

        def callback(kind: str, remove: object) -> None:
            log(kind, variable.get())
            variable.set("changed inside")
            remove(left)

        loop.add_reader(left, callback, "reader", loop.remove_reader)
        loop.add_writer(left, callback, "writer", loop.remove_writer)
        variable.set("when run")
        turns(loop)
        log(variable.get())
        left.close()
        right.close()


def case_tasks(log: Log) -> None:
    async def child(name: str) -> None:
        log(name, variable.get())
        variable.set(name)
        await asyncio.sleep(0)
        log(name, variable.get())

    async def main() -> None:
        variable.set("main")
        await asyncio.gather(child("a"), child("b"))
        await child("directly")
        own = contextvars.copy_context()
        await asyncio.create_task(child("own"), context=own)
        log(variable.get(), own[variable])

    asyncio.run(main())
    log(variable.get())


def case_runner_keeps_one_context(log: Log) -> None:
    async def sets(value: str) -> str:
        before = variable.get()
        variable.set(value)
        return before

    with asyncio.Runner() as runner:
        log(runner.run(sets("first")), runner.run(sets("second")))
        own = contextvars.copy_context()
        log(runner.run(sets("third"), context=own), own[variable], runner.run(sets("fourth")))
    log(variable.get())


def case_executors_and_threads(log: Log) -> None:
    async def main() -> None:
        variable.set("main")
        loop = asyncio.get_running_loop()
        log("executor", await loop.run_in_executor(None, variable.get))
        log("to_thread", await asyncio.to_thread(variable.get))
        done = asyncio.Event()

        def report() -> None:
            log("from a thread", variable.get())
            done.set()

        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(report))
        thread.start()
        await done.wait()
        thread.join()

    asyncio.run(main())


def case_protocols(log: Log) -> None:
    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            log.channel("server")("made", variable.get())

        def data_received(self, data: bytes) -> None:
            log.channel("server")("data", variable.get())

        def connection_lost(self, error: Exception | None) -> None:
            log.channel("server")("lost", variable.get())
            lost.set_result(None)

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            log.channel("client")("made", variable.get())

        def connection_lost(self, error: Exception | None) -> None:
            log.channel("client")("lost")  # the context is a difference, see docs/differences.md

    async def main() -> None:
        nonlocal lost
        loop = asyncio.get_running_loop()
        lost = loop.create_future()
        variable.set("creates server")
        server = await loop.create_server(Server, "127.0.0.1", 0)
        variable.set("creates client")
        transport, _ = await loop.create_connection(Client, *server.sockets[0].getsockname())
        variable.set("writes")
        transport.write(b"x")
        variable.set("closes")
        transport.close()
        await lost
        server.close()
        log("closed")

    lost: asyncio.Future[None]
    asyncio.run(main())


def case_async_generators(log: Log) -> None:
    async def generator() -> object:
        try:
            while True:
                variable.set(variable.get() + "+")
                yield variable.get()
        finally:
            log("closed in", variable.get())

    async def main() -> None:
        variable.set("main")
        number = 0
        async for value in generator():
            log(value)
            number += 1
            if number == 2:
                break

    asyncio.run(main())
