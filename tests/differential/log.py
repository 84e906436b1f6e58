"""What a case records, and in which form, so that two processes can be compared.

Whatever legitimately differs from one process to the next is made equal here and nowhere else: memory addresses, times,
ports, file descriptors, the names of the classes of loops (the stock one is a chain of three) and of transports over
sockets and TLS (the stock ones are private), and the module of a class written in Rust. A bare port or descriptor
cannot be told from other numbers, so no case may record one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

Case = TypeVar("Case", bound=Callable[..., object])

_DIFFERENCES = [
    (re.compile(r"\btulipa\._tulipa\."), ""),
    (re.compile(r"0x[0-9a-fA-F]+"), "0xADDRESS"),
    (re.compile(r"\bfd=\d+"), "fd=NUMBER"),
    (re.compile(r"(\('[^']*', )\d+"), r"\1PORT"),
    (re.compile(r"when=[0-9.e+-]+"), "when=TIME"),
    (re.compile(r"took [0-9.]+ seconds"), "took TIME seconds"),
    (re.compile(r"(?<![.\w])(_UnixSelector|BaseSelector|Base)?EventLoop\b"), "Loop"),
    (re.compile(r"\b(_SelectorSocket|_SelectorDatagram|Stream|Datagram)Transport\b"), "Transport"),
    (re.compile(r"\b_Unix(Read|Write)PipeTransport\b"), r"\1PipeTransport"),
    (re.compile(r"\basyncio\.sslproto\."), ""),
    (re.compile(r"(?<!asyncio\.)\b(_SSLProtocol|SSL)Transport\b"), "TLSTransport"),
]


def since(*version: int) -> Callable[[Case], Case]:
    """Mark a case that needs a Python at least this new."""

    def mark(case: Case) -> Case:
        vars(case)["since"] = version
        return case

    return mark


def fits(case: Callable[..., object]) -> bool:
    """Whether the running Python is new enough for a case."""
    oldest: tuple[int, ...] = vars(case).get("since", (3,))
    return sys.version_info >= oldest


class Log:
    """Writes events to a file as they happen: what a crashed process had recorded is not lost."""

    def __init__(self, path: Path, channel: str = "main") -> None:
        self._path = path
        self._channel = channel

    def channel(self, name: str) -> Log:
        """A log whose events are ordered among themselves only, as those of two connections are."""
        return Log(self._path, name)

    def __call__(self, *values: object) -> None:
        """Record an event."""
        line = json.dumps([self._channel, *map(plain, values)])
        with self._path.open("a", encoding="utf-8") as out:
            out.write(line + "\n")

    def attempt(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something, record what it returned or raised, return the result (None if it raised)."""
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self(label, "raised", error)
            return None
        self(label, "returned", result)
        return result

    async def attempt_await(self, label: str, awaitable: Awaitable[Any]) -> Any:
        """Await something, record what came of it, return the result (None if it raised)."""
        try:
            result = await awaitable
        except BaseException as error:
            self(label, "raised", error)
            return None
        self(label, "returned", result)
        return result

    def context(self, context: dict[str, Any]) -> None:
        """Record what an exception handler was given."""
        self("exception handler", {key: context[key] for key in sorted(context) if key != "source_traceback"})

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let this log be the loop's exception handler."""
        loop.set_exception_handler(lambda _, context: self.context(context))


def plain(value: object) -> Any:
    """A value as JSON that is equal in both processes when asyncio and Tulipa behave alike."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _equalise(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return plain(repr(bytes(value)))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, BaseException):
        return describe(value)
    return _equalise(repr(value))


def describe(error: BaseException) -> dict[str, Any]:
    """An exception: type, text, errno, the cause it names. (What it happened in depends on how the loop is written.)"""
    kind = type(error)
    description = {"type": f"{kind.__module__}.{kind.__qualname__}", "text": _equalise(str(error))}
    if isinstance(error, OSError):
        description["errno"] = str(error.errno)
    if isinstance(error, BaseExceptionGroup):
        description["parts"] = [describe(part) for part in error.exceptions]  # type: ignore[assignment]
    if error.__cause__ is not None:
        description["cause"] = type(error.__cause__).__qualname__
    return description


def _equalise(text: str) -> str:
    for pattern, replacement in _DIFFERENCES:
        text = pattern.sub(replacement, text)
    return text
