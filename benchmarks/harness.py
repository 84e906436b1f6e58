"""Runs rows: every loop in turn, round after round, so that what disturbs one disturbs all."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks.loops import INSTALLED, LOOPS
from benchmarks.measure import FLOOR, Settings, measure
from benchmarks.model import Failed, Figures, Outcome, Row, Served

Outcomes = dict[str, Outcome]
"""By the name of the loop."""
Progress = Callable[[str], None]


def run(
    rows: Sequence[Row], loops: Sequence[str], rounds: int, settings: Settings, progress: Progress
) -> Iterator[tuple[Row, Outcomes]]:
    """Yields each row when all its rounds are done."""
    for row in rows:
        measured: dict[str, list[Figures]] = {name: [] for name in loops if belongs(name, row)}
        failures = {name: reason for name in measured if (reason := missing(name))}
        for number in range(1, rounds + 1):
            for name, figures in measured.items():
                if name in failures:
                    continue
                progress(f"{row.title}: {name}, round {number} of {rounds}")
                try:
                    figures.append(measure(row, name, settings))
                except Failed as failure:
                    failures[name] = str(failure)
        yield row, {name: summary(figures, failures.get(name)) for name, figures in measured.items()}


def belongs(name: str, row: Row) -> bool:
    """Whether a row has a cell of that name: the floor only echoes, the installed variant is for web rows."""
    if name == FLOOR:
        return isinstance(row, Served) and row.floor
    if name == INSTALLED:
        return isinstance(row, Served) and row.web
    return True


def missing(name: str) -> str | None:
    """Why there is no such loop here, if so."""
    return None if name == FLOOR else LOOPS[name].missing()


def summary(rounds: Sequence[Figures], failure: str | None) -> Outcome:
    """The medians of all rounds; a loop that failed in any of them has none."""
    values = [figures.value for figures in rounds]
    if failure or not rounds:
        return Outcome(None, values, failure)
    details = {
        key: statistics.median(figures.details[key] for figures in rounds) for key in rounds[0].details
    }
    return Outcome(Figures(statistics.median(values), details), values)
