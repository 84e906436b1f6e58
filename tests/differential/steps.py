"""What the interpreters of random steps share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Step = tuple[Any, ...]
Event = tuple[Any, ...]


@dataclass
class Make:
    """The loop's class, and where the others come from: `asyncio`, or something with the same names."""

    loop: Callable[[], asyncio.AbstractEventLoop]
    names: Any
    debug: bool = False


def answer(steps: type, run: Any, step: Step, plain: Callable[[Exception], Any]) -> Any:
    """Do one step, by the function of its name, and return what that returned; in plain form what it raised."""
    kind, *arguments = step
    try:
        return getattr(steps, kind)(run, *arguments)
    except Exception as error:
        return plain(error)


def cancel(tasks: list[asyncio.Task[Any]], index: int) -> bool | None:
    """Cancel one of the tasks, if there is any."""
    return tasks[index % len(tasks)].cancel("enough") if tasks else None


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
