"""The command: reads the options, runs the styles one after another, shows and writes the result.

`crawler.py` calls `main`. Ends with 0 if every style fetched the right bytes, 1 if one did not or the site
failed, and 2 for options that make no sense.
"""

import platform
from collections.abc import Sequence
from pathlib import Path

import click

from crawler import chart, hosting
from crawler.measuring import Measurement, measure, running_loop
from crawler.reporting import PlainReport, Report, RichReport
from crawler.styles import STYLES, Style


@click.command(help="Fetch the articles of a small web site in every style of asynchronous programming.")
@click.option(
    "--delay",
    type=click.FloatRange(0, 60),
    default=0.1,
    show_default=True,
    help="Seconds the site takes to answer.",
)
@click.option(
    "--articles", type=click.IntRange(1, 500), default=10, show_default=True, help="How many to fetch."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("crawler.svg"),
    show_default=True,
    help="Where to write the chart.",
)
@click.option(
    "--style",
    "names",
    multiple=True,
    type=click.Choice([style.name for style in STYLES]),
    help="Only this style; can be given more than once.",
)
@click.option("--plain", is_flag=True, help="Lines of text: no colours, no progress bar.")
def main(delay: float, articles: int, output: Path, names: tuple[str, ...], plain: bool) -> None:
    """Run the program; does not return."""
    styles = choose(names)
    report: Report = PlainReport() if plain else RichReport(len(styles))
    loop = running_loop()
    report.say(f"Loop: {loop}, Python {platform.python_version()}")
    for style in STYLES:
        if not style.available:
            report.say(f"Left out: {style.name}, because {style.needs} is not installed")
    measurements = run(styles, delay, articles, report)
    report.table(measurements)
    title = f"{articles} articles, each answered after {delay * 1000:g} ms"
    write(output, chart.svg(measurements, title, f"{loop}, Python {platform.python_version()}"))
    report.say(f"Chart: {output}")
    if any(measurement.wrong for measurement in measurements):
        raise click.ClickException("the styles did not all fetch the same bytes")


def choose(names: tuple[str, ...]) -> list[Style]:
    """The styles to run: those named, or all that can run."""
    for style in STYLES:
        if style.name in names and not style.available:
            raise click.UsageError(f"style {style.name} needs {style.needs}, which is not installed")
    return [style for style in STYLES if (style.name in names if names else style.available)]


def run(styles: Sequence[Style], delay: float, articles: int, report: Report) -> list[Measurement]:
    """Run each style against one and the same site."""
    measurements = []
    try:
        with hosting.running(delay, articles) as host, report:
            for style in styles:
                report.started(style)
                measurements.append(measure(style, host))
                report.finished(measurements[-1])
    except hosting.HostingError as error:
        raise click.ClickException(str(error)) from error
    return measurements


def write(output: Path, document: str) -> None:
    """Write the chart, or say in one line why not."""
    try:
        output.write_text(document, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from error
