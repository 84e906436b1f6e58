"""A chat server, and three people who talk over it."""

import asyncio

ROOM: dict[str, asyncio.StreamWriter] = {}


def announce(line: str) -> None:
    for writer in ROOM.values():
        writer.write(f"{line}\n".encode())


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = (await reader.readline()).decode().strip()
    ROOM[name] = writer
    announce(f"{name} comes in")
    while line := await reader.readline():
        announce(f"{name}: {line.decode().strip()}")
    del ROOM[name]
    announce(f"{name} leaves")
    writer.close()


class Person:
    """One client."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name, self._reader, self._writer = name, reader, writer

    @classmethod
    async def join(cls, name: str, port: int) -> "Person":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        person = cls(name, reader, writer)
        await person.say(name)
        return person

    async def say(self, text: str) -> None:
        self._writer.write(f"{text}\n".encode())
        await self._writer.drain()

    async def hear(self) -> None:
        print(f"{self.name} hears:", (await self._reader.readline()).decode().strip())

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    people: list[Person] = []
    for name in ("Ada", "Bob", "Cleo"):
        people.append(await Person.join(name, port))
        for person in people:
            await person.hear()
    for speaker in people:
        await speaker.say(f"{speaker.name} was here")
        for person in people:
            await person.hear()
    while people:
        await people.pop().leave()
        for person in people:
            await person.hear()
    server.close()
    await server.wait_closed()


asyncio.run(main())
