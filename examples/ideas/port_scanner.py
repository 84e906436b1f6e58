"""A port scanner: hundreds of connections tried at once, a semaphore to keep them to a number, a limit for each."""

import asyncio
import socket


async def is_open(port: int, at_once: asyncio.Semaphore) -> bool:
    async with at_once:
        try:
            async with asyncio.timeout(30):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


def silent(count: int) -> list[socket.socket]:
    """Sockets that have a port, at which nobody listens."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    return sockets


async def main() -> None:
    servers = [
        await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) for _ in range(5)
    ]
    listening = {server.sockets[0].getsockname()[1] for server in servers}
    closed = silent(200)
    ports = sorted(listening | {sock.getsockname()[1] for sock in closed})
    at_once = asyncio.Semaphore(50)
    answers = await asyncio.gather(*(is_open(port, at_once) for port in ports))
    found = {port for port, answer in zip(ports, answers, strict=True) if answer}
    print(
        len(ports),
        "ports,",
        len(found),
        "of them open:",
        "all found" if found == listening else "some missed",
    )
    for server in servers:
        server.close()
        await server.wait_closed()
    for sock in closed:
        sock.close()


asyncio.run(main())
