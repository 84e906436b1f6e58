"""The process that runs one case on one implementation; started by `harness`, which names both and the log's file.

Besides what the case records, it records what asyncio says on the side: log records, warnings, exceptions that could
not be raised, and the exception with which the case ended.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import importlib
import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from ..stdlib.implementations import load
from ..stdlib.replace import replace_toolbox
from .log import Log

PATIENCE = 25.0
"""Seconds after which a case that hangs writes its stacks to stderr and ends."""


_USUAL_LIMIT = 0.1
"""Seconds."""


class _Records(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if _tells_of_a_busy_machine(record):
            return
        # Only the first line: tracebacks, and the repr of a debug run's handles, show files of the implementation.
        message = record.getMessage().partition("\n")[0]
        error = record.exc_info[1] if record.exc_info else None
        self._log("log", record.levelname, message, error)


def _tells_of_a_busy_machine(record: logging.LogRecord) -> bool:
    """Whether debug mode found something slow which the case did not make slow: such cases set the limit first."""
    if not str(record.msg).startswith("Executing %s took"):
        return False
    return asyncio.get_running_loop().slow_callback_duration == _USUAL_LIMIT


def listen(log: Log) -> None:
    """Record what would otherwise be printed."""
    logger = logging.getLogger("asyncio")
    logger.addHandler(_Records(log.channel("logging")))
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    aside = log.channel("aside")

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        # The rest of it is where a coroutine was created: frames of the implementation.
        aside("warning", category.__name__, str(message).partition("\n")[0])

    warnings.simplefilter("always")
    warnings.showwarning = show_warning
    sys.unraisablehook = lambda args: aside("unraisable", args.exc_value)


def main() -> None:
    """Run the case that the command line names: implementation, module, function, log file."""
    implementation, module, function, path = sys.argv[1:]
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = Log(Path(path))
    if implementation == "tulipa":
        import tulipa

        tulipa.install()
        replace_toolbox(load("tulipa"))
    case = getattr(importlib.import_module(module), function)
    listen(log)
    try:
        case(log)
    except BaseException as error:
        log("case raised", error)
    gc.collect()
    log("end")
    faulthandler.cancel_dump_traceback_later()
