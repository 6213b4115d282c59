"""Where an error sits, as inline SVG: cells shaded by their distance, in units of the error model."""

from __future__ import annotations

import math
from html import escape
from itertools import groupby

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat

# Right distances differ by their order of magnitude, so each shade ends at twice the one before. What is wrong is
# striped, which grey shows too.
BOUNDS = (C / 32, C / 16, C / 8, C / 4, C / 2, C, 100 * C)
RIGHT = BOUNDS.index(C)
CELL = 10  # of the drawing's own units
WIDEST = 12  # pixels of a cell, at most: the largest picture leaves room for the table beside it

PATTERNS = """<svg width="0" height="0" aria-hidden="true"><defs>
<pattern id="over" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect class="over-ground" width="6" height="6"/><path class="over-stripe" d="M0 0V6" stroke-width="5"/></pattern>
<pattern id="far-over" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect class="over-ground" width="6" height="6"/><path class="over-stripe" d="M0 0V6" stroke-width="1.5"/></pattern>
</defs></svg>"""


def level(units: float) -> int:
    """The shade of a distance: of BOUNDS the first that it does not exceed; past the last one infinity and no number.

    >>> [level(units) for units in (0.0, 0.7, C, 3.001, 301.0, float("inf"), float("nan"))]
    [0, 3, 5, 6, 7, 7, 7]
    """
    return next((shade for shade, bound in enumerate(BOUNDS) if units <= bound), len(BOUNDS))


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
    parts += [_rect(name, left, top, 1) for name in ("mark-ground", "mark")]
    label = escape(f"{heat.output}: {rows} by {columns} cells, the largest in row {top + 1}, column {left + 1}")
    return (
        f'<svg class="heat" role="img" aria-label="{label}" style="width: {columns * WIDEST}px" '
        f'viewBox="0 0 {columns * CELL} {rows * CELL}" shape-rendering="crispEdges">{"".join(parts)}</svg>'
    )


def _rect(name: str, column: int, row: int, width: int) -> str:
    return f'<rect class="{name}" x="{column * CELL}" y="{row * CELL}" width="{width * CELL}" height="{CELL}"/>'


def legend() -> str:
    """The shades and what they stand for."""
    texts = [f"≤ {bound:.2g}" for bound in BOUNDS[: RIGHT + 1]] + [f"over {C:g}: wrong", f"over {100 * C:g}"]
    swatches = (
        '<li><svg aria-hidden="true" width="14" height="14">'
        f'<rect class="level-{shade}" width="14" height="14"/></svg>{text}</li>'
        for shade, text in enumerate(texts)
    )
    return f'<ul class="legend">{"".join(swatches)}</ul>'


def bar(units: float) -> str:
    """A bar as long as the distance, full at what is just right; a wrong one is full and striped."""
    share = min(units / C, 1.0) if math.isfinite(units) else 1.0
    shade = max(level(units), RIGHT - 1)
    return (
        '<svg class="bar" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">'
        f'<rect class="level-{shade}" width="{100 * share:.4g}" height="8"/></svg>'
    )
