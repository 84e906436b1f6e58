"""`staggered_race`: connections to several addresses, begun one after another until one of them stands.

asyncio's rules, with one task for each attempt and the caller as their supervisor: no task waits for its turn, so it
makes no difference whether tasks begin eagerly. Called by `loop.create_connection(happy_eyeballs_delay=...)` once the
names are swapped, and by programs as `tulipa.staggered.staggered_race`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ._tulipa import wait

_T = TypeVar("_T")


async def staggered_race(
    coro_fns: Iterable[Callable[[], Awaitable[_T]]],
    delay: float | None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> tuple[_T | None, int | None, list[BaseException | None]]:
    """Run coroutines with staggered start times and take the first to finish.

    The first one is started at once, each further one when the one before it has failed, or delay seconds after that
    was started (None: only when it has failed). Once one returns, the others are cancelled and waited for; so they are
    when the caller is cancelled.

    Return (winner_result, winner_index, exceptions): the result and the index of the one that returned, or None and
    None if all have failed, and the exceptions of all that were started, None for the winner.
    """
    race = _Race(coro_fns, loop or asyncio.get_running_loop())
    try:
        await race.run(delay)
        return race.result, race.winner, race.exceptions
    finally:
        race.exceptions = []  # they refer to this frame


class _Race(Generic[_T]):
    def __init__(
        self, attempts: Iterable[Callable[[], Awaitable[_T]]], loop: asyncio.AbstractEventLoop
    ) -> None:
        # Those that have not begun; None when no more are to begin.
        self.ahead: Iterator[Callable[[], Awaitable[_T]]] | None = iter(attempts)
        self.loop = loop
        self.exceptions: list[BaseException | None] = []
        self.running: set[asyncio.Task[None]] = set()
        self.result: _T | None = None
        self.winner: int | None = None

    async def run(self, delay: float | None) -> None:
        """Begin attempts as their time comes, until all that have begun are over."""
        cancellation: asyncio.CancelledError | None = None
        errors: list[Exception] = []
        try:
            latest = self.begin()
            due = None if delay is None else self.loop.time() + delay
            while self.running or self.ahead is not None:
                try:
                    done = await self.wait(due)
                except asyncio.CancelledError as request:
                    cancellation = request
                    self.stop(*request.args)
                    continue
                errors += [error for task in done if (error := _error_of(task))]
                if latest not in self.running or (due is not None and self.loop.time() >= due):
                    latest = self.begin()
                    due = None if delay is None else self.loop.time() + delay
            if errors:
                raise ExceptionGroup("staggered race failed", errors)
            if cancellation is not None:
                raise cancellation
        finally:
            self.stop()
            del cancellation, errors

    async def wait(self, due: float | None) -> set[asyncio.Task[None]]:
        """Wait for the end of an attempt, or until the next one is due, and return those that are over."""
        if not self.running:
            return set()
        timeout = None if due is None or self.ahead is None else max(0, due - self.loop.time())
        done, self.running = await wait(self.running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return done

    def begin(self) -> asyncio.Task[None] | None:
        """Begin the next attempt, if there is one."""
        attempt = None if self.ahead is None else next(self.ahead, None)
        if attempt is None:
            self.ahead = None
            return None
        index = len(self.exceptions)
        # What it holds if the attempt is cancelled before its first step.
        self.exceptions.append(asyncio.CancelledError())
        task = self.loop.create_task(self.try_one(index, attempt))
        self.running.add(task)
        return task

    async def try_one(self, index: int, attempt: Callable[[], Awaitable[_T]]) -> None:
        try:
            result = await attempt()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.exceptions[index] = error
            return
        if self.winner is not None:
            raise AssertionError(
                f"attempt {index} returned, though it was cancelled when {self.winner} had won"
            )
        self.winner, self.result, self.exceptions[index] = index, result, None
        # In this very step, so that who is about to return as well does not.
        self.stop()

    def stop(self, *arguments: Any) -> None:
        """Begin no more attempts, and cancel those that run, but for the one that says so."""
        self.ahead = None
        current = asyncio.current_task(self.loop)
        for task in self.running:
            if task is not current:
                task.cancel(*arguments)


def _error_of(task: asyncio.Task[None]) -> Exception | None:
    """Return what an attempt raised beyond its failure: a mistake of the program's."""
    error = None if task.cancelled() else task.exception()
    return error if isinstance(error, Exception) else None
