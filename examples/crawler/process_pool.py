"""Style 2, a process pool: let others do the waiting.

The idea added: to wait for ten things at once, have ten that wait. Each worker is a process that runs the
blocking code unchanged, and the operating system switches between them. It is the oldest way (a process per
connection) and the most expensive: an interpreter is started for each worker, and all data is copied between
processes.
"""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from crawler.blocking import fetch
from crawler.web import Page, Site

MAX_WORKERS = 10
"""A worker is a whole interpreter, about 10 MB: more articles than this share the workers."""


def crawl(site: Site) -> list[Page]:
    """Fetch every article in a worker process.

    The workers are spawned, not forked: a fork would copy the state of whatever loop and threads this process
    has. They are also our own children (a fork server's would not be), so their CPU time is counted when they
    end.
    """
    workers = min(len(site.articles), MAX_WORKERS)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=leave_ctrl_c_to_the_parent) as pool:
        return list(pool.map(partial(fetch, site), site.articles))


def leave_ctrl_c_to_the_parent() -> None:
    """Runs first in each worker: Ctrl-C reaches the whole process group, and the parent ends the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
