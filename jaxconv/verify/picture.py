"""Where an error sits, as inline SVG: cells shaded by their distance, in units of the error model."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from jaxconv.rounding import C
from jaxconv.verify.heat import COLUMNS, Heat

LEVELS = 4  # shades of what is right; one more, striped, for what is wrong, so that grey tells them apart too
CELL = 10  # of the drawing's own units

PATTERN = """<svg width="0" height="0" aria-hidden="true"><defs>
<pattern id="over" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect class="over-ground" width="5" height="5"/><path class="over-stripe" d="M0 0V5" stroke-width="2"/>
</pattern></defs></svg>"""


def level(units: float) -> int:
    """0 … LEVELS − 1 for the quarters of what is right, LEVELS for what is wrong, infinity and no number among it.

    >>> [level(units) for units in (0.0, 0.8, C, 3.001, float("inf"), float("nan"))]
    [0, 1, 3, 4, 4, 4]
    """
    return min(int(units / C * LEVELS), LEVELS - 1) if units <= C else LEVELS


def heat_map(heat: Heat) -> str:
    """The cells of a picture, the largest one framed."""
    rows, columns = heat.cells.shape
    parts = []
    for row, cells in enumerate(heat.cells):
        column = 0
        for shade, run in groupby(map(level, cells)):
            width = len(list(run))
            parts.append(_rect(f"level-{shade}", column, row, width))
            column += width
    top, left = divmod(int(heat.cells.argmax()), columns)
    parts.append(_rect("mark", left, top, 1))
    label = escape(f"{heat.output}: {rows} by {columns} cells, the largest in row {top + 1}, column {left + 1}")
    # A cell of a narrow picture is no wider than one of a picture of half the columns that there may be.
    widest = f"{100 * min(1, 2 * columns / COLUMNS):.4g}%"
    return (
        f'<svg class="heat" role="img" aria-label="{label}" width="{widest}" style="width: {widest}" '
        f'viewBox="0 0 {columns * CELL} {rows * CELL}" shape-rendering="crispEdges">{"".join(parts)}</svg>'
    )


def _rect(name: str, column: int, row: int, width: int) -> str:
    return f'<rect class="{name}" x="{column * CELL}" y="{row * CELL}" width="{width * CELL}" height="{CELL}"/>'


def legend() -> str:
    """The shades and what they stand for."""
    texts = [f"≤ {C * (shade + 1) / LEVELS:g}" for shade in range(LEVELS)] + [f"over {C:g}: wrong"]
    parts = []
    for shade, text in enumerate(texts):
        left = shade * 64
        parts.append(f'<rect class="level-{shade}" x="{left}" y="1" width="14" height="14"/>')
        parts.append(f'<text x="{left + 18}" y="12">{text}</text>')
    return f'<svg role="img" aria-label="legend" width="350" viewBox="0 0 350 16">{"".join(parts)}</svg>'


def bar(units: float) -> str:
    """A bar as long as the distance, full at what is just right; a wrong one is full and striped."""
    share = min(units / C, 1.0) if math.isfinite(units) else 1.0
    shade = LEVELS if level(units) == LEVELS else LEVELS - 1
    return (
        '<svg class="bar" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">'
        f'<rect class="level-{shade}" width="{100 * share:.4g}" height="8"/></svg>'
    )
