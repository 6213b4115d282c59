"""A table of measured ratios as horizontal bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from jaxconv.plot.style import LINES, axes_or_new, ink
from jaxconv.sizes.arguments import wrong_value
from jaxconv.terminal.palette import BLUE, GREEN, ORANGE, PURPLE

HATCHES = ("", "///", "...", "xx")


def bench(rows: Sequence[Mapping[str, Any]], *, unit: str = "times as fast", ax: Axes | None = None) -> Axes:
    """Measured ratios as horizontal bars on a logarithmic axis, with a line at 1.

        length of a bar = log ratio;   to the right of the line: better

    Args:
        rows: each with "name", "map" (what was measured: y, dx, dw, …) and "ratio" > 0.
        unit: what a ratio means.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes; names in the order of the rows, one colour and one hatch per map.

    Raises:
        ValueError: no row, or a ratio that is not positive.

    Source: the rows.

    >>> ax = bench([{"name": "3x3", "map": "dx", "ratio": 4.0}, {"name": "3x3", "map": "dw", "ratio": 0.5}])
    >>> [float(bar.get_width()) for bar in ax.patches]
    [3.0, -0.5]
    """
    if not rows:
        wrong_value("bench", "`rows` must hold at least one measurement", "none")
    for i, row in enumerate(rows):
        if not row["ratio"] > 0:
            wrong_value("bench", f"`rows[{i}]['ratio']` must be positive", f"{row['ratio']}")
    names, maps = (list(dict.fromkeys(row[key] for row in rows)) for key in ("name", "map"))
    ax = axes_or_new(ax, 8, 0.28 * len(names) * (len(maps) + 0.8) + 1.4)
    thick = 0.8 / len(maps)
    colours = (BLUE, ORANGE, GREEN, PURPLE)
    for number, each in enumerate(maps):
        these = [(names.index(row["name"]), row["ratio"]) for row in rows if row["map"] == each]
        at = [name + (number - (len(maps) - 1) / 2) * thick for name, _ in these]
        look: dict[str, Any] = {"color": colours[number % 4], "hatch": HATCHES[number % 4], "edgecolor": ink()}
        ax.barh(at, [ratio - 1 for _, ratio in these], thick * 0.9, left=1, label=each, **look)
        for y, (_, ratio) in zip(at, these, strict=True):
            ax.annotate(
                f"{ratio:.3g}", (ratio, y), xytext=(4 if ratio >= 1 else -4, 0), textcoords="offset points",
                ha="left" if ratio >= 1 else "right", va="center", fontsize="small",
            )  # fmt: skip
    ax.set_xscale("log")
    ax.axvline(1, color=ink(), linewidth=1.4, linestyle=LINES[1])
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.margins(x=0.15, y=0.04)
    ax.set_xlabel(f"{unit} (ratio, logarithmic; the line marks 1)")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    return ax
