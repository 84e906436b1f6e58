"""Runs one style and measures it: nothing in the result is assumed from what the style is meant to do."""

import asyncio
import hashlib
import resource
import time
from dataclasses import dataclass

from crawler.hosting import Host
from crawler.styles import Style
from crawler.web import Page


@dataclass(frozen=True)
class Measurement:
    """What one style did."""

    style: Style
    seconds: float
    """From the call of the style to its return."""
    cpu_seconds: float
    """Of this process and of the children that ended meanwhile; the site is not among them."""
    in_flight: int
    """The most requests that the site held at once."""
    processes: int
    """How many different processes received an article."""
    threads: int
    """How many different threads received an article, in all processes."""
    wrong: tuple[str, ...]
    """The paths whose bytes are not those of the site: differing, missing or never asked for."""


def measure(style: Style, host: Host) -> Measurement:
    """Fetch the articles in `style`."""
    crawl = style.load()
    host.take_most_in_flight()
    cpu_before, started = cpu_seconds(), time.perf_counter()
    pages = crawl(host.site)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_before
    return Measurement(
        style=style,
        seconds=seconds,
        cpu_seconds=cpu,
        in_flight=host.take_most_in_flight(),
        processes=len({page.process for page in pages}),
        threads=len({(page.process, page.thread) for page in pages}),
        wrong=wrong_pages(pages, host.digests),
    )


def wrong_pages(pages: list[Page], digests: dict[str, str]) -> tuple[str, ...]:
    """The paths whose bytes are not those of the site."""
    fetched = {page.path: hashlib.sha256(page.body).hexdigest() for page in pages}
    paths = sorted(fetched.keys() | digests.keys())
    return tuple(path for path in paths if fetched.get(path) != digests.get(path))


def cpu_seconds() -> float:
    """CPU time so far, in user and kernel mode, of this process and of its children that have ended."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def running_loop() -> str:
    """The type of the loop that asyncio runs here, in full."""

    async def loop_type() -> type:
        return type(asyncio.get_running_loop())

    loop = asyncio.run(loop_type())
    return f"{loop.__module__}.{loop.__qualname__}"
