"""The list of all rows, in the order of the table."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from benchmarks import (
    clients,
    echo,
    many,
    pipes,
    scheduling,
    sockets,
    streams,
    structured,
    system,
    tasks,
    tls,
    toolbox,
    web,
)
from benchmarks.model import Row

FAMILIES = (
    scheduling,
    tasks,
    toolbox,
    structured,
    system,
    echo,
    streams,
    pipes,
    sockets,
    many,
    tls,
    web,
    clients,
)
ROWS: dict[str, Row] = {row.name: row for family in FAMILIES for row in family.ROWS}


def select(patterns: Sequence[str]) -> list[Row]:
    """The rows whose names match any of the shell patterns; a pattern that matches none is an error."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ROWS):
            raise ValueError(f"no row matches {pattern!r}; rows: {', '.join(ROWS)}")
    return [row for row in ROWS.values() if any(fnmatchcase(row.name, pattern) for pattern in patterns)]
