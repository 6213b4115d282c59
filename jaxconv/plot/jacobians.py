"""The two Jacobians as blocks: one block for each pair of channels, inside it the entries that are not always zero.

Letters as in `jaxconv.geometry`; o output channel, i input channel.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from jaxconv.arguments import wrong_value
from jaxconv.connections import check, connections, inside
from jaxconv.geometry import Geometry
from jaxconv.plot.style import ON_COLOUR, axes_or_new, bare, colour, ground, ink

WRITTEN = 600  # a larger matrix is drawn without the symbols in its cells
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
    _check_channels("input_jacobian", channels, geometry.groups)
    block = np.full((_count(geometry.output_size), _count(geometry.input_size)), -1.0)
    for p, q, j in connections(geometry):
        if inside(geometry, j):
            at = _flat(p, geometry.output_size), _flat(j, geometry.input_size)
            block[at] = _flat(q, geometry.kernel_size)
    (out, into), groups = channels, geometry.groups
    same = np.equal.outer(np.arange(out) * groups // out, np.arange(into) * groups // into)
    ax = _draw(np.where(same[:, None, :, None], block[:, None, :], -1.0), ax)
    ax.set(xlabel="input channel i and position j", ylabel="output channel o and position p")
    ax.set_title("∂y[o,p]/∂x[i,j]: the tap q of w[o,i,q]")
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
    _check_channels("weight_jacobian", channels, geometry.groups)
    block = np.full((_count(geometry.output_size), geometry.taps), -1.0)
    for p, q, j in connections(geometry):
        if inside(geometry, j):
            at = _flat(p, geometry.output_size), _flat(q, geometry.kernel_size)
            block[at] = _flat(j, geometry.input_size)
    out, per_group = channels[0], channels[1] // geometry.groups
    same = np.repeat(np.eye(out, dtype=bool), per_group, axis=1)
    ax = _draw(np.where(same[:, None, :, None], block[:, None, :], -1.0), ax)
    ax.set(xlabel="kernel channels o, i and tap q", ylabel="output channel o and position p")
    ax.set_title("∂y[o,p]/∂w[o,i,q]: the position j of x[i,j]")
    return ax


def _check_channels(function: str, channels: Channels, groups: int) -> None:
    if any(count < 1 or count % groups for count in channels):
        rule = "`channels` must be positive multiples of groups"
        wrong_value(function, rule, f"channels={channels}, groups={groups}")


def _count(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes))


def _flat(position: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(position, sizes))


def _draw(blocks: np.ndarray, ax: Axes | None) -> Axes:
    """Blocks (rows, rows of one, columns, columns of one): −1 where nothing stands, else the number to write."""
    rows, height, columns, width = blocks.shape
    matrix = blocks.reshape(rows * height, columns * width)
    ax = axes_or_new(
        ax, min(max(0.42 * matrix.shape[1] + 1.5, 4.5), 13), min(max(0.42 * matrix.shape[0] + 1.5, 2.6), 9)
    )
    numbers = int(matrix.max()) + 1
    shades = ListedColormap([ground(), *(colour(number) for number in range(numbers))])
    ax.imshow(matrix, cmap=shades, vmin=-1.5, vmax=numbers - 0.5, aspect="equal" if matrix.size <= WRITTEN else "auto")
    if matrix.size <= WRITTEN:
        for (r, c), number in np.ndenumerate(matrix):
            written, tone = (f"{number:.0f}", ON_COLOUR[colour(int(number))]) if number >= 0 else ("·", ink())
            ax.text(c, r, written, ha="center", va="center", fontsize=8, color=tone)
    for r in range(rows + 1):
        ax.axhline(r * height - 0.5, color=ink(), linewidth=1.6)
    for c in range(columns + 1):
        ax.axvline(c * width - 0.5, color=ink(), linewidth=1.6)
    if matrix.size <= WRITTEN:
        ax.set_xticks(range(matrix.shape[1]), [str(c % width) for c in range(matrix.shape[1])], fontsize=8)
        ax.set_yticks(range(matrix.shape[0]), [str(r % height) for r in range(matrix.shape[0])], fontsize=8)
    bare(ax)
    return ax
