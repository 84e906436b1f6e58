"""The web site: a program of its own, started by `hosting`.

It serves a front page and the articles on a free port of 127.0.0.1, each article after the delay it is given,
as if it came from far away. It runs on the loop that comes with Python, whatever loop the crawler runs on, so
that every style and every loop meets the same site.

It speaks with the program that started it through its standard input and output, one JSON line for each:

- at the start it says where it listens and what the right bytes are: `{"port": ..., "digests": {path:
  sha256}}`;
- to each line it reads it answers how many requests it has held at once since the last answer: `{"in_flight":
  ...}`;
- when its input ends, it ends. The input also ends when the other program dies, so the site never outlives
  it.

It imports nothing of the package: it is run by its path.
"""

import argparse
import asyncio
import hashlib
import json
import random
import sys

TITLES = (
    "Process", "Thread", "Socket", "Selector", "Callback",
    "Generator", "Coroutine", "Future", "Task", "Event loop",
)  # fmt: skip
WORDS = (
    "a", "the", "some", "every", "first", "next", "slow", "fast", "idle", "busy", "ready", "pending",
    "kernel", "queue", "timer", "stack", "signal", "buffer", "reader", "writer",
    "waits", "wakes", "sleeps", "returns", "resumes", "yields", "sends", "receives",
    "and", "or", "until", "while", "when", "before", "after",
)  # fmt: skip
PARAGRAPHS = 60
"""Makes an article about 25 KB: several segments on the wire, as real pages have."""
LINKS = 3
"""Links from an article to others."""


class Website:
    """The pages, and how many requests are being held."""

    def __init__(self, delay: float, articles: int) -> None:
        """`delay` is in seconds."""
        self.delay = delay
        self.articles = write_articles(articles)
        self.front_page = html("Contents", "".join(link(path, path) for path in self.articles))
        self.in_flight = 0
        self.most_in_flight = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection, then close it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1")
            writer.write(await self.response(path))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The visitor left before the end, as it does after Ctrl-C: nobody is there to be told.
        except asyncio.CancelledError:
            # The site is ending. Not raised again: the streams of Python 3.11 report a handler that was
            # cancelled as an error of the program.
            pass
        finally:
            writer.close()

    async def response(self, path: str) -> bytes:
        """The whole response to a request for `path`.

        Nothing is awaited between the end of the count and the write that follows: no visitor can have the
        page while it is still counted.
        """
        if path == "/":
            return http_response("200 OK", self.front_page)
        if path not in self.articles:
            return http_response("404 Not Found", html("Not found", ""))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.in_flight -= 1
        return http_response("200 OK", self.articles[path])

    def take_most_in_flight(self) -> int:
        """How many requests were held at once since this was last asked."""
        most, self.most_in_flight = self.most_in_flight, self.in_flight
        return most


def write_articles(count: int) -> dict[str, bytes]:
    """`count` articles by their paths, each with links to the ones after it."""
    titles = [TITLES[i] if i < len(TITLES) else f"Article {i + 1}" for i in range(count)]
    paths = ["/" + title.lower().replace(" ", "-") for title in titles]
    pages = {}
    for i, (title, path) in enumerate(zip(titles, paths, strict=True)):
        neighbours = [(i + step) % count for step in range(1, LINKS + 1)]
        see_also = "".join(link(paths[n], titles[n]) for n in dict.fromkeys(neighbours) if n != i)
        pages[path] = html(title, prose(title) + see_also)
    return pages


def prose(title: str) -> str:
    """Paragraphs that differ from article to article, so that no page can pass for another."""
    words = random.Random(title)
    paragraphs = (" ".join(words.choices(WORDS, k=70)) for _ in range(PARAGRAPHS))
    return "".join(f"<p>{title} {paragraph}.</p>\n" for paragraph in paragraphs)


def link(path: str, text: str) -> str:
    """A link on a line of its own."""
    return f'<p><a href="{path}">{text}</a></p>\n'


def html(title: str, body: str) -> bytes:
    """A page."""
    return f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n{body}".encode()


def http_response(status: str, body: bytes) -> bytes:
    """A response after which the connection is closed."""
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def say(message: dict[str, object]) -> None:
    """Tell the program that started us."""
    print(json.dumps(message), flush=True)


async def serve(website: Website) -> None:
    """Serve until the input ends."""
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(questions), sys.stdin
    )
    # The backlog holds the connections of all articles asked for in one go.
    server = await asyncio.start_server(website.answer, "127.0.0.1", 0, backlog=1024)
    digests = {path: hashlib.sha256(page).hexdigest() for path, page in website.articles.items()}
    say({"port": server.sockets[0].getsockname()[1], "digests": digests})
    while await questions.readline():
        say({"in_flight": website.take_most_in_flight()})
    # Not `async with server`: that would wait for the answers still held, which asyncio.run cancels instead.
    server.close()


def main() -> None:
    """Run the site."""
    parser = argparse.ArgumentParser(description="The web site that the crawler fetches.")
    parser.add_argument("--delay", type=float, required=True, help="seconds before each answer")
    parser.add_argument("--articles", type=int, required=True, help="how many there are")
    options = parser.parse_args()
    asyncio.run(serve(Website(options.delay, options.articles)))


if __name__ == "__main__":
    main()
