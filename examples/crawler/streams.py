"""Style 9, async/await over streams: it reads like the first style again.

The idea added: a reader to await instead of a protocol to be called by. The stream collects what the
transport pushes and hands it out when asked, so nothing is left of callbacks: this `fetch` is
`blocking.fetch` with `await` before each wait. A TaskGroup adds that no task outlives the block that started
it: if one fails, the others are cancelled and the error is raised here.
"""

import asyncio

from crawler.web import CHUNK, Page, Response, Site, request


def crawl(site: Site) -> list[Page]:
    """Fetch every article over asyncio's streams."""
    return asyncio.run(fetch_all(site))


async def fetch_all(site: Site) -> list[Page]:
    """Fetch every article at once, in a group that ends when all have."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetch(site, path)) for path in site.articles]
    return [task.result() for task in tasks]


async def fetch(site: Site, path: str) -> Page:
    """Fetch one article; only this task sleeps in `open_connection` and `read`."""
    response = Response(path)
    reader, writer = await asyncio.open_connection(site.host, site.port)
    try:
        writer.write(request(site, path))
        while not response.feed(await reader.read(CHUNK)):
            pass
    finally:
        writer.close()
    await writer.wait_closed()
    return response.page()
