"""The recurrent cell, and its graph unrolled over time with the two ways a gradient takes back."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from jaxconv.plot.style import LINES, axes_or_new, ground, ink
from jaxconv.sizes.arguments import integer
from jaxconv.terminal.diagram import NAMES, NODES, WIRES, Point
from jaxconv.terminal.palette import BLUE, SKY, VERMILION


def cell(*, ax: Axes | None = None) -> Axes:
    """The diagram of one step.

        c[t] = σ(W_c x[t] + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ W_x x[t]

    Args:
        ax: where to draw; None: a new figure.

    Returns:
        The Axes; in brackets how many features an arrow carries.

    Raises:
        Nothing of its own.

    Source: the equations of `jaxconv.recurrence.gated_cell`.

    >>> len(cell().patches) > len(WIRES)
    True
    """
    ax = axes_or_new(ax, 10, 4.6)
    for source, target, points in WIRES:
        ax.plot(*zip(*points, strict=True), color=ink(), linewidth=1.4, zorder=1)
        _arrow(ax, points[-2], points[-1], gid=f"{source}->{target}")
    for name, (at, text) in NODES.items():
        _node(ax, at, text, boxed=name not in ("pre", "keep", "write", "sum"))
    for at in ((1.6, 5.2), (1.6, 0.9), (6.6, 3.2)):
        ax.plot(*at, "o", color=ink(), markersize=5)
    for at, text, side in NAMES:
        ax.text(*at, text, ha=side, va="center", fontsize=11, style="italic" if "what" in text else "normal")
    ax.set(xlim=(-1.2, 13.8), ylim=(0.2, 6.0), aspect="equal")
    ax.axis("off")
    return ax


def unrolled(steps: int = 3, *, ax: Axes | None = None) -> Axes:
    """The recurrence unrolled over time, with the two ways that a gradient takes from h[t] back to h[t−1].

        g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]

    Args:
        steps: T, at least 1.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes; solid the way through what is kept, c ⊙ h, dashed the way through the gate, W_h.

    Raises:
        TypeError, ValueError: `steps` is no positive integer.

    Source: the adjoint in `jaxconv.recurrence.engine`.

    >>> [p.get_gid() for p in unrolled(1).patches if str(p.get_gid()).startswith("g")]
    ['g:keep:1->0', 'g:gate:1->0']
    """
    steps = integer("unrolled", "steps", steps, least=1)
    ax = axes_or_new(ax, min(2.6 * steps + 2, 13), 3.6)
    for t in range(steps + 1):
        _node(ax, (3 * t, 2.0), f"$h[{t}]$", wide=0.62)
        if not t:
            continue
        x = 3.0 * t
        _node(ax, (x, 0.2), f"$x[{t}]$", wide=0.62)
        _arrow(ax, (x, 0.55), (x, 1.65), gid=f"x:{t}")
        _arrow(ax, (x - 2.35, 2.0), (x - 0.65, 2.0), gid=f"h:{t - 1}->{t}")
        keep, gate = {"color": VERMILION, "linewidth": 2.2}, {"color": BLUE, "linewidth": 2.2, "linestyle": LINES[1]}
        _arrow(ax, (x - 0.3, 2.38), (x - 2.7, 2.38), gid=f"g:keep:{t}->{t - 1}", bend=0.35, **keep)
        _arrow(ax, (x - 0.5, 1.64), (x - 2.5, 1.64), gid=f"g:gate:{t}->{t - 1}", bend=-0.3, **gate)
        ax.text(x - 1.5, 3.05, rf"$c[{t}] \odot g[{t}]$", ha="center", fontsize=10)
        ax.text(x - 1.5, 0.98, rf"$W_h^\top \delta[{t}]$", ha="center", va="top", fontsize=10)
        _arrow(ax, (x, 3.9), (x, 2.42), gid=f"outside:{t}", linewidth=1.0)
        ax.text(x, 3.95, rf"$\bar y[{t}]$", ha="center", va="bottom", fontsize=10)
    keys = [
        ax.plot([], [], color=VERMILION, linewidth=2.2, label=r"gradient through what is kept, $c \odot h$")[0],
        ax.plot([], [], color=BLUE, linewidth=2.2, linestyle=LINES[1], label="gradient through the gate, $W_h$")[0],
        ax.plot([], [], color=ink(), linewidth=1.4, label="values, forward in time")[0],
    ]
    ax.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3 if steps > 2 else 1, frameon=False)
    ax.set(xlim=(-0.9, 3 * steps + 0.9), ylim=(-0.35, 4.5), aspect="equal")
    ax.axis("off")
    return ax


def _arrow(ax: Axes, start: Point, end: Point, *, gid: str, bend: float = 0.0, **look: Any) -> None:
    style = {"color": ink(), "linewidth": 1.4, "arrowstyle": "-|>", "mutation_scale": 12, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", gid=gid, **{**style, **look}))


def _node(ax: Axes, at: Point, text: str, *, boxed: bool = True, wide: float = 0.45) -> None:
    x, y = at
    if boxed:
        box: dict[str, Any] = {"boxstyle": "round,pad=0.08", "facecolor": SKY, "edgecolor": ink(), "linewidth": 1.2}
        ax.add_patch(FancyBboxPatch((x - wide + 0.08, y - 0.3), 2 * wide - 0.16, 0.6, zorder=2, **box))
    else:
        ax.add_patch(Circle(at, 0.28, facecolor=ground(), edgecolor=ink(), linewidth=1.2, zorder=2))
    ax.text(x, y, text, ha="center", va="center", fontsize=12, color="black" if boxed else ink(), zorder=3)
