"""Runs rows: every loop in turn, round after round, so that what disturbs one disturbs all."""

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks import servers
from benchmarks.loops import LOOP_ONLY, LOOPS
from benchmarks.measure import FLOOR, Settings, measure, opposite
from benchmarks.model import Client, Failed, Figures, Outcome, Row, Served

Outcomes = dict[str, Outcome]
"""By the name of the loop."""
LACKS = "not here:"
"""How the failure begins of a row whose packages or whose server are not installed."""
Progress = Callable[[str], None]


def run(
    rows: Sequence[Row], loops: Sequence[str], rounds: int, settings: Settings, progress: Progress
) -> Iterator[tuple[Row, Outcomes]]:
    """Yields each row when all its rounds are done."""
    for row in rows:
        names = [name for name in loops if belongs(name, row)]
        try:
            if reason := lacking(row, settings):
                raise Failed(reason)
            with opposite(row, settings) as port:
                outcomes = take(row, names, rounds, settings, port, progress)
        except Failed as failure:
            outcomes = {name: Outcome(None, [], missing(name) or str(failure)) for name in names}
        yield row, outcomes


def take(
    row: Row, names: Sequence[str], rounds: int, settings: Settings, port: int | None, progress: Progress
) -> Outcomes:
    """All rounds of one row."""
    measured: dict[str, list[Figures]] = {name: [] for name in names}
    failures = {name: reason for name in names if (reason := missing(name))}
    for number in range(1, rounds + 1):
        for name, figures in measured.items():
            if name in failures:
                continue
            progress(f"{row.title}: {name}, round {number} of {rounds}")
            try:
                figures.append(measure(row, name, settings, port))
            except Failed as failure:
                failures[name] = str(failure)
    return {name: summary(figures, failures.get(name)) for name, figures in measured.items()}


def belongs(name: str, row: Row) -> bool:
    """Whether a row has a cell of that name: the floor only echoes, the loop-only variant is for programs."""
    if name == FLOOR:
        return isinstance(row, Served) and row.floor
    if name == LOOP_ONLY:
        return row.program
    return True


def missing(name: str) -> str | None:
    """Why there is no such loop here, if so."""
    return None if name == FLOOR else LOOPS[name].missing()


def lacking(row: Row, settings: Settings) -> str | None:
    """Why a row cannot be measured at all here, if so: packages or a server that are not installed."""
    names = [name for name in row.packages if importlib.util.find_spec(name) is None]
    if isinstance(row, Client) and servers.path(row.server, settings.load) is None:
        names.append(row.server.program)
    return f"{LACKS} {', '.join(names)}" if names else None


def summary(rounds: Sequence[Figures], failure: str | None) -> Outcome:
    """The medians of all rounds; a loop that failed in any of them has none."""
    values = [figures.value for figures in rounds]
    if failure or not rounds:
        return Outcome(None, values, failure)
    details = {
        key: statistics.median(figures.details[key] for figures in rounds) for key in rounds[0].details
    }
    return Outcome(Figures(statistics.median(values), details), values)
