"""Turns outcomes into text and JSON. Pure: it measures nothing and opens no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import LACKS, Outcomes
from benchmarks.loops import OURS, RIVALS
from benchmarks.model import Outcome, Row, Unit

Results = Sequence[tuple[Row, Outcomes]]
Table = list[list[str]]
UNAVAILABLE = ("not installed", "needs Python")
"""How the failure of a loop begins that is not on this Python; the command line says once which those are."""


@dataclass(frozen=True)
class Comparison:
    """A row's loops beside the best of the rivals that were measured."""

    best: str | None
    advantages: dict[str, float]
    """How many times better each loop is than that rival (1 for itself, below 1 if worse)."""


def compare(row: Row, outcomes: Outcomes) -> Comparison:
    """Finds the best rival and sets every loop against it."""
    values = {name: outcome.figures.value for name, outcome in outcomes.items() if outcome.figures}
    rivals = [name for name in RIVALS if name in values]
    if not rivals:
        return Comparison(None, {})
    sign = 1 if row.unit.more_is_better else -1
    best = max(rivals, key=lambda name: sign * values[name])
    return Comparison(best, {name: row.unit.advantage(value, values[best]) for name, value in values.items()})


def text(results: Results) -> str:
    """Everything a terminal shows: the table, the network details, and the failures in full."""
    parts = [render(main_table(results))]
    details = detail_table(results)
    if len(details) > 1:
        parts.append(
            "Servers and clients in detail (busy: share of a core that they used, and the load generator)"
        )
        parts.append(render(details))
    failures = [
        f"{row.name} on {name}: {outcome.failure}"
        for row, outcomes in results
        for name, outcome in outcomes.items()
        if outcome.failure and not outcome.failure.startswith((*UNAVAILABLE, LACKS))
    ]
    lacking = {
        f"{row.name} was not measured; {outcome.failure}": None
        for row, outcomes in results
        for outcome in outcomes.values()
        if outcome.failure and outcome.failure.startswith(LACKS)
    }
    failures.extend(lacking)
    return "\n\n".join([*parts, "\n".join(failures)]).rstrip()


def main_table(results: Results) -> Table:
    """One line a row, one column a loop; last how Tulipa stands to the best rival."""
    names = columns(results)
    table = [["row", "unit", *names, "best rival", f"{OURS} / best"]]
    for row, outcomes in results:
        comparison = compare(row, outcomes)
        ours = comparison.advantages.get(OURS)
        cells = [cell_text(row.unit, outcomes.get(name)) for name in names]
        ratio = f"{ours:.2f}x" if ours else "-"
        table.append([row.title, row.unit.label, *cells, comparison.best or "-", ratio])
    return table


def columns(results: Results) -> list[str]:
    """The loops that can be on this Python, in the order in which they ran."""
    return [
        name
        for name in dict.fromkeys(name for _, outcomes in results for name in outcomes)
        if not any(
            (outcomes[name].failure or "").startswith(UNAVAILABLE)
            for _, outcomes in results
            if name in outcomes
        )
    ]


def detail_table(results: Results) -> Table:
    """Throughput and latencies of the rows that have them."""
    table = [["row", "loop", "msg/s", "p50 us", "p99 us", "busy", "load busy"]]
    for row, outcomes in results:
        for name, outcome in outcomes.items():
            details = outcome.figures.details if outcome.figures else {}
            if "per_second" in details:
                numbers = [amount(details[key]) for key in ("per_second", "p50_us", "p99_us")]
                shares = [f"{details[key]:.0%}" if key in details else "" for key in ("busy", "load_busy")]
                table.append([row.title, name, *numbers, *shares])
    return table


def cell_text(unit: Unit, outcome: Outcome | None) -> str:
    """A figure, or one word for why there is none."""
    if outcome is None:
        return ""
    if outcome.figures:
        return amount(outcome.figures.value)
    failure = outcome.failure or ""
    if failure.startswith("hang"):
        return failure
    if failure.startswith(LACKS):
        return "missing"
    return "-" if failure.startswith(UNAVAILABLE) else "error"


def amount(value: float) -> str:
    """Three or four digits: enough for the differences that matter, and what noise allows."""
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def render(table: Table) -> str:
    """Aligns the columns: text to the left, figures to the right."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def as_json(results: Results, environment: dict[str, Any]) -> dict[str, Any]:
    """The whole run, with every round, for later comparison."""
    rows = []
    for row, outcomes in results:
        comparison = compare(row, outcomes)
        rows.append(
            {
                "name": row.name,
                "title": row.title,
                "unit": row.unit.label,
                "more_is_better": row.unit.more_is_better,
                "best_rival": comparison.best,
                "advantage": comparison.advantages,
                "loops": {name: outcome.as_json() for name, outcome in outcomes.items()},
            }
        )
    return {"environment": environment, "rows": rows}
