"""What uvloop's tests, and the programs that they start, import as `uvloop`: its public names, with Tulipa behind them.

Their test utilities, `uvloop._testbase`, are found in the archive's folder, which stands further back on the path.
`TULIPA_TEST_IMPL=stdlib` puts asyncio behind the names instead.
"""

import asyncio
import os
import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)

if os.environ.get("TULIPA_TEST_IMPL") == "stdlib":
    from asyncio import DefaultEventLoopPolicy as EventLoopPolicy
    from asyncio import SelectorEventLoop as Loop
    from asyncio import run

    new_event_loop = Loop
else:
    from tulipa import EventLoop as Loop
    from tulipa import EventLoopPolicy, new_event_loop, run

__all__ = ("EventLoopPolicy", "Loop", "install", "new_event_loop", "run")


def install() -> None:
    """Make every new loop one of this module's."""
    asyncio.set_event_loop_policy(EventLoopPolicy())
