"""`ThreadPool`: the default executor of a loop, made when a program first needs one.

It is a `concurrent.futures.ThreadPoolExecutor` in all that can be seen: names and number of threads, `submit()`,
`shutdown()`, the join at the interpreter's exit. Only its queue is native: what `loop.run_in_executor` hands over goes
from the loop to a worker and back without objects of `concurrent.futures` in between. Made by `EventLoop` only.
"""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, thread
from typing import Any

from . import _tulipa

# The standard library's own list of what must end before the interpreter does.
_thread: Any = thread


class ThreadPool(ThreadPoolExecutor):
    """The threads behind `run_in_executor(None, ...)`."""

    def __init__(self) -> None:
        """Make a pool without threads; they are started as there is work for them."""
        super().__init__(thread_name_prefix="asyncio")
        self._native_queue = _tulipa.WorkQueue()
        self._work_queue: Any = self._native_queue
        self._refuse_work_at_exit()

    def _add_worker(self) -> None:
        """Start a thread for work that came past `submit()`."""
        with self._shutdown_lock, _thread._global_shutdown_lock:
            self._adjust_thread_count()
            self._refuse_work_at_exit()

    def _refuse_work_at_exit(self) -> None:
        """Leave every call to `submit()`, which refuses it, once the interpreter has told the pools that it ends.

        It tells those that have a thread. What a thread has to do already is done before it ends.
        """
        if _thread._shutdown:
            self._native_queue.put(None)

    def _adjust_thread_count(self) -> None:
        queue: Any = self._native_queue
        count = len(self._threads)
        if count >= self._max_workers or not queue.wants_worker():
            return

        def pool_is_gone(_: object) -> None:
            queue.put(None)

        worker = threading.Thread(
            name=f"{self._thread_name_prefix}_{count}",
            target=_work,
            args=(weakref.ref(self, pool_is_gone), queue, self._run_arguments()),
        )
        worker.start()
        self._threads.add(worker)  # type: ignore[attr-defined]  # a set, which the stubs do not promise
        _thread._threads_queues[worker] = queue

    def _run_arguments(self) -> tuple[Any, ...]:
        """Return what `submit()`'s work items want when they are run: a context of the worker's, from 3.14 on."""
        make: Any = getattr(self, "_create_worker_context", None)
        return () if make is None else (make(),)


def _work(pool: "weakref.ref[ThreadPool]", queue: Any, arguments: tuple[Any, ...]) -> None:
    """Serve until the pool is shut down or gone, or the interpreter ends."""
    while True:
        item = queue.serve()
        if item is not None:
            item.run(*arguments)
            # A worker that waits keeps nothing of the program's alive.
            del item
            continue
        executor: Any = pool()
        if _thread._shutdown or executor is None or executor._shutdown:
            if executor is not None:
                executor._shutdown = True
            # The others are to look as well.
            queue.put(None)
            return
        del executor
