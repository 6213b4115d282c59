"""`jaxconv size`: a chain of layers, its sizes with the numbers put into the formula, its cost and receptive field.

A layer is written as words, in any order after the kind:

    64 7x7 s2 p3        a convolution with 64 filters
    pool 3x3 s2 p1      pooling: the channels stay
    up 32 4x4 s2 p1     a transposed convolution with 32 filters; o1 is its output padding

    7x7, 7x1 or k7      kernel, per axis or one for all
    s2 s2x1             stride              d2          dilation            g4      groups
    p3 p3x0             padding             p1:2        1 before, 2 behind  pSAME   padding by name

Letters: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size. Imports no jax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from jaxconv.arguments import wrong_value
from jaxconv.cost import conv_cost
from jaxconv.receptive import ReceptiveField, TransposedWindow, Window, receptive_field
from jaxconv.sizes import PADDINGS, input_sizes, output_size, padding_pairs, transpose_output_size, window_size

FUNCTION = "jaxconv size"


@dataclass(frozen=True)
class Layer:
    """One layer: `kind` is "conv", "pool" or "up"; the rest one number per axis, padding as sizes.py takes it."""

    text: str
    kind: str
    filters: int | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any = 0
    dilation: tuple[int, ...] = (1,)
    groups: int = 1
    output_padding: tuple[int, ...] = (0,)

    def window(self) -> Window | TransposedWindow:
        if self.kind == "up":
            return TransposedWindow(self.kernel, self.stride, self.padding, self.dilation, self.output_padding)
        return Window(self.kernel, self.stride, self.padding, self.dilation)


@dataclass(frozen=True)
class Step:
    """What a layer makes of a size: shape after it, formulas with the numbers put in, multiply-adds, weights, field."""

    layer: Layer
    shape: tuple[int, ...]
    formulas: tuple[str, ...]
    multiply_adds: int
    weights: int
    field: ReceptiveField | None


@dataclass
class _Words:
    """The words of one layer, read one by one."""

    text: str
    axes: int
    found: dict[str, Any] = field(default_factory=dict)

    def fail(self, rule: str, got: str) -> None:
        wrong_value(FUNCTION, f"layer {self.text!r}: {rule}", got)

    def put(self, name: str, value: Any) -> None:
        if name in self.found:
            self.fail(f"`{name}` must be given once", f"{self.found[name]!r} and {value!r}")
        self.found[name] = value

    def numbers(self, name: str, text: str, least: int) -> tuple[int, ...]:
        values = tuple(int(number) for number in text.split("x"))
        if len(values) not in (1, self.axes):
            self.fail(f"`{name}` must be one number or one per axis ({self.axes})", text)
        if min(values) < least:
            self.fail(f"`{name}` must be at least {least}", text)
        return values * self.axes if len(values) == 1 else values

    def padding(self, text: str) -> Any:
        if text in PADDINGS:
            return text
        pairs = []
        for part in text.split("x"):
            lo, _, hi = part.partition(":")
            pairs.append((int(lo), int(hi or lo)))
        if len(pairs) not in (1, self.axes):
            self.fail(f"`padding` must be one number or one per axis ({self.axes})", text)
        return pairs * self.axes if len(pairs) == 1 else pairs


_INTEGERS = r"-?\d+(?:x-?\d+)*"
_PADDING = r"-?\d+(?::-?\d+)?(?:x-?\d+(?::-?\d+)?)*|" + "|".join(PADDINGS)
_GRAMMAR: tuple[tuple[str, Callable[[_Words, str], None]], ...] = (
    (r"conv|pool|up", lambda w, t: w.put("kind", t)),
    (rf"k({_INTEGERS})|(\d+(?:x\d+)+)", lambda w, t: w.put("kernel", w.numbers("kernel", t, 1))),
    (rf"s({_INTEGERS})", lambda w, t: w.put("stride", w.numbers("stride", t, 1))),
    (rf"d({_INTEGERS})", lambda w, t: w.put("dilation", w.numbers("dilation", t, 1))),
    (rf"o({_INTEGERS})", lambda w, t: w.put("output_padding", w.numbers("output_padding", t, 0))),
    (rf"p({_PADDING})", lambda w, t: w.put("padding", w.padding(t))),
    (r"g(\d+)", lambda w, t: w.put("groups", w.numbers("groups", t, 1)[0])),
    (r"(\d+)", lambda w, t: w.put("filters", w.numbers("filters", t, 1)[0])),
)


def read_shape(text: str) -> tuple[int, ...]:
    """The text 3x224x224 as (3, 224, 224): channels, then one or more spatial axes."""
    if not re.fullmatch(r"\d+(x\d+)+", text):
        wrong_value(FUNCTION, "the input must be channels and sizes, like 3x224x224", repr(text))
    shape = tuple(map(int, text.split("x")))
    if min(shape) < 1:
        wrong_value(FUNCTION, "the input's channels and sizes must be at least 1", repr(text))
    return shape


def read_layer(text: str, axes: int) -> Layer:
    """A layer from its words.

    Raises:
        ValueError: a word is unknown, stands twice, or has numbers for another count of axes.
    """
    words = _Words(text, axes)
    for word in text.replace("×", "x").split():
        for pattern, put in _GRAMMAR:
            match = re.fullmatch(pattern, word)
            if match:
                put(words, next((group for group in match.groups() if group is not None), word))
                break
        else:
            words.fail("a word must be a number of filters, a kernel 3x3, or k s p d g o with numbers", repr(word))
    found = words.found
    kind = found.get("kind", "conv")
    if "kernel" not in found:
        words.fail("a kernel must be given, like 3x3 or k3", repr(text))
    if (kind == "pool") == ("filters" in found):
        must = "have no number of filters" if kind == "pool" else "have a number of filters, like 64"
        words.fail(f"`{kind}` must {must}", repr(text))
    if "groups" in found and kind == "pool":
        words.fail("`pool` must have no groups: every channel is pooled by itself", repr(text))
    if "output_padding" in found and kind != "up":
        words.fail("`output_padding` must go with a transposed convolution, up", repr(text))
    once = (1,) * axes
    return Layer(
        text,
        kind,
        found.get("filters"),
        found["kernel"],
        found.get("stride", found["kernel"] if kind == "pool" else once),
        found.get("padding", [(0, 0)] * axes),
        found.get("dilation", once),
        found.get("groups", 1),
        found.get("output_padding", (0,) * axes),
    )


def smallest_input(layers: Sequence[Layer], axis: int) -> int:
    """The smallest size on one axis from which every layer still has an output."""
    needed = 1
    for layer in reversed(layers):
        options: dict[str, Any] = {
            "stride": layer.stride[axis],
            "dilation": layer.dilation[axis],
            "padding": layer.padding if isinstance(layer.padding, str) else layer.padding[axis],
        }
        k, m = layer.kernel[axis], needed
        if layer.kind == "up":
            needed = _smallest_transposed(m, k, layer.output_padding[axis], **options)
        else:
            while not (sizes := input_sizes(m, k, **options)):  # a wide padding may skip small outputs
                m += 1
            needed = sizes.start
    return needed


def _smallest_transposed(n: int, k: int, extra: int, *, stride: int, padding: Any, dilation: int) -> int:
    """The smallest m with s(m − 1) + d(k − 1) + 1 − lo − hi + o ≥ n, or s·m ≥ n with "SAME"."""
    if padding in ("SAME", "SAME_LOWER"):
        return -(-n // stride)
    ((lo, hi),) = padding_pairs(
        FUNCTION, padding if isinstance(padding, str) else [padding], [n], [k], [stride], [dilation]
    )
    return max(1, -(-(n + lo + hi - window_size(k, dilation) - extra) // stride) + 1)


def _formulas(layer: Layer, sizes: Sequence[int], after: Sequence[int]) -> Iterator[str]:
    """The size formula with the numbers put in, one line per axis, equal axes told once."""
    n, k, s, d = sizes, layer.kernel, layer.stride, layer.dilation
    if layer.kind == "up" and layer.padding in ("SAME", "SAME_LOWER"):
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
        else:
            lines = [
                f"⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 = "
                f"⌊({n_} + {_signed(lo)} + {_signed(hi)} − {d_}·({k_} − 1) − 1)/{s_}⌋ + 1 = {a}"
                for n_, k_, s_, (lo, hi), d_, _, a in axes
            ]
    yield from dict.fromkeys(lines)


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
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        try:
            if layer.kind == "up":
                after = transpose_output_size(sizes, layer.kernel, output_padding=layer.output_padding, **options)
            else:
                after = output_size(sizes, layer.kernel, **options)
            filters = channels if layer.filters is None else layer.filters
            cost = _cost(layer, channels, filters, sizes, after)
        except ValueError as error:
            why = str(error).split(": ", 1)[1]
            came, advice = "x".join(map(str, shape)), ""
            if "must fit" in why or "must leave at least one position" in why:
                smallest = "x".join(str(smallest_input(layers, axis)) for axis in range(len(sizes)))
                advice = f" The smallest input that works for the whole chain: {smallest}."
            raise ValueError(f"{FUNCTION}: layer {number}, {layer.text!r}, gets {came}: {why}{advice}") from None
        windows.append(_resolved(layer, sizes).window())
        shape = (filters, *after)
        weights = 0 if layer.kind == "pool" else channels // layer.groups * filters * prod(layer.kernel)
        yield Step(layer, shape, tuple(_formulas(layer, sizes, after)), cost, weights, _field(windows))


def _resolved(layer: Layer, sizes: tuple[int, ...]) -> Layer:
    """The layer with its padding in numbers: what a name like SAME comes to at these sizes."""
    if layer.kind == "up" or not isinstance(layer.padding, str):
        return layer
    pads = padding_pairs(FUNCTION, layer.padding, sizes, layer.kernel, layer.stride, layer.dilation)
    return replace(layer, padding=pads)


def _cost(layer: Layer, channels: int, filters: int, sizes: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Multiply-adds that meet an input, for one example; of pooling, the inputs read."""
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    if layer.kind == "pool":
        w_shape, groups = (channels, 1, *layer.kernel), channels
    else:
        inputs, outputs = (filters, channels) if layer.kind == "up" else (channels, filters)
        for name, count in (("input", channels), ("output", filters)):
            if count % layer.groups:
                rule = f"`groups` must divide the {name} channels"
                wrong_value(FUNCTION, rule, f"groups={layer.groups}, channels={count}")
        w_shape, groups = (outputs, inputs // layer.groups, *layer.kernel), layer.groups
    x_shape = (filters, *after) if layer.kind == "up" else (channels, *sizes)
    return conv_cost(x_shape, w_shape, groups=groups, **options).value.multiply_adds


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
    total_cost = total_weights = 0
    for number, step in enumerate(walk(shape, layers), 1):
        total_cost += step.multiply_adds
        total_weights += step.weights
        yield f"{number:>2}  {step.layer.text:<22} → {' × '.join(map(str, step.shape))}"
        left = "n" if step.layer.kind == "up" else "m"
        yield from (f"      {left} = {formula}" for formula in step.formulas)
        yield f"      {step.multiply_adds:,} multiply-adds, {step.weights:,} weights"
        if step.field is None:
            yield f"      receptive field: {_NO_FIELD}"
        else:
            size, stride, start = (_per_axis(numbers) for numbers in step.field)
            yield f"      receptive field: {size} inputs, moving by {stride}, the first from {start}"
    yield f"total    {total_cost:,} multiply-adds, {total_weights:,} weights"


def _per_axis(numbers: Any) -> str:
    if not isinstance(numbers, tuple):
        return str(numbers)
    return " × ".join(map(str, dict.fromkeys(numbers) if len(set(numbers)) == 1 else numbers))
