"""The process that runs one module of CPython's suite and tells its parent about every test as it goes.

Started by `runner`; speaks one JSON array per line on an inherited pipe: `["tests", [ids]]`, `["start", id]`,
`["end", id, status, seconds, message]`, `["loops", made so far]`, `["done"]`. It decides nothing: what a status means
is the parent's business, as is killing this process when a test hangs.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import importlib
import json
import os
import signal
import time
import traceback
import unittest
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TextIO

from . import inject, replace
from .catalogue import PACKAGE
from .implementations import load

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>: the signal this process gets when its parent ends."""

MESSAGE_LIMIT = 2000
"""Characters of a traceback that are kept: its end, where the assertion is."""


class Reporter(unittest.TestResult):
    """Sends each test's fate; of several errors in one test (subtests, clean-ups) the first counts."""

    def __init__(self, out: TextIO, package: str) -> None:
        super().__init__()
        self._out = out
        self._package = package
        self._status: str | None = None
        self._message = ""
        self._started = 0.0

    def send(self, *message: Any) -> None:
        """One line to the parent, at once: this process may be gone with the next instruction."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def name(self, test: unittest.TestCase) -> str:
        """What the parent calls this test."""
        return short_id(test, self._package)

    def skip_module(self, module: str, reason: str) -> None:
        """Report a module that refused to be imported, as those for another system do."""
        self.send("tests", [module])
        self.send("start", module)
        self.send("end", module, "skip", 0.0, reason)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._status, self._message, self._started = "pass", "", time.monotonic()
        self.send("start", self.name(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if self._status is not None:  # None: 3.12.1 calls stopTest without startTest for a skipped class
            self.send("end", self.name(test), self._status, time.monotonic() - self._started, self._message)
            self.send("loops", replace.LoopReplacement.made)
        self._status = None

    def _settle(self, test: unittest.TestCase, status: str, message: str) -> None:
        if (
            self._status is None
        ):  # a class or module fixture, or a class skipped as a whole: no start, no stop
            self.send("start", self.name(test))
            self.send("end", self.name(test), status, 0.0, message)
        elif self._status in ("pass", "skip"):
            self._status, self._message = status, message

    def addError(self, test: unittest.TestCase, err: ExcInfo) -> None:
        super().addError(test, err)
        self._settle(test, "error", _text(err))

    def addFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        super().addFailure(test, err)
        self._settle(test, "fail", _text(err))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ExcInfo | None) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None and err[0] is not None:
            self._settle(test, "fail" if issubclass(err[0], test.failureException) else "error", _text(err))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._settle(test, "skip", reason)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._settle(test, "fail", "unexpected success")


def _text(err: ExcInfo) -> str:
    return "".join(traceback.format_exception(*err))[-MESSAGE_LIMIT:]


def short_id(test: unittest.TestCase, package: str = PACKAGE) -> str:
    """`test_x.Class.test_y`; fixtures, which unittest calls `setUpClass (path)`, as `path.setUpClass`."""
    name = test.id()
    if name.endswith(")"):
        what, _, where = name[:-1].partition(" (")
        name = f"{where}.{what}"
    return name.removeprefix(package + ".")


def flatten(suite: unittest.TestSuite | unittest.TestCase) -> Iterator[unittest.TestCase]:
    """The tests of a suite of suites, in order."""
    if isinstance(suite, unittest.TestCase):
        yield suite
    else:
        for part in suite:
            yield from flatten(part)


Collect = Callable[[str, str, str], list[unittest.TestCase]]
"""Makes the implementation and the mode hold in this process and gathers the tests of a module."""


def collect(implementation_name: str, mode: str, module_name: str) -> list[unittest.TestCase]:
    """Put the implementation in place, import the module and gather its tests."""
    implementation = load(implementation_name)
    if mode in ("global", "toolbox"):
        implementation.install()
    if mode == "toolbox":
        replace.replace_toolbox(implementation)
    replace.replace_loop(implementation)
    module = importlib.import_module(f"{PACKAGE}.{module_name}")
    replace.adapt_module(module, implementation)
    if mode == "inject":
        inject.inject(module, implementation)
    return list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))


def prepare_process() -> None:
    """Undo what a test runner's surroundings may have left, and ask for all of the suite's resources."""
    # A test that hangs must not outlive a runner that was killed: nobody would end it any more.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Shells start background jobs with SIGINT ignored; the tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    from test import support

    support.use_resources = None


def main(collect: Collect = collect, package: str = PACKAGE) -> None:
    """Run the tests that are wanted and not yet done, reporting each."""
    parser = argparse.ArgumentParser()
    for option in ("--implementation", "--mode", "--module", "--keyword"):
        parser.add_argument(option, default="")
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument(
        "--done", type=argparse.FileType(), help="a file with the ids not to run again, one per line"
    )
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    os.set_inheritable(options.report_fd, False)
    done = set(options.done.read().split("\n")) if options.done else set()

    prepare_process()
    with open(options.report_fd, "w", encoding="utf-8") as out:
        reporter = Reporter(out, package)
        try:
            tests = collect(options.implementation, options.mode, options.module)
        except unittest.SkipTest as reason:
            reporter.skip_module(options.module, str(reason))
            tests = []
        wanted = {name: test for test in tests if options.keyword in (name := reporter.name(test))}
        if wanted:
            reporter.send("tests", list(wanted))
        if not options.list:
            # The tests that expect a warning catch it themselves; the rest warn about the mocks they use.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                unittest.TestSuite([test for name, test in wanted.items() if name not in done]).run(reporter)
        reporter.send("done")
