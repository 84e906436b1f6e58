"""The bar chart, written as SVG by hand: a bar of time and a thin one of CPU time for each style.

It takes measurements and returns text; it reads and writes no file. Widths are in SVG units, which browsers
show as pixels.
"""

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from crawler.measuring import Measurement

WIDTH = 860
LEFT = 220
"""Where the bars begin; the labels are to the left of it."""
RIGHT = 130
"""Room for the figures behind the longest bar."""
TOP = 96
ROW = 40
BOTTOM = 56
TIME_HEIGHT = 18
CPU_HEIGHT = 6

TIME_COLOUR = "#c2255c"
CPU_COLOUR = "#5c7cfa"
WRONG_COLOUR = "#868e96"

STYLESHEET = """
text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 13px; fill: #212529 }
.title { font-size: 19px; font-weight: 600 }
.quiet { fill: #5c636a; font-size: 12px }
.grid { stroke: #dee2e6 }
.axis { stroke: #868e96 }
"""


def svg(measurements: Sequence[Measurement], title: str, subtitle: str) -> str:
    """The whole chart as one SVG document."""
    step, ticks = axis(max((max(m.seconds, m.cpu_seconds) for m in measurements), default=0.0))
    scale = (WIDTH - LEFT - RIGHT) / (step * ticks)
    height = TOP + ROW * len(measurements) + BOTTOM
    size = f'width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLESHEET}</style>",
        f'<rect {size} fill="#ffffff"/>',
        text(24, 34, title, "title"),
        text(24, 56, subtitle, "quiet"),
        *legend(),
        *grid(step, ticks, scale, height - BOTTOM),
    ]
    for i, measurement in enumerate(measurements):
        lines += bars(measurement, TOP + ROW * i, scale)
    lines += [
        f'<line class="axis" x1="{LEFT}" y1="{TOP - 4}" x2="{LEFT}" y2="{height - BOTTOM}"/>',
        text(LEFT + (WIDTH - LEFT - RIGHT) / 2, height - 16, "seconds", "quiet", "middle"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def axis(longest: float) -> tuple[float, int]:
    """A round distance between the lines of the grid, and how many of them cover `longest`: about five."""
    rough = max(longest, 1e-6) / 5
    magnitude: float = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    return step, max(1, math.ceil(longest / step - 1e-9))


def legend() -> Iterator[str]:
    """What the two colours mean."""
    yield f'<rect x="{LEFT}" y="70" width="14" height="10" fill="{TIME_COLOUR}"/>'
    yield text(LEFT + 20, 79, "time", "quiet")
    yield f'<rect x="{LEFT + 70}" y="72" width="14" height="6" fill="{CPU_COLOUR}"/>'
    yield text(LEFT + 90, 79, "CPU time, with child processes", "quiet")


def grid(step: float, ticks: int, scale: float, bottom: float) -> Iterator[str]:
    """Lines to read the bars by."""
    for i in range(ticks + 1):
        x = LEFT + i * step * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom}"/>'
        yield text(x, bottom + 18, f"{i * step:g}", "quiet", "middle")


def bars(measurement: Measurement, y: float, scale: float) -> Iterator[str]:
    """Label, bars and figure of one style."""
    time_width, cpu_width = measurement.seconds * scale, measurement.cpu_seconds * scale
    colour = WRONG_COLOUR if measurement.wrong else TIME_COLOUR
    figure = "wrong bytes" if measurement.wrong else f"{measurement.seconds:.3f} s"
    middle = y + 2 + TIME_HEIGHT - 4
    yield text(LEFT - 12, middle, measurement.style.label, "label", "end")
    yield rectangle("time", y + 2, time_width, TIME_HEIGHT, colour)
    yield rectangle("cpu", y + 2 + TIME_HEIGHT, cpu_width, CPU_HEIGHT, CPU_COLOUR)
    yield text(LEFT + max(time_width, cpu_width) + 8, middle, figure, "figure")


def rectangle(kind: str, y: float, width: float, height: float, colour: str) -> str:
    """A bar; never so short that it cannot be seen."""
    size = f'width="{max(width, 1):.1f}" height="{height}"'
    return f'<rect class="{kind}" x="{LEFT}" y="{y:g}" {size} fill="{colour}"/>'


def text(x: float, y: float, content: str, kind: str, anchor: str = "start") -> str:
    """A piece of text; `anchor` says which end of it is at `x`."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:g}" text-anchor="{anchor}">{escape(content)}</text>'
