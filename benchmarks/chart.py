"""Draws a run as an SVG: for each row one bar a loop, as long as the loop is good beside the best rival.

Pure text, no drawing library. Bars grow with merit in every row, whatever its unit, so the eye need not know
which figures should be small. Called by `__main__`.
"""

from html import escape

from benchmarks.model import Outcome, Row
from benchmarks.report import Results, amount, compare

COLOURS = {
    "asyncio": "#9aa5b1",
    "uvloop": "#5b8fb9",
    "rloop": "#c9a24b",
    "rsloop": "#b9745b",
    "zuvloop": "#7d6bb0",
    "tulipa": "#d6336c",
    "tulipa-loop-only": "#f08caa",
    "floor": "#3b4252",
}
LABEL, BAR_SPACE, WIDTH = 250, 640, 1000
"""Pixels: the row's name, the longest bar, everything."""
BAR, GAP, HEAD = 13, 14, 80
"""Pixels: one bar, the space between rows, the space above them."""


def svg(results: Results, conditions: str) -> str:
    """The picture; the conditions say what the figures hold for."""
    drawn = [(row, outcomes, compare(row, outcomes).advantages) for row, outcomes in results]
    longest = max((advantage for *_, advantages in drawn for advantage in advantages.values()), default=1.0)
    scale = BAR_SPACE / max(longest, 1.0)
    height = HEAD
    parts: list[str] = []
    for row, outcomes, advantages in drawn:
        parts.append(label(row, height))
        for name, outcome in outcomes.items():
            if name in advantages:
                parts.append(bar(name, outcome, advantages[name], scale, height))
                height += BAR
        height += GAP
    best = LABEL + scale
    ends = f'x1="{best:.1f}" y1="{HEAD - 6}" x2="{best:.1f}" y2="{height - GAP}"'
    line = f'<line {ends} stroke="#888" stroke-dasharray="3 3"/>'
    present = [name for name in COLOURS if any(name in advantages for *_, advantages in drawn)]
    return "\n".join([*frame(conditions, height + 6), *legend(present), line, *parts, "</svg>", ""])


def frame(conditions: str, height: int) -> list[str]:
    """The canvas and its heading."""
    size = f'width="{WIDTH}" height="{height}"'
    style = 'font-family="system-ui, sans-serif" font-size="11" fill="#222"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}" {style}>',
        f'<rect {size} fill="#fff"/>',
        '<text x="12" y="22" font-size="15" font-weight="600">Event loops, beside the best rival</text>',
        f'<text x="{WIDTH - 12}" y="22" text-anchor="end">longer is better; dashed: the best rival</text>',
        f'<text x="12" y="39" fill="#666">{escape(conditions)}</text>',
    ]


def legend(names: list[str]) -> list[str]:
    """One swatch a loop."""
    parts = []
    for number, name in enumerate(names):
        x = 12 + number * 112
        parts.append(f'<rect x="{x}" y="50" width="10" height="10" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 15}" y="59">{escape(name)}</text>')
    return parts


def label(row: Row, y: int) -> str:
    """The row's name and unit."""
    return (
        f'<text x="{LABEL - 8}" y="{y + 10}" text-anchor="end">{escape(row.title)}</text>'
        f'<text x="{LABEL - 8}" y="{y + 23}" text-anchor="end" fill="#888">{escape(row.unit.label)}</text>'
    )


def bar(name: str, outcome: Outcome, advantage: float, scale: float, y: int) -> str:
    """One bar with its figure."""
    length = max(1.0, advantage * scale)
    value = amount(outcome.figures.value) if outcome.figures else ""
    return (
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>'
        f'<text x="{LABEL + length + 5:.1f}" y="{y + 10}">{value} '
        f'<tspan fill="#888">{advantage:.2f}x</tspan></text>'
    )
