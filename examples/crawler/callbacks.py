"""Style 5, callbacks: let the kernel say who is ready.

The idea added: do not ask each socket, ask the kernel once (select, poll, epoll) which of them can go on, and
sleep until one can. With it comes the event loop, which is no more than two things: a poller that knows what
to call when a socket is ready, and a queue of what to call now. The core is idle again, and ten thousand
sockets cost little.

The price is the shape of the code. Each wait ends a function and begins another; nothing returns to its
caller, so nothing can be raised to it either: an error surfaces in the loop, far from whoever cares.
"""

import asyncio
from typing import Any

from crawler.web import CHUNK, Page, Response, Site, dial, request


def crawl(site: Site) -> list[Page]:
    """Fetch every article by callbacks on one loop."""
    loop = asyncio.new_event_loop()
    work = Crawl(site, loop)
    try:
        return work.run()
    finally:
        work.close()
        loop.close()


class Crawl:
    """All the fetches: stops the loop after the last one, or at the first error."""

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is opened before `run`."""
        self.site = site
        self.loop = loop
        self.fetches: list[Fetch] = []
        self.unfinished = len(site.articles)
        self.error: BaseException | None = None

    def run(self) -> list[Page]:
        """Start every fetch and let the loop call them until the last one is complete."""
        self.loop.set_exception_handler(self.failed)
        for path in self.site.articles:
            self.fetches.append(Fetch(self, path))
        self.loop.run_forever()
        if self.error is not None:
            raise self.error
        return [fetch.response.page() for fetch in self.fetches]

    def completed(self) -> None:
        """One fetch is complete."""
        self.unfinished -= 1
        if self.unfinished == 0:
            self.loop.stop()

    def failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback raised: without this handler the loop would log it and wait for ever for the others."""
        self.error = context.get("exception") or RuntimeError(context["message"])
        self.loop.stop()

    def close(self) -> None:
        """Close what an error or Ctrl-C left open."""
        for fetch in self.fetches:
            fetch.close()


class Fetch:
    """One article on its way: the methods are its steps, called by the loop when the socket is ready."""

    def __init__(self, crawl: Crawl, path: str) -> None:
        """Begin to connect, and ask to be called when that is done."""
        self.crawl = crawl
        self.loop = crawl.loop
        self.response = Response(path)
        self.unsent = request(crawl.site, path)
        self.sock = dial(crawl.site)
        self.loop.add_writer(self.sock, self.writable)

    def writable(self) -> None:
        """Connected, or room for more of the request: send, then wait for the answer."""
        self.unsent = self.unsent[self.sock.send(self.unsent) :]
        if not self.unsent:
            self.loop.remove_writer(self.sock)
            self.loop.add_reader(self.sock, self.readable)

    def readable(self) -> None:
        """Some of the answer is there."""
        if self.response.feed(self.sock.recv(CHUNK)):
            self.close()
            self.crawl.completed()

    def close(self) -> None:
        """Leave the loop, then close: the other way the loop would watch whoever gets the number next."""
        if self.sock.fileno() >= 0:
            self.loop.remove_writer(self.sock)
            self.loop.remove_reader(self.sock)
            self.sock.close()
