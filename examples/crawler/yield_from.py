"""Style 7, generators with `yield from`: waiting functions that call waiting functions.

The idea added: delegation. `yield from` runs another generator as if its body stood here, lets its yields
through to the Task, and evaluates to what it returns. So helpers that wait (`send`, `receive`) are called
like functions again, as deep as one likes, and errors travel up through them.

Future, Task and the loop are those of the style before. asyncio's first form was this one, with `wait` built
into its Future as `__iter__`; today's `await` is `yield from` under a name of its own, and `wait` is
`Future.__await__`.
"""

import asyncio
import socket
from typing import TypeVar

from crawler.generators import Coroutine, Future, Loop, Task, readable, run_until_complete, writable
from crawler.web import CHUNK, Page, Response, Site, dial, request

T = TypeVar("T")


def crawl(site: Site) -> list[Page]:
    """Fetch every article in a Task made of generators that delegate to each other."""
    loop = asyncio.new_event_loop()
    try:
        return run_until_complete(loop, Task(loop, fetch_all(loop, site)))
    finally:
        loop.close()


def fetch_all(loop: Loop, site: Site) -> Coroutine[list[Page]]:
    """Start a Task for each article, then wait for them."""
    return (yield from gather([Task(loop, fetch(loop, site, path)) for path in site.articles]))


def fetch(loop: Loop, site: Site, path: str) -> Coroutine[Page]:
    """Fetch one article: `blocking.fetch` with `yield from` before each wait."""
    response = Response(path)
    with dial(site) as sock:
        yield from send(loop, sock, request(site, path))
        while not response.feed((yield from receive(loop, sock))):
            pass
    return response.page()


def send(loop: Loop, sock: socket.socket, data: bytes) -> Coroutine[None]:
    """Send all of `data`."""
    while data:
        yield from wait(writable(loop, sock))
        data = data[sock.send(data) :]


def receive(loop: Loop, sock: socket.socket) -> Coroutine[bytes]:
    """Some bytes, or none when the other side has closed."""
    yield from wait(readable(loop, sock))
    return sock.recv(CHUNK)


def gather(futures: list[Task[T]]) -> Coroutine[list[T]]:
    """The results of all, in their order."""
    results = []
    for future in futures:
        result = yield from wait(future)
        results.append(result)
    return results


def wait(future: Future[T]) -> Coroutine[T]:
    """The result of `future`, or raise its error. The only bare `yield` that is left."""
    if not future.done:
        yield future
    return future.result()
