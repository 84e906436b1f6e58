"""Style 10, aiohttp: leave HTTP to a library.

The idea added: none about waiting, and that is the point. Because coroutines compose, someone else could
write HTTP once (connections kept and shared, redirects, compression, cookies) on top of the same loop, Future
and Task, and it is used with the same `await`.
"""

import asyncio

import aiohttp

from crawler.web import Page, Site


def crawl(site: Site) -> list[Page]:
    """Fetch every article through one aiohttp session."""
    return asyncio.run(fetch_all(site))


async def fetch_all(site: Site) -> list[Page]:
    """Fetch every article at once; without `limit=0` the session would open no more than 100 connections."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(session, site, path)) for path in site.articles]
        return [task.result() for task in tasks]


async def fetch(session: aiohttp.ClientSession, site: Site, path: str) -> Page:
    """Fetch one article."""
    async with session.get(site.url(path)) as response:
        return Page.fetched_here(path, await response.read())
