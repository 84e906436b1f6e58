"""Style 6, generators with `yield`: a function that can stop in the middle.

The idea added: let the function keep its place. A generator stops at `yield` with its local variables intact
and goes on when somebody sends into it, so `fetch` is one function again, with `with`, `while` and
exceptions. Three parts make it run, and they are the heart of asyncio to this day:

- Future: a result that is not there yet, and a list of who wants to hear when it is;
- Task: runs a generator. It sends into it, gets a Future out of it, and sends again when that Future is done.
  It is  itself a Future, for the generator's return value;
- the loop: the poller that completes Futures, and the queue of tasks to go on with.

What is missing: only the generator itself can yield. A helper that has to wait cannot be called like a
function.
"""

import asyncio
import socket
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar, cast

from crawler.web import CHUNK, Page, Response, Site, dial, request

T = TypeVar("T")
Loop: TypeAlias = asyncio.AbstractEventLoop
Coroutine: TypeAlias = Generator["Future[Any]", Any, T]
"""A generator that yields what it waits for and returns a T."""


class Future(Generic[T]):
    """A result that is not there yet."""

    def __init__(self, loop: Loop) -> None:
        """Begin without a result; callbacks will go through the queue of `loop`."""
        self.loop = loop
        self.done = False
        self._value: T | None = None
        self._error: Exception | None = None
        self._callbacks: list[Callable[[Future[Any]], object]] = []

    def result(self) -> T:
        """The result, or raise the error that came instead."""
        assert self.done, "the result is not there yet"
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def set_result(self, value: T) -> None:
        """Here it is."""
        self._value = value
        self._finish()

    def set_exception(self, error: Exception) -> None:
        """There will be none, for this reason."""
        self._error = error
        self._finish()

    def add_done_callback(self, callback: Callable[["Future[Any]"], object]) -> None:
        """Have the loop call `callback(self)` once the result is there."""
        if self.done:
            self.loop.call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def _finish(self) -> None:
        assert not self.done, "a Future gets one result"
        self.done = True
        # Through the queue, not called here: a long chain of tasks would otherwise be as deep a stack.
        for callback in self._callbacks:
            self.loop.call_soon(callback, self)
        self._callbacks.clear()


class Task(Future[T]):
    """Runs a generator, step by step, until it returns."""

    def __init__(self, loop: Loop, coroutine: Coroutine[T]) -> None:
        """The first step is taken when the loop gets to it."""
        super().__init__(loop)
        self._coroutine = coroutine
        loop.call_soon(self._step, None)

    def _step(self, awaited: Future[Any] | None) -> None:
        """Hand the generator what it waited for; it runs to its next `yield` and names its next wait."""
        try:
            wanted = self._resume(awaited)
        except StopIteration as returned:
            self.set_result(returned.value)
        except Exception as error:
            self.set_exception(error)
        else:
            wanted.add_done_callback(self._step)

    def _resume(self, awaited: Future[Any] | None) -> Future[Any]:
        """`yield` evaluates to the result, or raises the error."""
        try:
            value = awaited.result() if awaited is not None else None
        except Exception as error:
            return self._coroutine.throw(error)
        return self._coroutine.send(value)


def run_until_complete(loop: Loop, task: Task[T]) -> T:
    """Let the loop turn until `task` is done."""
    task.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    return task.result()


def readable(loop: Loop, sock: socket.socket) -> Future[None]:
    """A Future that is done when `sock` has something to read."""
    future: Future[None] = Future(loop)

    def ready() -> None:
        loop.remove_reader(sock)
        future.set_result(None)

    loop.add_reader(sock, ready)
    return future


def writable(loop: Loop, sock: socket.socket) -> Future[None]:
    """A Future that is done when `sock` is connected and has room."""
    future: Future[None] = Future(loop)

    def ready() -> None:
        loop.remove_writer(sock)
        future.set_result(None)

    loop.add_writer(sock, ready)
    return future


def crawl(site: Site) -> list[Page]:
    """Fetch every article in a hand-made Task."""
    loop = asyncio.new_event_loop()
    try:
        return run_until_complete(loop, Task(loop, fetch_all(loop, site)))
    finally:
        loop.close()


def fetch_all(loop: Loop, site: Site) -> Coroutine[list[Page]]:
    """Start a Task for each article, then wait for each."""
    tasks = [Task(loop, fetch(loop, site, path)) for path in site.articles]
    pages = []
    for task in tasks:
        page = yield task
        pages.append(page)
    return pages


def fetch(loop: Loop, site: Site, path: str) -> Coroutine[Page]:
    """Fetch one article: every `yield` is a wait, during which the other tasks run."""
    response = Response(path)
    unsent = request(site, path)
    with dial(site) as sock:
        while unsent:
            yield writable(loop, sock)
            unsent = unsent[sock.send(unsent) :]
        complete = False
        while not complete:
            yield readable(loop, sock)
            complete = response.feed(sock.recv(CHUNK))
    return response.page()
