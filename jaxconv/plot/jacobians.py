"""The two Jacobians as blocks: one block for each pair of channels, inside it the entries that are not always zero.

Letters as in `jaxconv.sizes.geometry`; o output channel, i input channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from jaxconv.plot.style import axes_or_new, bare, colour, ground, ink
from jaxconv.sizes.arguments import wrong_value
from jaxconv.sizes.connections import check, connections, inside
from jaxconv.sizes.geometry import Geometry
from jaxconv.terminal.palette import ON_COLOUR

WRITTEN = 600  # a larger matrix is drawn without the symbols in its cells
_UNWRITTEN = "coloured where not always zero"
MOST = 1200  # rows or columns; of more an entry would be smaller than a dot
Channels = tuple[int, int]


def input_jacobian(geometry: Geometry, *, channels: Channels = (1, 1), ax: Axes | None = None) -> Axes:
    """∂y/∂x as blocks: where it is not zero, the tap whose weight stands there.

        ∂y[o,p]/∂x[i,j] = w[o, i, q]  where s·p + d·q − lo = j for a tap q, else 0

    Args:
        geometry: with one or two spatial axes; its groups leave the blocks of other groups empty.
        channels: (out, in).
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. Rows are (o, p), columns (i, j), positions of two axes row by row; the number is the tap q.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn, or its groups do not divide the channels.

    Source: the formula of `conv_input_jacobian`.

    >>> input_jacobian(Geometry.of("conv", (5,), (3,), stride=2)).images[0].get_array().data
    array([[ 0.,  1.,  2., -1., -1.],
           [-1., -1.,  0.,  1.,  2.]])
    """
    geometry = check("input_jacobian", geometry)
    (out, into), groups = channels, geometry.groups
    _check_size("input_jacobian", channels, geometry, into * _count(geometry.input_size))
    block = np.full((_count(geometry.output_size), _count(geometry.input_size)), -1.0)
    for p, q, j in connections(geometry):
        if inside(geometry, j):
            at = _flat(p, geometry.output_size), _flat(j, geometry.input_size)
            block[at] = _flat(q, geometry.kernel_size)
    same = np.equal.outer(np.arange(out) * groups // out, np.arange(into) * groups // into)
    ax = _draw(np.where(same[:, None, :, None], block[:, None, :], -1.0), [f"i = {i}" for i in range(into)], ax)
    ax.set(xlabel="input channel i and position j", ylabel="output channel o and position p")
    _title(ax, "∂y[o,p]/∂x[i,j]", "the tap q of w[o,i,q]")
    return ax


def weight_jacobian(geometry: Geometry, *, channels: Channels = (1, 1), ax: Axes | None = None) -> Axes:
    """∂y/∂w as blocks: where it is not zero, the position whose input stands there.

        ∂y[o,p]/∂w[o,i,q] = x[i, s·p + d·q − lo],  0 for another output channel and in the padding

    Args:
        geometry: with one or two spatial axes.
        channels: (out, in).
        ax: where to draw; None: a new figure.

    Returns:
        The Axes. Rows are (o, p), columns (o, i, q) with in/groups channels i; the number is the input j.

    Raises:
        TypeError, ValueError: `geometry` cannot be drawn, or its groups do not divide the channels.

    Source: the formula of `conv_weight_jacobian`.

    >>> weight_jacobian(Geometry.of("conv", (5,), (3,), stride=2)).images[0].get_array().data
    array([[0., 1., 2.],
           [2., 3., 4.]])
    """
    geometry = check("weight_jacobian", geometry)
    out, per_group = channels[0], channels[1] // geometry.groups
    _check_size("weight_jacobian", channels, geometry, out * per_group * geometry.taps)
    block = np.full((_count(geometry.output_size), geometry.taps), -1.0)
    for p, q, j in connections(geometry):
        if inside(geometry, j):
            at = _flat(p, geometry.output_size), _flat(q, geometry.kernel_size)
            block[at] = _flat(j, geometry.input_size)
    same = np.repeat(np.eye(out, dtype=bool), per_group, axis=1)
    names = [f"o, i = {o}, {i}" for o in range(out) for i in range(per_group)]
    ax = _draw(np.where(same[:, None, :, None], block[:, None, :], -1.0), names, ax)
    ax.set(xlabel="kernel channels o, i and tap q", ylabel="output channel o and position p")
    _title(ax, "∂y[o,p]/∂w[o,i,q]", "the position j of x[i,j]")
    return ax


def _check_size(function: str, channels: Channels, geometry: Geometry, columns: int) -> None:
    groups = geometry.groups
    if any(count < 1 or count % groups for count in channels):
        rule = "`channels` must be positive multiples of groups"
        wrong_value(function, rule, f"channels={channels}, groups={groups}")
    rows = channels[0] * _count(geometry.output_size)
    if max(rows, columns) > MOST:
        rule = f"`geometry` must give at most {MOST} rows and columns to be drawn (a smaller input shows the same)"
        wrong_value(function, rule, f"{rows} × {columns}")


def _count(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes))


def _flat(position: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(position, sizes))


def _draw(blocks: np.ndarray, names: list[str], ax: Axes | None) -> Axes:
    """Blocks (rows, rows of one, columns, columns of one): −1 where nothing stands, else the number to write."""
    rows, height, columns, width = blocks.shape
    matrix = blocks.reshape(rows * height, columns * width)
    high, wide = matrix.shape
    ax = axes_or_new(ax, min(max(0.42 * wide + 1.5, 4.5), 13), min(max(0.42 * high + 1.5, 2.6), 9))
    numbers, written = int(matrix.max()) + 1, matrix.size <= WRITTEN
    tones = [colour(number if written else 1) for number in range(numbers)]  # without a digit a colour says nothing
    shown: dict[str, Any] = {"vmin": -1.5, "vmax": numbers - 0.5, "aspect": "equal" if written else "auto"}
    ax.imshow(matrix, cmap=ListedColormap([ground(), *tones]), interpolation="nearest", **shown)
    if written:
        for (r, c), number in np.ndenumerate(matrix):
            text, tone = (f"{number:.0f}", ON_COLOUR[colour(int(number))]) if number >= 0 else ("·", ink())
            ax.text(c, r, text, ha="center", va="center", fontsize=8, color=tone)
    for r in range(rows + 1):
        ax.axhline(r * height - 0.5, color=ink(), linewidth=1.6)
    for c in range(columns + 1):
        ax.axvline(c * width - 0.5, color=ink(), linewidth=1.6)
    if written:
        ax.set_xticks(range(matrix.shape[1]), [str(c % width) for c in range(matrix.shape[1])], fontsize=8)
        ax.set_yticks(range(matrix.shape[0]), [str(r % height) for r in range(matrix.shape[0])], fontsize=8)
    _name_blocks(ax, (rows, height), (columns, width), names)
    bare(ax)
    return ax


def _name_blocks(ax: Axes, rows: tuple[int, int], columns: tuple[int, int], names: list[str]) -> None:
    """The channels above and at the right of the blocks, where there is more than one and room."""
    if 1 < columns[0] <= 8:
        for c, name in enumerate(names):
            ax.annotate(name, ((c + 0.5) * columns[1] - 0.5, -0.5), (0, 3), textcoords="offset points", ha="center")
    if 1 < rows[0] <= 8:
        for o in range(rows[0]):
            at = columns[0] * columns[1] - 0.5, (o + 0.5) * rows[1] - 0.5
            ax.annotate(f"o = {o}", at, (5, 0), textcoords="offset points", va="center")


def _title(ax: Axes, entry: str, number: str) -> None:
    """What is drawn, and what the numbers in its cells are; above the names of the blocks."""
    told = number if any(text.get_text() == "·" or text.get_text().isdigit() for text in ax.texts) else _UNWRITTEN
    ax.set_title(f"{entry}: {told}", pad=20)
