"""Style 3, a thread pool: the same with less weight.

The idea added: those who wait can share one memory. Threads start in microseconds instead of tens of
milliseconds and hand over their pages without copying. Still each one costs a stack and a kernel object to do
nothing but sleep, ten thousand of them are a burden, and sharing memory brings locks and races.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from crawler.blocking import fetch
from crawler.web import Page, Site


def crawl(site: Site) -> list[Page]:
    """Fetch every article in a thread of its own."""
    with ThreadPoolExecutor(len(site.articles)) as pool:
        return list(pool.map(partial(fetch, site), site.articles))
