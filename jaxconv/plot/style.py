"""Marks and the few shapes that all pictures are made of; their colours are those of `jaxconv.terminal.palette`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from jaxconv.sizes.arguments import wrong_value
from jaxconv.terminal.palette import ON_COLOUR, PALETTE

LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


WIDEST = 13.0  # inches, of a figure that is made here
MOST = 80  # cells side by side; more cannot be told apart


def colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def ink() -> str:
    """The colour of text in the style that is switched on."""
    return str(mpl.rcParams["text.color"])


def ground() -> str:
    """The colour behind the drawing in that style."""
    return str(mpl.rcParams["axes.facecolor"])


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """`ax`, or that of a new figure of this size in inches."""
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(width, height), layout="constrained")
    return new


def cell_inches(function: str, argument: str, cells: int, wanted: float) -> float:
    """The width of one of so many cells side by side; too many are an error, since the picture repeats anyway."""
    if cells > MOST:
        rule = f"`{argument}` must need at most {MOST} cells side by side to be drawn (a smaller input shows the same)"
        wrong_value(function, rule, f"{cells} cells")
    return min(wanted, WIDEST / cells)


def square(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    *,
    fill: str | None = None,
    kind: str = "plain",
    strong: bool = False,
    size: float = 9,
) -> None:
    """A cell of width 0.9 around (x, y). Its kind: "plain", "padding" (dashed) or "unread" (hatched)."""
    looks: Mapping[str, dict[str, Any]] = {
        "plain": {"linewidth": 1.1},
        "padding": {"linewidth": 0.9, "linestyle": (0, (2, 2))},
        "unread": {"linewidth": 0.9, "hatch": "//"},
    }
    look = {"facecolor": fill or ground(), "edgecolor": ink(), **looks[kind]}
    patch = Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, zorder=2, **look)
    if strong:
        patch.set_linewidth(0.3 * min(size, 8))
    ax.add_patch(patch)
    patch.set_gid(kind)
    if text:
        box = {"facecolor": ground(), "edgecolor": "none", "pad": 2.5} if kind == "unread" else None
        tone = ON_COLOUR.get(fill, ink()) if fill else ink()
        ax.text(x, y, text, ha="center", va="center", color=tone, zorder=4, fontsize=size, bbox=box)


def marks_told(ax: Axes, unread: str = "not read") -> str:
    """What the marks of the cells mean, of those that are there."""
    meaning = {"padding": "dashed: padding", "unread": f"hatched: {unread}"}
    there = {part for patch in ax.patches for part in str(patch.get_gid()).split(":")}
    return "; ".join(text for kind, text in meaning.items() if kind in there)


def bare(ax: Axes) -> None:
    """No frame and no tick marks; the labels stay."""
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
