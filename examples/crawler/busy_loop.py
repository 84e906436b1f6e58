"""Style 4, non-blocking sockets in a busy loop: one thread asks them all.

The idea added: a call need not wait. A non-blocking socket answers "not yet" (BlockingIOError) instead of
putting the thread to sleep, so one thread can look after all ten by asking each in turn, for ever. It needs
no threads and is as fast as they are, but it keeps a core at 100% asking a question whose answer is nearly
always no. Note what became of the function: what `fetch` held in its local variables is now an object,
because the function has to return.
"""

from contextlib import ExitStack, suppress

from crawler.web import CHUNK, Page, Response, Site, dial, request


def crawl(site: Site) -> list[Page]:
    """Fetch every article by asking all sockets, over and over, until each has said all."""
    with ExitStack() as sockets:
        fetches = [Fetch(site, path, sockets) for path in site.articles]
        waiting = fetches
        while waiting:
            waiting = [fetch for fetch in waiting if not fetch.advance()]
    return [fetch.response.page() for fetch in fetches]


class Fetch:
    """One article on its way."""

    def __init__(self, site: Site, path: str, sockets: ExitStack) -> None:
        """Begin to connect; `sockets` closes the socket at the end."""
        self.response = Response(path)
        self.unsent = request(site, path)
        self.sock = sockets.enter_context(dial(site))

    def advance(self) -> bool:
        """Do what can be done without waiting, and return whether the article is complete."""
        with suppress(BlockingIOError):
            if self.unsent:
                # A socket that is still connecting answers "not yet" here as well.
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            else:
                return self.response.feed(self.sock.recv(CHUNK))
        return False
