"""Runs the modules that a pytest session is going to ask for, as many at once as there are processors.

A module's tests mostly wait, and the pytest process does nothing meanwhile: one module after the other would take
twice as long. The first test that asks starts them all, in the order of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from .runner import ModuleRun, Plan, run_module

Key = TypeVar("Key")


@contextmanager
def module_runs(
    keys: Iterable[Key], job: Callable[[Key], tuple[str, Plan]]
) -> Iterator[Callable[[Key], ModuleRun]]:
    """Start running what `job` says of each key; gives a function that waits for the run of one key."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started: dict[Key, Future[ModuleRun]] = {key: pool.submit(run_module, *job(key)) for key in keys}
        try:
            yield lambda key: started[key].result()
        finally:
            pool.shutdown(cancel_futures=True)
