"""What the recurrence's tab is told: the diagram of the cell as SVG, and weights and inputs that it computes with.

The weights are drawn once, from a fixed seed; the page scales W_h and shifts the gate. So Python can compute the same.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

import numpy as np

from jaxconv.terminal.diagram import NAMES, NODES, WIRES, Point

FEATURES, STATES, STEPS = 4, 16, 60  # n, m, T
SCALE = 44  # of the drawing's units per unit of the diagram
DIGITS = 4  # after the point: both sides compute with the rounded numbers
ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
)
_SIGNS = {r"\sigma": "σ", r"\odot": "⊙", "-": "−"}


def weights() -> dict[str, Any]:
    """w_c, w_x (m, n), w_h (m, m) and x (T, n) as lists; rows of W_h have a mean square sum of 1."""
    rng = np.random.default_rng(0)
    n, m = FEATURES, STATES
    drawn = {
        "w_c": rng.normal(size=(m, n)) / np.sqrt(n),
        "w_h": rng.normal(size=(m, m)) / np.sqrt(m),
        "w_x": rng.normal(size=(m, n)) / np.sqrt(n),
        "x": 2 * rng.normal(size=(STEPS, n)),
    }
    return {name: np.round(values, DIGITS).tolist() for name, values in drawn.items()}


def diagram() -> str:
    """The cell, as in `jaxconv.plot.cell`; parts have names, so that the page can make what is kept stronger."""
    parts = []
    for source, target, points in WIRES:
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in map(_place, points))
        parts.append(f'<path class="wire {source}-{target}" d="{path}"/>')
    for at in ((1.6, 5.2), (1.6, 0.9), (6.6, 3.2)):
        x, y = _place(at)
        parts.append(f'<circle class="fork" cx="{x:g}" cy="{y:g}" r="4"/>')
    parts += [_node(name, at, text) for name, (at, text) in NODES.items()]
    for at, text, side in NAMES:
        parts.append(_text(*_place(at), text, anchor={"right": "end", "left": "start", "center": "middle"}[side]))
    words = "the gated cell: the gate c keeps a part of the state and writes the rest anew"
    left, top = _place((-1.3, 6.0))
    box = f"{left:g} {top:g} {15.4 * SCALE:g} {5.6 * SCALE:g}"
    return f'<svg class="cell-diagram" role="img" aria-label="{words}" viewBox="{box}">{ARROW}{"".join(parts)}</svg>'


def _node(name: str, at: Point, text: str) -> str:
    x, y = _place(at)
    if name in ("pre", "keep", "write", "sum"):
        return f'<g class="node"><circle cx="{x:g}" cy="{y:g}" r="{0.28 * SCALE:g}"/>{_text(x, y, text)}</g>'
    wide, high = 0.56 * SCALE, 0.36 * SCALE
    shape = f'<rect x="{x - wide:g}" y="{y - high:g}" width="{2 * wide:g}" height="{2 * high:g}" rx="7"/>'
    return f'<g class="node boxed">{shape}{_text(x, y, text)}</g>'


def _place(at: Point) -> Point:
    """y upwards to y downwards."""
    return at[0] * SCALE, (6.2 - at[1]) * SCALE


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    """Mathematics between dollars: letters in italics, what follows _ lowered."""
    words = []
    for part in re.split(r"(\$.*?\$)", text):
        if not part.startswith("$"):
            words.append(escape(part))
            continue
        for sign, plain in _SIGNS.items():
            part = part.replace(sign, plain)
        part = escape(part.strip("$").strip())
        words.append(re.sub(r"_(\w)", r'<tspan class="low" dy="5">\1</tspan>', part))
    kind = "words" if "what" in text else "maths"
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{"".join(words)}</text>'
