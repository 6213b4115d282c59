"""The receptive field of a stack of layers, on one axis: layer above layer, and the cone below one output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from jaxconv.plot.style import axes_or_new, bare, cell_inches, ink, marks_told, square
from jaxconv.sizes.arguments import integer, is_sequence, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import transpose_output_size
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.reads import AxisLayer
from jaxconv.sizes.receptive import TransposedWindow, Window
from jaxconv.sizes.receptive import receptive_field as field_of
from jaxconv.terminal.palette import SKY

LEVEL = 2.2  # from one row of positions to the next, in cells


class _Level(NamedTuple):
    """The output of a layer: its size, and what reads it is made of."""

    size: int
    layer: AxisLayer


def receptive_field(
    layers: Sequence[Window | TransposedWindow], size: int, *, output: int | None = None, ax: Axes | None = None
) -> Axes:
    """Which positions of the input, and of every layer between, one output of a stack reads.

        read below output p of a layer:  r(p) as in `jaxconv.sizes.receptive`, for all p that are read above

    Args:
        layers: on one axis, the first one reads the input.
        size: n, positions of the input.
        output: the output at the top; None: the middle one.
        ax: where to draw; None: a new figure.

    Returns:
        The Axes; filled cells are read, dashed ones are padding that is read.

    Raises:
        TypeError: a layer is no layer, or a number no integer.
        ValueError: no layer, a layer that does not fit, or `output` outside the last one.

    Source: `jaxconv.receptive_field`.

    >>> receptive_field([Window(3), Window(3, stride=2)], 9).get_title().splitlines()
    ['output 1 reads positions 2 … 6', 'size 5, stride 2, start 0']
    """
    size = integer("receptive_field", "size", size, least=1)
    field, levels = field_of(layers), _levels(layers, size)
    top = levels[-1].size
    at = top // 2 if output is None else integer("receptive_field", "output", output)
    if not 0 <= at < top:
        wrong_value("receptive_field", f"`output` must be one of the {top} outputs of the stack", f"output={at}")
    sizes = [size, *(level.size for level in levels)]
    inches = cell_inches("receptive_field", "size", max(sizes), 0.42)
    ax = axes_or_new(ax, max(inches * (max(sizes) + 3) + 1, 5), inches * LEVEL * len(sizes) + 1.2)
    read, edges, text = {at}, [], 8 if inches > 0.3 else 6
    _row(ax, len(levels), top, max(sizes), read, text)
    for level in range(len(levels) - 1, -1, -1):
        pairs = [(p, j) for p in sorted(read) for j in levels[level].layer.reads(p)]
        ends = [(_place(p, sizes[level + 1], max(sizes)), _place(j, sizes[level], max(sizes))) for p, j in pairs]
        edges += [((a, (level + 1) * LEVEL - 0.45), (b, level * LEVEL + 0.45)) for a, b in ends]
        shown = {j for _, j in pairs}
        _row(ax, level, sizes[level], max(sizes), shown, text)
        read = {j for j in shown if 0 <= j < sizes[level]}
    ax.add_collection(LineCollection(edges, colors=ink(), linewidths=0.9, zorder=1, gid="cone"), autolim=False)
    ax.autoscale_view()
    ax.set_aspect("equal")
    names = ["input", *(f"after layer {y}" for y in range(1, len(sizes)))]
    ax.set_yticks([y * LEVEL for y in range(len(sizes))], names)
    marks = "; ".join(filter(None, ["filled: read", marks_told(ax)]))
    ax.set(xticks=[], xlabel=f"position, in its own layer's count\n{marks}")
    hull = field.interval(at)
    where = f"positions {hull[0]} … {hull[1]}" if hull else "nothing"
    if hull and not 0 <= hull[0] <= hull[1] < size:
        where += f", the input has 0 … {size - 1}"
    ax.set_title(f"output {at} reads {where}\nsize {field.size}, stride {field.stride}, start {field.start}")
    bare(ax)
    return ax


def _levels(layers: Sequence[Window | TransposedWindow], size: int) -> list[_Level]:
    if not layers:
        wrong_value("receptive_field", "`layers` must name at least one layer to be drawn", "none")
    levels = []
    for i, layer in enumerate(layers):
        if any(map(is_sequence, (layer.kernel, layer.stride, layer.dilation))):
            wrong_kind("receptive_field", f"`layers[{i}]` must have one axis to be drawn", f"{layer!r}")
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        transposed, below = isinstance(layer, TransposedWindow), size
        if isinstance(layer, TransposedWindow):
            extra = layer.output_padding
            below = size = transpose_output_size(size, layer.kernel, output_padding=extra, **options)
        geometry = Geometry.of(f"receptive_field, layers[{i}]", (below,), (layer.kernel,), **options)  # type: ignore
        size = size if transposed else geometry.output_size[0]
        ((_, k, s, (lo, _), d),) = geometry.per_axis
        levels.append(_Level(size, AxisLayer(transposed, k, s, lo, d)))
    return levels


def _place(position: int, size: int, widest: int) -> float:
    """Rows are centred over each other."""
    return position + (widest - size) / 2


def _row(ax: Axes, level: int, size: int, widest: int, read: set[int], text: float) -> None:
    for j in sorted({*range(size), *read}):
        kind = "plain" if 0 <= j < size else "padding"
        fill = SKY if j in read else None
        square(ax, _place(j, size, widest), level * LEVEL, str(j), fill=fill, kind=kind, size=text)
        ax.patches[-1].set_gid(f"level:{level}:{j}" + (f":read:{kind}" if j in read else ""))
