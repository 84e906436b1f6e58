"""The ends of child processes, learned from pidfds in the loop's own driver: no thread, no signal, no polling.

Starting a child, its transport and the protocols of its pipes are asyncio's own, over native pipe transports; what is
here stands in the place of asyncio's child watchers. A watcher that a program brings along (3.11 to 3.13 have an API
for that) is used instead, as asyncio does. Called by `EventLoop` only, on the loop's thread.
"""

import os
import sys
import weakref
from asyncio import events, unix_events
from asyncio.log import logger
from typing import Any

_stock: Any = unix_events
_Policy: Any = getattr(
    _stock, "_UnixDefaultEventLoopPolicy", None
)  # 3.15 is the last Python that has policies

# What asyncio uses unless it is told otherwise: threads on 3.11, pidfds since.
_Default: Any = (
    vars(_stock).get("_PidfdChildWatcher")
    or vars(_stock)["PidfdChildWatcher" if sys.version_info >= (3, 12) else "ThreadedChildWatcher"]
)


def _has_pidfds() -> bool:
    """Return whether the kernel has pidfds that can be waited for: 5.4 has, unless a container forbids it."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError:
        return False
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return True  # it is not our child: the question was understood
    except OSError:
        pass
    finally:
        os.close(pidfd)
    return False


HAS_PIDFDS = _has_pidfds()


def chosen_by_program(loop: Any) -> bool:
    """Return whether a program has chosen who watches its children."""
    if not HAS_PIDFDS:
        return True
    if hasattr(loop, "_watcher"):  # 3.14 and later
        return type(loop._watcher) is not _Default
    policy = vars(events)["_event_loop_policy"]
    kind: Any = type(policy)
    if not hasattr(policy, "get_child_watcher"):
        return False
    if kind.get_child_watcher is not _Policy.get_child_watcher:
        # Of its own, or missing: then there is none to be used.
        return kind.get_child_watcher is not _stock.events.AbstractEventLoopPolicy.get_child_watcher
    return policy._watcher is not None and type(policy._watcher) is not _Default


class Children:
    """The children whose end a loop is to be told."""

    def __init__(self, loop: Any) -> None:
        """Watch for `loop`, which owns this."""
        # Weak, or a loop that is done with would wait for the collector.
        self._loop: Any = weakref.proxy(loop)
        self._pidfds: set[int] = set()

    def watch(self, transport: Any) -> None:
        """Have the transport of a child told its exit status."""
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # Collected already: by a handler of SIGCHLD, or by the kernel where that signal is ignored.
            self._loop._child_watcher_callback(pid, _status_of_collected(transport), transport)
            return
        self._pidfds.add(pidfd)
        self._loop._add_reader(pidfd, self._ended, pidfd, transport)

    def _ended(self, pidfd: int, transport: Any) -> None:
        self._loop._remove_reader(pidfd)
        # By the pidfd, not by the number, which may be another child's by now.
        try:
            status = _exit_status(os.waitid(os.P_PIDFD, pidfd, os.WEXITED))
        except ChildProcessError:
            status = _status_of_collected(transport)
        finally:
            self._forget(pidfd)
        self._loop._child_watcher_callback(transport.get_pid(), status, transport)

    def _forget(self, pidfd: int) -> None:
        self._pidfds.discard(pidfd)
        os.close(pidfd)

    def close(self, loop: Any) -> None:
        """Stop watching, when the loop is closed: nobody is told of anything any more.

        It is named once more, because the collector has ended all weak references to what it is about to finalize.
        """
        while self._pidfds:
            pidfd = self._pidfds.pop()
            loop._remove_reader(pidfd)
            os.close(pidfd)


def _exit_status(result: Any) -> int:
    """Return the exit status as `subprocess` counts: negative for a signal."""
    status = int(result.si_status)
    return status if result.si_code == os.CLD_EXITED else -status


def _status_of_collected(transport: Any) -> int:
    """Return the status of a child that was waited for elsewhere: by its Popen, which remembers, or by the program."""
    process = transport.get_extra_info("subprocess")
    if process is not None and process.returncode is not None:
        return int(process.returncode)
    logger.warning(
        "child process pid %d exit status already read:  will report returncode 255", transport.get_pid()
    )
    return 255
