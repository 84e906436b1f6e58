"""What the user sees: progress while the styles run, then the table.

`RichReport` draws for a terminal, `PlainReport` prints lines for logs and pipes. Neither draws while a style
runs, but only between styles: the time it takes would be measured as the style's.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from crawler.measuring import Measurement
from crawler.styles import Style

HEADINGS = ("style", "time", "in flight", "processes", "threads", "CPU time", "bytes")
EXPLANATION = (
    "in flight: most requests the site held at once; processes, threads: those that received an article; "
    "CPU time includes child processes"
)


class Report(Protocol):
    """Used as `with report:` around the styles; `table` comes after."""

    def __enter__(self) -> object:
        """The styles are about to run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The styles have run, or one has failed."""

    def started(self, style: Style) -> None:
        """`style` is about to run."""

    def finished(self, measurement: Measurement) -> None:
        """A style has run."""

    def table(self, measurements: Sequence[Measurement]) -> None:
        """All styles have run."""

    def say(self, line: str) -> None:
        """A line of text."""


class RichReport:
    """A progress bar, then a table."""

    def __init__(self, styles: int) -> None:
        """`styles` is how many will run."""
        self.console = Console(highlight=False)
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self.bar = self.progress.add_task("", total=styles)

    def __enter__(self) -> None:
        """Show the bar."""
        self.progress.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away and give the terminal its cursor back."""
        self.progress.stop()

    def started(self, style: Style) -> None:
        """Name the style beside the bar."""
        self.progress.update(self.bar, description=style.label, refresh=True)

    def finished(self, measurement: Measurement) -> None:
        """Move the bar."""
        self.progress.update(self.bar, advance=1, refresh=True)

    def table(self, measurements: Sequence[Measurement]) -> None:
        """Print the table, wrong bytes in red."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in HEADINGS:
            is_text = heading in ("style", "bytes")
            # One word below the other, so that all columns fit the 80 of a terminal.
            heading = heading.replace(" ", "\n")
            table.add_column(
                heading, justify="left" if is_text else "right", no_wrap=not is_text, min_width=5
            )
        for measurement in measurements:
            table.add_row(*cells(measurement), style="bold red" if measurement.wrong else None)
        self.console.print(table)
        self.console.print(EXPLANATION, style="dim")

    def say(self, line: str) -> None:
        """Print `line` as it is, without looking for markup."""
        self.console.print(line, markup=False, soft_wrap=True)


class PlainReport:
    """The table, printed line by line as the styles end: that is the progress."""

    def __enter__(self) -> None:
        """Print the headings."""
        self.say(row(HEADINGS))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""

    def started(self, style: Style) -> None:
        """Nothing: the line comes when the style has run."""

    def finished(self, measurement: Measurement) -> None:
        """Print its line."""
        self.say(row(cells(measurement)))

    def table(self, measurements: Sequence[Measurement]) -> None:
        """The lines are there already."""
        self.say(EXPLANATION)

    def say(self, line: str) -> None:
        """Print `line` at once, also into a pipe."""
        print(line, flush=True)


def cells(measurement: Measurement) -> tuple[str, ...]:
    """One line of the table."""
    return (
        measurement.style.label,
        f"{measurement.seconds:.3f} s",
        str(measurement.in_flight),
        str(measurement.processes),
        str(measurement.threads),
        f"{measurement.cpu_seconds:.3f} s",
        "WRONG: " + " ".join(measurement.wrong) if measurement.wrong else "same",
    )


def row(texts: Sequence[str]) -> str:
    """One line of plain text in columns."""
    label, *numbers, verdict = texts
    return f"{label:<28}" + "".join(f"{number:>11}" for number in numbers) + f"  {verdict}"
