"""Receptive fields: which inputs each output of a stack of convolutions reads, in exact integers.

A layer repeats on each axis: output p + b reads what output p reads, a positions further. Output p reads r(p),

    Window             r(p) = {s·p + d·q − lo : 0 ≤ q < k}                        b = 1, a = s
    TransposedWindow   r(p) = {j : s·j + d·q − lo = p for some 0 ≤ q < k}         b = s, a = 1

A stack repeats too: its output p + P reads A further, so P hulls (first and last input) tell those of all outputs.
A layer on top makes that P·b/gcd(P, a) and A·a/gcd(P, a), and its output p reads the hull of the hulls at r(p); a
period further a hull lies higher, so the first and the last period of r(p) decide. Windows alone keep P = 1, and this
is the closed form   start' = start − stride·lo,   size' = size + stride·d(k − 1),   stride' = stride·s.

Letters as in `arithmetic`. This file imports no jax.

Source: A. Araujo, W. Norris and J. Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from math import lcm
from typing import Any, NamedTuple

from jaxconv.sizes.arguments import integer, is_sequence, one_of, per_axis, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import (
    PADDINGS,
    Padding,
    axes_of,
    axis_padding,
    check_output_padding,
    numeric_padding,
    read_windows,
    single_axis,
)
from jaxconv.sizes.reads import AxisLayer, Reads, hull_of

PerAxis = int | Sequence[int]


@dataclass(frozen=True)
class Window:
    """A layer of windows, a convolution or pooling.

        output p reads the inputs s·p + d·q − lo for the taps q = 0 … k − 1

    Attributes:
        kernel, stride, padding, dilation: as in `output_size`, each also one per axis.

    >>> receptive_field([Window(3), Window(3, stride=2)])
    ReceptiveField(size=5, stride=2, start=0)
    """

    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = 0
    dilation: PerAxis = 1


@dataclass(frozen=True)
class TransposedWindow:
    """A transposed convolution.

        input p is added to the outputs s·p + d·q − lo for the taps q = 0 … k − 1

    Attributes:
        kernel, stride, padding, dilation: as in `transpose_output_size`, each also one per axis.
        output_padding: likewise; it moves no output.

    >>> receptive_field([TransposedWindow(2, stride=2), Window(2, stride=2)])
    ReceptiveField(size=1, stride=1, start=0)
    """

    kernel: PerAxis
    stride: PerAxis = 1
    padding: Padding = 0
    dilation: PerAxis = 1
    output_padding: PerAxis = 0


class ReceptiveField(NamedTuple("Field", [("size", Any), ("stride", Any), ("start", Any)])):
    """Which inputs the outputs of a stack read.

        output p reads the inputs start + p·stride … start + p·stride + size − 1, on each axis

    Integers are exact: every output reads the first and the last of these. Transposed windows may let the outputs take
    turns. Then the three are fractions (`fractions.Fraction`), the largest start and the smallest size that hold for
    all outputs, and `interval` tells what each one reads.

    Attributes:
        size, stride, start: in input positions; a number, or a tuple with one per axis.

    Made by `receptive_field` and `merge_receptive_fields`; from integers also by hand.

    >>> ReceptiveField(size=11, stride=4, start=-5).interval(2)
    (3, 13)
    """

    @cached_property
    def _reads(self) -> tuple[Reads, ...]:
        """The exact reads per axis; this, where the field was made by hand."""
        axes = zip(*self, strict=True) if isinstance(self.size, tuple) else [self]
        numbers = [[integer("ReceptiveField", n, v) for n, v in zip(self._fields, axis, strict=True)] for axis in axes]
        return tuple(Reads(stride, ((start, start + size - 1),)) for size, stride, start in numbers)

    def interval(self, p: Any) -> Any:
        """The first and the last input that output p reads.

        Args:
            p: output position, at least 0; where there are axes also one per axis.

        Returns:
            (first, last), or None where output p reads nothing; a tuple of these where there are axes. Exact where
            all of it, in the layers between too, is inside the array; past an end there is padding, or nothing.

        >>> up = receptive_field([TransposedWindow(3, stride=2)])
        >>> [up.interval(p) for p in range(1, 5)]
        [(0, 0), (0, 1), (1, 1), (1, 2)]
        """
        positions = per_axis("interval", "p", p, len(self._reads), least=0)
        hulls = tuple(reads.hull(p_) for reads, p_ in zip(self._reads, positions, strict=True))
        return hulls if isinstance(self.size, tuple) else hulls[0]


def receptive_field(
    layers: Iterable[Window | TransposedWindow], *, after: ReceptiveField | None = None
) -> ReceptiveField:
    """Which inputs each output of a stack of layers reads, per axis.

        output p reads inputs start + p·stride … start + p·stride + size − 1
        each Window:   start' = start − stride·lo,   size' = size + stride·d(k − 1),   stride' = stride·s

    Args:
        layers: each a `Window` or a `TransposedWindow`, from the input to the output.
        after: the field of what comes before the first layer, as of merged branches.

    Returns:
        ReceptiveField(size, stride, start), in input positions: numbers, or tuples where any layer has one number
        per axis. Fractions where transposed windows let outputs take turns. Without layers (1, 1, 0).

    Raises:
        TypeError: a layer is no layer, or holds what is no integer.
        ValueError: a number is out of range, the padding depends on the input size ("SAME" may, with a stride),
            or no output reads any input.

    Source: Araujo, Norris and Sim 2019, "Single-path networks"; transposed windows: the head of this file.

    >>> receptive_field([Window(7, 2, 3), Window(3, 2, 1)])
    ReceptiveField(size=11, stride=4, start=-5)
    >>> receptive_field([TransposedWindow(2, stride=2)]).stride
    Fraction(1, 2)
    """
    function = "receptive_field"
    if not isinstance(layers, Iterable):
        wrong_kind(function, "`layers` must be a sequence of layers", f"layers={layers!r}")
    if not (after is None or isinstance(after, ReceptiveField)):
        wrong_kind(function, "`after` must be a ReceptiveField or None", f"after={after!r}")
    stack = [(f"{function}, layers[{i}]", layer) for i, layer in enumerate(layers)]
    told = [_layer_axes(name, layer) for name, layer in stack]
    base = after or ReceptiveField(1, 1, 0)
    axes = len(base.size) if isinstance(base.size, tuple) else next(filter(None, told), None)
    reads = _on_axes(base, axes)
    for name, layer in stack:
        on_axes = _axis_layers(name, layer, axes)
        reads = tuple(below.under(on_axis) for below, on_axis in zip(reads, on_axes, strict=True))
    if not all(any(each.hulls) for each in reads):
        rule = "`layers` must leave an output that reads an input"
        wrong_value(function, rule, f"layers={[layer for _, layer in stack]}")
    return _field(reads, axes)


def merge_receptive_fields(*branches: ReceptiveField) -> ReceptiveField:
    """The field of parallel paths whose outputs are added or concatenated: at each output the hull of theirs.

        first(p) = min over branches of first(p),   last(p) = max over branches of last(p)

    Args:
        branches: the field of each path, from the one input; of a skip connection ``receptive_field([])``, which
            fits any number of axes.

    Returns:
        ReceptiveField, exact as those of the branches are.

    Raises:
        TypeError: a branch is no ReceptiveField.
        ValueError: no branch, or branches that differ in stride or in the number of axes.

    Source: Araujo, Norris and Sim 2019, "Arbitrary computation graphs".

    >>> merge_receptive_fields(receptive_field([]), receptive_field([Window(3, padding=1)]))
    ReceptiveField(size=3, stride=1, start=-1)
    """
    function = "merge_receptive_fields"
    for i, branch in enumerate(branches):
        if not isinstance(branch, ReceptiveField):
            wrong_kind(function, f"`branches[{i}]` must be a ReceptiveField", f"branches[{i}]={branch!r}")
    if not branches:
        wrong_value(function, "`branches` must name at least one", "none")
    counts = [len(branch.size) for branch in branches if isinstance(branch.size, tuple)]
    if len(set(counts)) > 1:
        wrong_value(function, "`branches` must agree in their number of axes", f"{min(counts)} and {max(counts)}")
    axes = counts[0] if counts else None
    parallel = zip(*(_on_axes(branch, axes) for branch in branches), strict=True)
    return _field([_merged(function, axis, paths) for axis, paths in enumerate(parallel)], axes)


def unread_inputs(size: Any, kernel: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """How many inputs no window reads before the first and behind the last that one does, per axis.

        behind = (n + lo + hi − d(k − 1) − 1) mod s − hi,  where that is positive and dilation leaves no gaps

    The stride may leave some over behind; negative padding cuts off at both ends. Their gradient is zero.

    Args:
        size, kernel, stride, padding, dilation: as in `output_size`.

    Returns:
        (before, behind), in positions; a tuple of pairs where `size` or `kernel` is a sequence. Both are the whole
        size where all taps meet padding.

    Raises:
        TypeError, ValueError: as `output_size`.

    Source: Dumoulin and Visin 2016, relationship 14, where what the stride leaves over is called a.

    >>> unread_inputs(10, 3, stride=2)
    (0, 1)
    >>> unread_inputs((6, 8), 3, stride=3, padding=[(-1, 0), (0, 0)])
    ((1, 2), (0, 2))
    """
    function = "unread_inputs"
    axes = axes_of(function, size=size, kernel=kernel)
    n = per_axis(function, "size", size, axes or 1, least=1)
    k = per_axis(function, "kernel", kernel, axes or 1, least=1)
    s, pads, d, m = read_windows(function, n, k, stride, single_axis(axes, padding), dilation)
    pairs = []
    for n_, m_, k_, s_, (lo, _), d_ in zip(n, m, k, s, pads, d, strict=True):
        readers = AxisLayer(True, k_, s_, lo, d_).reads  # the outputs that read an input: the adjoint's r

        def unread(j: int, m: int = m_, readers: Any = readers) -> bool:
            return not any(0 <= p < m for p in readers(j))

        pairs.append(tuple(len(list(takewhile(unread, js))) for js in (range(n_), reversed(range(n_)))))
    return tuple(pairs) if axes else pairs[0]


# ------------------------------------------------------------------------------------------ branches and axes


def _merged(function: str, axis: int, paths: Sequence[Reads]) -> Reads:
    strides = [Fraction(reads.advance, len(reads.hulls)) for reads in paths]
    for i, stride in enumerate(strides):
        if stride != strides[0]:
            rule = "`branches` must have equal strides, or their outputs differ in size"
            wrong_value(function, rule, f"{strides[0]} in branches[0] and {stride} in branches[{i}] on axis {axis}")
    period = lcm(*(len(reads.hulls) for reads in paths))
    hulls = [hull_of(reads.hull(p) for reads in paths) for p in range(period)]
    return Reads.shortest(int(period * strides[0]), hulls)


def _on_axes(field: ReceptiveField, axes: int | None) -> tuple[Reads, ...]:
    return field._reads if isinstance(field.size, tuple) else field._reads * (axes or 1)


def _field(reads: Sequence[Reads], axes: int | None) -> ReceptiveField:
    numbers = [each.numbers() for each in reads]
    field = ReceptiveField(*zip(*numbers, strict=True)) if axes else ReceptiveField(*numbers[0])
    field.__dict__["_reads"] = tuple(reads)
    return field


# ------------------------------------------------------------------------------------------ reading layers


def _layer_axes(function: str, layer: Any) -> int | None:
    """How many axes a layer speaks of; None where it is the same on any number of them."""
    if not isinstance(layer, (Window, TransposedWindow)):
        wrong_kind(function, "a layer must be a Window or a TransposedWindow", f"{layer!r} ({type(layer).__name__})")
    pads = layer.padding
    if is_sequence(pads) and (len(pads) < 2 or (len(pads) == 2 and not any(map(is_sequence, pads)))):
        pads = 0  # (lo, hi) or [(lo, hi)] may be the pair of one axis
    return axes_of(function, **{**vars(layer), "padding": pads})


def _named_lo(function: str, rule: str, axis: int, k: int, s: int, d: int, sizes: Iterable[int]) -> int:
    """lo of a padding given by name, which must be the same for all input sizes."""
    choice = {axis_padding(rule, n, k, s, d)[0] for n in sizes}
    if len(choice) > 1:
        must = f"`padding` must be (lo, hi) pairs here: {rule!r} depends on the input size (see same_padding)"
        got = f"padding={rule!r}, kernel={k}, stride={s}, dilation={d} on spatial axis {axis}"
        wrong_value(function, must, got)
    return choice.pop()


def _axis_layers(function: str, layer: Window | TransposedWindow, axes: int | None) -> list[AxisLayer]:
    """A layer per axis, checked."""
    count, transposed = axes or 1, isinstance(layer, TransposedWindow)
    k = per_axis(function, "kernel", layer.kernel, count, least=1)
    s = per_axis(function, "stride", layer.stride, count, least=1)
    d = per_axis(function, "dilation", layer.dilation, count, least=1)
    extra = per_axis(function, "output_padding", getattr(layer, "output_padding", 0), count, least=0)
    check_output_padding(function, extra, s)
    pads = layer.padding
    if not (isinstance(pads, str) or pads is None):
        lo = [before for before, _ in numeric_padding(function, single_axis(axes, pads), count)]
        return [AxisLayer(transposed, *axis) for axis in zip(k, s, lo, d, strict=True)]
    name = one_of(function, "padding", pads, PADDINGS)
    if name in ("SAME", "SAME_LOWER") and any(extra):
        rule = f"`output_padding` must be 0 with padding={name!r}, whose output size is stride · size"
        wrong_value(function, rule, f"output_padding={max(extra)}")
    # SAME looks at n mod s alone, with n the size of the larger array: that of a transposed layer is s·m.
    lo = [
        _named_lo(function, name, i, k_, s_, d_, [s_] if transposed else range(1, s_ + 1))
        for i, (k_, s_, d_) in enumerate(zip(k, s, d, strict=True))
    ]
    return [AxisLayer(transposed, *axis) for axis in zip(k, s, lo, d, strict=True)]
