"""Starts the web site in a process of its own, asks it what it counted, and stops it for certain.

The site ends when the pipe to it is closed (see `website`). That happens on leaving `running`, also by an
error or Ctrl-C, and the kernel does it if this program is killed.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from crawler import blocking
from crawler.web import Site, links

STOP_SECONDS = 5.0
"""How long the site may take to end after its input has. It takes milliseconds."""


class HostingError(Exception):
    """The site did not start, or has gone."""


@dataclass(frozen=True)
class Host:
    """The running site: where it is, what the right bytes are, and the pipes to its process."""

    site: Site
    digests: dict[str, str]
    to_site: IO[str]
    from_site: IO[str]

    def take_most_in_flight(self) -> int:
        """How many requests the site has held at once since this was last asked."""
        try:
            self.to_site.write("\n")
            self.to_site.flush()
        except BrokenPipeError as error:
            raise HostingError("the web site has ended") from error
        return int(_hear(self.from_site)["in_flight"])


@contextlib.contextmanager
def running(delay: float, articles: int) -> Iterator[Host]:
    """Run the site for the length of a `with` block.

    Raises HostingError if it does not start.
    """
    # -P: the folder of the site is not searched for modules, whose names are the crawler's own affair.
    command = [sys.executable, "-P", str(Path(__file__).with_name("website.py"))]
    process = subprocess.Popen(
        [*command, "--delay", str(delay), "--articles", str(articles)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A session of its own, or Ctrl-C would reach it too and end it before those who wait for its answers.
        start_new_session=True,
    )
    to_site, from_site = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
    try:
        greeting = _hear(from_site)
        site = Site("127.0.0.1", greeting["port"])
        contents = blocking.fetch(site, "/")
        site = replace(site, articles=links(contents.body))
        yield Host(site, greeting["digests"], to_site, from_site)
    finally:
        _stop(process, to_site)
        from_site.close()


def _hear(from_site: IO[str]) -> Any:
    line = from_site.readline()
    if not line:
        raise HostingError("the web site has ended")
    return json.loads(line)


def _stop(process: "subprocess.Popen[str]", to_site: IO[str]) -> None:
    """End the process and collect it: by closing its input, or by force if that does not help."""
    try:
        with contextlib.suppress(BrokenPipeError):  # It has ended already, with a question unread.
            to_site.close()
        process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()
