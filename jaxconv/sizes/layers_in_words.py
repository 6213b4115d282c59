"""`jaxconv size`: a chain of layers, its sizes with the numbers put into the formula, its cost and receptive field.

Letters: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size. Imports no jax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from jaxconv.sizes.arguments import wrong_value
from jaxconv.sizes.arithmetic import (
    axis_padding,
    input_sizes,
    output_size,
    padding_pairs,
    transpose_output_size,
    window_size,
)
from jaxconv.sizes.cost import conv_cost
from jaxconv.sizes.layer_words import FUNCTION, GLOBAL, Layer
from jaxconv.sizes.receptive import ReceptiveField, TransposedWindow, Window, receptive_field
from jaxconv.sizes.shapes import check_groups


@dataclass(frozen=True)
class Step:
    """What a layer makes of a size: shape after it, formulas with the numbers put in, multiply-adds, weights, field.

    `multiply_adds` are those that meet an input, `with_padding` those that meet padding too.
    """

    layer: Layer
    shape: tuple[int, ...]
    formulas: tuple[str, ...]
    multiply_adds: int
    with_padding: int
    weights: int
    field: ReceptiveField | None


def smallest_input(layers: Sequence[Layer], axis: int) -> int | None:
    """The smallest size on one axis from which every layer still has an output; None where there is none."""
    needed = 1
    for layer in reversed(layers):
        if layer.kernel is GLOBAL:
            if needed > 1:
                return None
            continue  # any size will do
        options: dict[str, Any] = {
            "stride": layer.stride[axis],
            "dilation": layer.dilation[axis],
            "padding": layer.padding if isinstance(layer.padding, str) else layer.padding[axis],
        }
        k, m = layer.kernel[axis], needed
        if layer.transposed:
            needed = _smallest_transposed(m, k, layer.output_padding[axis], **options)
        elif layer.ceil:
            needed = _smallest_rounded_up(m, k, **options)
        else:
            while not (sizes := input_sizes(m, k, **options)):  # a wide padding may skip small outputs
                m += 1
            needed = sizes.start
    return needed


def _smallest_transposed(n: int, k: int, extra: int, *, stride: int, padding: Any, dilation: int) -> int:
    """The smallest m with s(m − 1) + d(k − 1) + 1 − lo − hi + o ≥ n, or s·m ≥ n with "SAME"."""
    if padding in ("SAME", "SAME_LOWER"):
        return -(-n // stride)
    lo, hi = _pair(padding, k, dilation)
    return max(1, -(-(n + lo + hi - window_size(k, dilation) - extra) // stride) + 1)


def _smallest_rounded_up(m: int, k: int, *, stride: int, padding: Any, dilation: int) -> int:
    """The smallest n with ⌈(n + lo + hi − d(k − 1) − 1)/s⌉ + 1 ≥ m and s(m − 1) < n + lo, or ⌈n/s⌉ ≥ m with "SAME"."""
    if padding in ("SAME", "SAME_LOWER"):
        return stride * (m - 1) + 1
    lo, hi = _pair(padding, k, dilation)
    return max(1, stride * (m - 2) + 1 + window_size(k, dilation) - lo - hi, stride * (m - 1) + 1 - lo)


def _pair(padding: Any, k: int, d: int) -> tuple[int, int]:
    """(lo, hi) of one axis, of a padding that does not look at the sizes."""
    return axis_padding(padding, 1, k, 1, d) if isinstance(padding, str) else padding


def _rounded_up(layer: Layer, sizes: Sequence[int], pads: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The padding that makes of the size rounded up the size as ever: a window more where some input is left over.

    No window begins in the padding behind. Frameworks agree: a last window that sees no input is left out.
    """
    made = []
    axes = zip(sizes, layer.kernel, layer.stride, pads, layer.dilation, strict=True)
    for axis, (n, k, s, (lo, hi), d) in enumerate(axes):
        window = window_size(k, d)
        m = min(-((window - n - lo - hi) // s), (n + lo - 1) // s) + 1
        if m < 1:
            rule = f"`kernel` must fit into the padded input but for {s - 1} positions, since its size is rounded up"
            numbers = f"(size={n}, padding={(lo, hi)}, kernel={k}, dilation={d}, stride={s})"
            wrong_value(FUNCTION, f"{rule}: a window of {window}", f"{n + lo + hi} on spatial axis {axis} {numbers}")
        made.append((lo, s * (m - 1) + window - n - lo))
    return made


def _formulas(layer: Layer, sizes: Sequence[int], after: Sequence[int]) -> Iterator[str]:
    """The size formula with the numbers put in, one line per axis, equal axes told once."""
    n, k, s, d = sizes, sizes if layer.kernel is GLOBAL else layer.kernel, layer.stride, layer.dilation
    if layer.kind == "upsample" or (layer.kind == "up" and layer.padding in ("SAME", "SAME_LOWER")):
        lines = [f"s·m = {s_}·{n_} = {a}" for n_, s_, a in zip(n, s, after, strict=True)]
    else:
        pads = padding_pairs(FUNCTION, layer.padding, n, k, s, d)
        axes = zip(n, k, s, pads, d, layer.output_padding, after, strict=True)
        if layer.kind == "up":
            lines = [
                f"s(m − 1) + d(k − 1) + 1 − lo − hi + o = "
                f"{s_}·({n_} − 1) + {d_}·({k_} − 1) + 1 − {_signed(lo)} − {_signed(hi)} + {o} = {a}"
                for n_, k_, s_, (lo, hi), d_, o, a in axes
            ]
        elif layer.ceil:
            lines = [_formula_rounded_up(*axis) for axis in axes]
        else:
            lines = [
                f"⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 = "
                f"⌊({n_} + {_signed(lo)} + {_signed(hi)} − {d_}·({k_} − 1) − 1)/{s_}⌋ + 1 = {a}"
                for n_, k_, s_, (lo, hi), d_, _, a in axes
            ]
    yield from dict.fromkeys(lines)


def _formula_rounded_up(n: int, k: int, s: int, pads: tuple[int, int], d: int, _: int, after: int) -> str:
    lo, hi = pads
    numbers = f"{n} + {_signed(lo)} + {_signed(hi)} − {d}·({k} − 1) − 1"
    less = -((window_size(k, d) - n - lo - hi) // s) + 1 - after
    if not less:
        return f"⌈(n + lo + hi − d(k − 1) − 1)/s⌉ + 1 = ⌈({numbers})/{s}⌉ + 1 = {after}"
    rest = f"rounded up it were {after + less}, but no window begins in the padding behind"
    return f"⌊(n + lo − 1)/s⌋ + 1 = ⌊({n} + {_signed(lo)} − 1)/{s}⌋ + 1 = {after}: {rest}"


def _signed(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def walk(shape: tuple[int, ...], layers: Sequence[Layer]) -> Iterator[Step]:
    """Every layer's outcome, from the input on.

    Raises:
        ValueError: a layer does not fit what comes to it; says which, and the smallest input that works.
    """
    windows: list[Window | TransposedWindow] = []
    for number, layer in enumerate(layers, 1):
        channels, sizes = shape[0], shape[1:]
        try:
            resolved = _resolved(layer, sizes)
            options = {"stride": layer.stride, "padding": resolved.padding, "dilation": layer.dilation}
            if layer.transposed:
                after = transpose_output_size(sizes, layer.kernel, output_padding=layer.output_padding, **options)
            else:
                after = output_size(sizes, resolved.kernel, **options)
            filters = channels if layer.filters is None else layer.filters
            cost = _cost(resolved, channels, filters, sizes, after)
        except ValueError as error:
            why = str(error).split(": ", 1)[1]
            came, advice = "x".join(map(str, shape)), ""
            if "must fit" in why or "must leave at least one position" in why:
                smallest = [smallest_input(layers, axis) for axis in range(len(sizes))]
                advice = f" The smallest input that works for the whole chain: {'x'.join(map(str, smallest))}."
                if None in smallest:
                    advice = " No input works for the whole chain: a global pooling leaves a size of 1."
            raise ValueError(f"{FUNCTION}: layer {number}, {layer.text!r}, gets {came}: {why}{advice}") from None
        windows.append(resolved.window())
        shape = (filters, *after)
        weights = channels // layer.groups * filters * prod(layer.kernel) if layer.filters else 0
        yield Step(layer, shape, tuple(_formulas(layer, sizes, after)), *cost, weights, _field(windows))


def _resolved(layer: Layer, sizes: tuple[int, ...]) -> Layer:
    """The layer with its padding and its kernel in numbers: what SAME, ceil and global come to at these sizes."""
    if layer.kernel is GLOBAL:
        return replace(layer, kernel=sizes)
    if layer.transposed or not (layer.ceil or isinstance(layer.padding, str)):
        return layer
    pads = padding_pairs(FUNCTION, layer.padding, sizes, layer.kernel, layer.stride, layer.dilation)
    return replace(layer, padding=_rounded_up(layer, sizes, pads) if layer.ceil else pads)


def _cost(layer: Layer, channels: int, filters: int, sizes: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds for one example, those that meet an input and all; of pooling, the inputs read.

    Where inputs are but repeated there are none.
    """
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if layer.kind == "upsample" and layer.kernel == layer.stride:
        return 0, 0
    if layer.filters is None:
        w_shape, groups = (channels, 1, *layer.kernel), channels
    else:
        inputs, outputs = (filters, channels) if layer.kind == "up" else (channels, filters)
        check_groups(FUNCTION, layer.groups, channels, filters)
        w_shape, groups = (outputs, inputs // layer.groups, *layer.kernel), layer.groups
    x_shape = (filters, *after) if layer.transposed else (channels, *sizes)
    cost = conv_cost(x_shape, w_shape, groups=groups, **options).value
    return cost.multiply_adds, cost.multiply_adds_with_padding


def _field(windows: Sequence[Window | TransposedWindow]) -> ReceptiveField | None:
    """The receptive field of one output, or None where there is none to tell: `_NO_FIELD`."""
    try:
        return receptive_field(windows)
    except ValueError:
        return None


_NO_FIELD = "none: a transposed layer with SAME has one for each input size, or no output reads an input"


def lines(shape: tuple[int, ...], layers: Sequence[Layer]) -> Iterator[str]:
    """What `jaxconv size` prints."""
    yield f"input    {' × '.join(map(str, shape))}"
    total_cost = total_padded = total_weights = 0
    for number, step in enumerate(walk(shape, layers), 1):
        total_cost += step.multiply_adds
        total_padded += step.with_padding
        total_weights += step.weights
        yield f"{number:>2}  {step.layer.text:<22} → {' × '.join(map(str, step.shape))}"
        left = "n" if step.layer.transposed else "m"
        yield from (f"      {left} = {formula}" for formula in step.formulas)
        yield f"      {_counted(step.multiply_adds, step.with_padding)}, {step.weights:,} weights"
        if step.field is None:
            yield f"      receptive field: {_NO_FIELD}"
        else:
            size, stride, start = (_per_axis(numbers) for numbers in step.field)
            yield f"      receptive field: {size} inputs, moving by {stride}, the first from {start}"
    yield f"total    {_counted(total_cost, total_padded)}, {total_weights:,} weights"


def _counted(multiply_adds: int, with_padding: int) -> str:
    """Both counts where they differ: most tools count the taps on padding, too."""
    more = "" if with_padding == multiply_adds else f" ({with_padding:,} with the taps on padding)"
    return f"{multiply_adds:,} multiply-adds{more}"


def _per_axis(numbers: Any) -> str:
    if not isinstance(numbers, tuple):
        return str(numbers)
    return " × ".join(map(str, dict.fromkeys(numbers) if len(set(numbers)) == 1 else numbers))
