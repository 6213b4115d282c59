"""Which inputs an output reads, which outputs an input feeds, and what a tap multiplies.

One axis is drawn as a graph: what is computed above, what it is computed from below, a line for every product. Two
axes are drawn as two grids, of which one position is chosen. Letters as in `jaxconv.sizes.geometry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from jaxconv.plot.grids import grids, name
from jaxconv.plot.style import LINES, axes_or_new, bare, cell_inches, colour, ground, ink, marks_told, square
from jaxconv.sizes.connections import Connection, Position, check, check_position, connections, inside
from jaxconv.sizes.geometry import Geometry

HEIGHT = 3.0  # between the two rows of a graph, in cells
PAD = {1: 22, 2: 8}  # points below the title: above a graph stands the name of its upper row
LABELLED = 48  # more lines than this are drawn without their digits


def reads(geometry: Geometry, *, output: int | Position | None = None, ax: Axes | None = None) -> Axes:
    """Forward: which inputs each output reads.

        output p reads the inputs s·p + d·q − lo for the taps q

    Args:
        geometry: with one or two spatial axes.
        output: the output to show alone; None: all of them on one axis, the middle one on two.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. On one axis the line from output p to input j carries the digit q; on two the cell of input j does.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn, or `output` lies outside.

    Source: the formula of `Geometry`.

    >>> reads(Geometry.of("conv", (5,), (3,), stride=2)).get_title()
    'output p reads inputs 2·p + q'
    """
    geometry = _checked("reads", geometry)
    at = check_position("reads", "output", output, geometry.output_size)
    if geometry.axes == 2 and at is None:
        at = tuple(m // 2 for m in geometry.output_size)
    chosen = connections(geometry, p=at)
    if geometry.axes == 1:
        rows = (_outputs(geometry), _inputs(geometry))
        ax = _graph("reads", chosen, rows, lambda c: (c.p[0], c.j[0], c.q[0]), ax)
        _label(ax, "output p (position)", "input j (position)", "tap q")
    else:
        ax = grids("reads", geometry, {c.j: c.q for c in chosen}, {c.p: c.p for c in chosen}, "the taps q", ax)
    ax.set_title(f"output p reads inputs {_arithmetic(geometry)}", pad=PAD[geometry.axes])
    return ax


def feeds(geometry: Geometry, *, position: int | Position | None = None, ax: Axes | None = None) -> Axes:
    """Backward to the input: which outputs each input feeds, so whose cotangents it gathers.

        dx[j] gathers g[p] from the outputs p with s·p + d·q − lo = j for a tap q

    It is also the picture of the transposed convolution, whose outputs are the j and whose inputs are the p.

    Args:
        geometry: with one or two spatial axes.
        position: the input to show alone; None: all of them on one axis, the middle one on two.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. The digit is the tap q.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn, or `position` lies outside.

    Source: the sum of `conv_input_vjp`.

    >>> feeds(Geometry.of("conv", (5,), (3,), stride=2), position=2).get_xlabel().splitlines()[0]
    'output cotangent g[p] (position)'
    """
    return gathered("feeds", geometry, position, ax)


def gathered(
    function: str, geometry: Geometry, position: int | Position | None, ax: Axes | None, *, transposed: bool = False
) -> Axes:
    """The picture of `feeds`, or, with the names of the transposed convolution, what its output j is made of."""
    geometry = _checked(function, geometry)
    at = check_position(function, "position", position, geometry.input_size)
    if geometry.axes == 2 and at is None:
        at = tuple(n // 2 for n in geometry.input_size)
    above, below, title = ("output j", "input p", "output j gathers the inputs p") if transposed else (
        "input gradient dx[j]", "output cotangent g[p]", "input j feeds the outputs p"
    )  # fmt: skip
    chosen = [c for c in connections(geometry, j=at) if inside(geometry, c.j)]
    if geometry.axes == 1:
        rows = (_inputs(geometry, padded=False), _outputs(geometry))
        ax = _graph(function, chosen, rows, lambda c: (c.j[0], c.p[0], c.q[0]), ax)
        unread = "stays 0" if transposed else "not read"
        _label(ax, f"{above} (position)", f"{below} (position)", "tap q", unread)
    else:
        at = at or ()
        cells = {at: at}, {c.p: c.q for c in chosen}
        ax = grids(function, geometry, *cells, "at the right the taps q", ax, names=(above, below))
    ax.set_title(f"{title} with {_arithmetic(geometry)} = j", pad=PAD[geometry.axes])
    return ax


def weights(geometry: Geometry, *, tap: int | Position | None = None, ax: Axes | None = None) -> Axes:
    """Backward to the kernel: which inputs each tap multiplies, and for which output.

        dw[q] gathers g[p] · x[s·p + d·q − lo] from all outputs p

    Args:
        geometry: with one or two spatial axes.
        tap: the tap to show alone; None: all of them on one axis, the first one on two.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. The digit is the output p.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn, or `tap` lies outside.

    Source: the sum of `conv_weight_vjp`.

    >>> weights(Geometry.of("conv", (5,), (3,), stride=2)).get_title()
    'tap q multiplies inputs 2·p + q'
    """
    geometry = _checked("weights", geometry)
    at = check_position("weights", "tap", tap, geometry.kernel_size)
    if geometry.axes == 2 and at is None:
        at = (0, 0)
    chosen = connections(geometry, q=at)
    if geometry.axes == 1:
        first, last = _span(geometry)
        middle = (first + last) / 2 - (geometry.kernel_size[0] - 1)
        taps = {q: (middle + 2 * q, "plain") for q in range(geometry.kernel_size[0])}
        ax = _graph("weights", chosen, (taps, _inputs(geometry)), lambda c: (c.q[0], c.j[0], c.p[0]), ax)
        _label(ax, "kernel gradient dw[q] (tap)", "input x[j] (position)", "output p")
        ax.set_title(f"tap q multiplies inputs {_arithmetic(geometry)}", pad=PAD[geometry.axes])
    else:
        ax = grids("weights", geometry, {c.j: c.p for c in chosen}, {c.p: c.p for c in chosen}, "the outputs p", ax)
        ax.set_title(f"tap q = {name(at or ())} multiplies inputs {_arithmetic(geometry)}", pad=PAD[2])
    return ax


def _checked(function: str, geometry: Geometry) -> Geometry:
    """`geometry`, where it can be drawn and is not too large for it."""
    geometry = check(function, geometry)
    sizes = [n + max(lo, 0) + max(hi, 0) for n, (lo, hi) in zip(geometry.input_size, geometry.padding, strict=True)]
    both = sizes[-1] + geometry.output_size[-1] + 2  # the two grids beside each other
    cell_inches(function, "geometry", sizes[0] + 1 if geometry.axes == 1 else max(both, sizes[0]), 1.0)
    return geometry


# ------------------------------------------------------------------------------------------ one axis: a graph

Row = dict[int, tuple[float, str]]  # number → where it stands, and the kind of its cell


def _span(geometry: Geometry) -> tuple[int, int]:
    """First and last position of the first axis that are drawn: array and padding."""
    n, (lo, hi) = geometry.input_size[0], geometry.padding[0]
    return min(-lo, 0), max(n + hi, n) - 1


def _inputs(geometry: Geometry, *, padded: bool = True) -> Row:
    n = geometry.input_size[0]
    used = {c.j[0] for c in connections(geometry)}
    first, last = _span(geometry) if padded else (0, n - 1)
    kinds = {j: "padding" if not 0 <= j < n else "plain" if j in used else "unread" for j in range(first, last + 1)}
    return {j: (j, kind) for j, kind in kinds.items()}


def _outputs(geometry: Geometry) -> Row:
    """An output stands over the middle of its window."""
    ((_, k, s, (lo, _), d),) = geometry.per_axis
    return {p: (s * p - lo + d * (k - 1) / 2, "plain") for p in range(geometry.output_size[0])}


def _graph(
    function: str,
    chosen: list[Connection],
    rows: tuple[Row, Row],
    ends: Callable[[Connection], tuple[int, int, int]],
    ax: Axes | None,
) -> Axes:
    """Lines from the upper row to the lower one; `ends` gives (upper number, lower number, digit)."""
    places = [x for row in rows for x, _ in row.values()]
    low, high = min(places), max(places)
    inches = cell_inches(function, "geometry", round(high - low + 2), 0.5)
    ax = axes_or_new(ax, max(inches * (high - low + 3), 5.5), inches * (HEIGHT + 1.4) + 1.6)
    above, below = rows
    triples = [ends(c) for c in chosen]
    for digit in sorted({digit for _, _, digit in triples}):
        lines = [((above[a][0], HEIGHT - 0.45), (below[b][0], 0.45)) for a, b, digit_ in triples if digit_ == digit]
        look: dict[str, Any] = {"colors": colour(digit), "linestyles": [LINES[digit % len(LINES)]], "linewidths": 1.8}
        ax.add_collection(LineCollection(lines, zorder=1, gid=f"connections:{digit}", **look), autolim=False)
        if len(triples) <= LABELLED:
            _digits(ax, lines, str(digit), 0.24 + 0.12 * (digit % 3))
    touched = {a for a, _, _ in triples}, {b for _, b, _ in triples}
    for row, y, marked in zip(rows, (HEIGHT, 0.0), touched, strict=True):
        for number, (x, kind) in row.items():
            strong = number in marked and len(touched[0]) == 1
            square(ax, x, y, str(number), kind=kind, strong=strong, size=9 if inches > 0.3 else 7)
    ax.set(xlim=(low - 0.8, high + 0.8), ylim=(-0.7, HEIGHT + 0.7), xticks=[], yticks=[], aspect="equal")
    bare(ax)
    return ax


def _digits(ax: Axes, lines: Iterable[Any], text: str, along: float) -> None:
    for (x0, y0), (x1, y1) in lines:
        at = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
        box = {"boxstyle": "circle,pad=0.1", "facecolor": ground(), "edgecolor": "none"}
        ax.text(*at, text, fontsize=7.5, ha="center", va="center", color=ink(), bbox=box, zorder=3)


def _label(ax: Axes, above: str, below: str, digit: str, unread: str = "not read") -> None:
    """The upper row's name above the drawing; the lower row's below it, with what the marks that are there mean."""
    lines = sum(len(drawn.get_segments()) for drawn in ax.collections if isinstance(drawn, LineCollection))
    many = f"line style and colour: the {digit}, modulo {len(LINES)}"
    told = f"the digit on a line is the {digit}" if lines <= LABELLED else many
    ax.set_xlabel("\n".join(filter(None, [below, told, marks_told(ax, unread)])))
    ax.text(0.5, 1.0, above, transform=ax.transAxes, ha="center", va="bottom")


def _arithmetic(geometry: Geometry) -> str:
    """s·p + d·q − lo with the numbers put in, one axis after the other."""
    axes = []
    for s, d, (lo, _) in zip(geometry.stride, geometry.dilation, geometry.padding, strict=True):
        shift = f" {'−' if lo > 0 else '+'} {abs(lo)}" if lo else ""
        axes.append(f"{'' if s == 1 else f'{s}·'}p + {'' if d == 1 else f'{d}·'}q{shift}")
    return axes[0] if len(set(axes)) == 1 else f"({', '.join(axes)})"
