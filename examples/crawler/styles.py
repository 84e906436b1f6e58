"""The list of styles, in the order in which the ideas came."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from crawler.web import Page, Site


@dataclass(frozen=True)
class Style:
    """One way to fetch the articles."""

    name: str
    """What it is called on the command line."""
    module: str
    """The module that has its `crawl`."""
    label: str
    """What it is called in the table and the chart."""
    needs: str | None = None
    """A library that has to be installed."""

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def load(self) -> Callable[[Site], list[Page]]:
        """Import the module, which can take longer than to fetch the articles, and return its `crawl`."""
        crawl: Callable[[Site], list[Page]] = importlib.import_module(self.module).crawl
        return crawl


STYLES = (
    Style("blocking", "crawler.blocking", "blocking, one by one"),
    Style("process-pool", "crawler.process_pool", "process pool"),
    Style("thread-pool", "crawler.thread_pool", "thread pool"),
    Style("busy-loop", "crawler.busy_loop", "busy loop"),
    Style("callbacks", "crawler.callbacks", "event loop, callbacks"),
    Style("generators", "crawler.generators", "generators, yield"),
    Style("yield-from", "crawler.yield_from", "generators, yield from"),
    Style("protocol", "crawler.protocol", "async/await, protocol"),
    Style("streams", "crawler.streams", "async/await, streams"),
    Style("aiohttp", "crawler.with_aiohttp", "async/await, aiohttp", needs="aiohttp"),
)
