"""What a row is and what measuring it gives. Data only: no asyncio, no processes."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple


class Unit(Enum):
    """What a row's figure counts, and which way is better."""

    NANOSECONDS = ("ns/op", False)
    MESSAGES = ("msg/CPU-s", True)
    OPERATIONS = ("op/CPU-s", True)
    BYTES = ("B/conn", False)
    BYTES_PER_TASK = ("B/task", False)

    def __init__(self, label: str, more_is_better: bool) -> None:
        self.label = label
        self.more_is_better = more_is_better

    def advantage(self, ours: float, theirs: float) -> float:
        """How many times better `ours` is than `theirs`."""
        return ours / theirs if self.more_is_better else theirs / ours


@dataclass(frozen=True)
class Row:
    """A benchmark. The kinds below say how it is run."""

    name: str
    title: str
    program: bool = field(default=False, kw_only=True)
    """Whether it is an unmodified program: Tulipa runs it as `tulipa run` does, with every name of asyncio swapped."""
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    """The modules it needs that may not be installed."""

    @property
    def unit(self) -> Unit:
        """What its figure counts."""
        raise NotImplementedError


@dataclass(frozen=True)
class Micro(Row):
    """Operations inside one process, timed by the process itself."""

    body: Callable[[int], Awaitable[None]]
    """Does that many operations (rounded down to a multiple of `batch`) on the running loop."""
    batch: int = 1

    @property
    def unit(self) -> Unit:
        return Unit.NANOSECONDS


@dataclass(frozen=True)
class Waiting(Row):
    """The memory that a task takes while it waits, with all that it waits by; measured by the process itself."""

    body: Callable[[int], Awaitable[object]]
    """Makes so many tasks that will wait, and gives what keeps them."""
    tasks: int

    @property
    def unit(self) -> Unit:
        return Unit.BYTES_PER_TASK


class Serving(NamedTuple):
    """A server that listens on 127.0.0.1, or on a Unix socket, whose path stands for the port."""

    port: int | str
    owner: object
    """Whatever must stay alive for it to go on."""


Serve = Callable[[], Awaitable[Serving]]
"""Starts a server on a free port; the loop then runs on."""


@dataclass(frozen=True)
class Served(Row):
    """A server in its own process under the compiled load."""

    serve: Serve
    load: tuple[str, ...]
    """The load command and its arguments, without the address and the duration."""
    floor: bool = False
    """Whether the raw epoll echo server can serve the same load."""

    @property
    def unit(self) -> Unit:
        return Unit.MESSAGES


@dataclass(frozen=True)
class Held(Row):
    """The memory a server takes for each connection that does nothing."""

    serve: Serve
    connections: int
    load: tuple[str, ...] = ()
    """More arguments of the load command."""

    @property
    def unit(self) -> Unit:
        return Unit.BYTES


@dataclass(frozen=True)
class Server:
    """A server of its own that a client talks to; `servers` starts it."""

    program: str
    """What it is called, wherever it is installed."""
    command: Callable[[str, Path, int], list[str]]
    """Its command line: of the program's path, a folder for its data, and the port on 127.0.0.1."""
    ready: str
    """What it says when it listens."""
    user: str | None = None
    """Who it runs as when root starts it, if it refuses to be root."""
    preparation: Callable[[str, Path], list[str]] | None = None
    """The command that prepares the folder: of the program's path, and the folder."""


Operation = Callable[[], Awaitable[None]]
"""Asks the server for one thing and checks the answer."""


Connect = Callable[[int, int], AbstractAsyncContextManager[Sequence[Operation]]]
"""Connects to a port so many times, and gives an operation for each task that is to run at once."""


@dataclass(frozen=True)
class Client(Row):
    """A client's library in the cell's process, which measures itself, against a server in its own."""

    server: Server
    connect: Connect
    tasks: int

    @property
    def unit(self) -> Unit:
        return Unit.OPERATIONS


@dataclass
class Figures:
    """One measured cell, or the median of several."""

    value: float
    """In the row's unit."""
    details: dict[str, float] = field(default_factory=dict)
    """What else was measured: throughput, latencies, CPU use."""


@dataclass
class Outcome:
    """All rounds of one loop in one row."""

    figures: Figures | None = None
    """The medians, if there is any."""
    rounds: list[float] = field(default_factory=list)
    """The value of each round, to see how steady it was."""
    failure: str | None = None
    """Why there are no figures: 'hang', 'not installed', or an error. What failed once is not run again."""

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


class Failed(Exception):
    """A cell that gave no figures; the text is what the table shows."""
