"""Style 1, blocking: one after another.

The idea everything starts from: a call returns when its work is done. `recv` puts the whole thread to sleep
until bytes arrive, so the code reads from top to bottom, and nearly all of its time is spent asleep. Ten
articles that take a tenth of a second each take one second, though the machine has nothing to do.
"""

import socket

from crawler.web import CHUNK, Page, Response, Site, request


def crawl(site: Site) -> list[Page]:
    """Fetch every article, each when the one before is there."""
    return [fetch(site, path) for path in site.articles]


def fetch(site: Site, path: str) -> Page:
    """Fetch one article; the thread sleeps in `connect` and `recv`."""
    response = Response(path)
    with socket.create_connection(site.address) as sock:
        sock.sendall(request(site, path))
        while not response.feed(sock.recv(CHUNK)):
            pass
    return response.page()
