"""Style 8, async/await over a Protocol: coroutines as part of the language, sockets as part of the loop.

Two ideas added. `async def` and `await` say in the source where a function may wait, where before one had to
know which generators are meant to be coroutines; Future and Task come with asyncio. And the loop does the
reading and writing itself: a Transport owns the socket, and calls a Protocol with what happened to it. The
bytes are pushed to us again, as with callbacks, and a Future is the bridge from there to whoever awaits.
"""

import asyncio
from typing import cast

from crawler.web import HttpError, Page, Response, Site, request


def crawl(site: Site) -> list[Page]:
    """Fetch every article over asyncio's transports."""
    return asyncio.run(fetch_all(site))


async def fetch_all(site: Site) -> list[Page]:
    """Fetch every article at once, and wait for all."""
    return await asyncio.gather(*(fetch(site, path) for path in site.articles))


async def fetch(site: Site, path: str) -> Page:
    """Fetch one article: connect, then wait for what the protocol completes."""
    loop = asyncio.get_running_loop()
    page: asyncio.Future[Page] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Fetch(site, path, page), site.host, site.port)
    try:
        return await page
    finally:
        transport.close()


class Fetch(asyncio.Protocol):
    """One article on its way: the transport calls these methods."""

    def __init__(self, site: Site, path: str, page: asyncio.Future[Page]) -> None:
        """`page` is completed with the article, or with the reason why there is none."""
        self.request = request(site, path)
        self.response = Response(path)
        self.page = page

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: send the request; the transport keeps what the socket does not take at once."""
        cast(asyncio.Transport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        """Some of the answer is there."""
        if self.page.done():
            return
        try:
            if self.response.feed(data):
                self.page.set_result(self.response.page())
        except HttpError as error:
            self.page.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: bad news only if the article is not complete."""
        if not self.page.done():
            self.page.set_exception(
                exc or HttpError("the connection was closed before its page was complete")
            )
