"""Sizes of convolutions, in plain integers: how many outputs an input gives, and which inputs give an output.

Letters, per spatial axis: n input size, k kernel size, s stride, d dilation, (lo, hi) padding before and after,
m output size; all in positions. A window covers d(k − 1) + 1 positions.

This file imports no jax. The symbolic dimensions of ``jax.export`` pass through it like integers.

Source: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from jaxconv.sizes.arguments import Size, holds, integer, is_sequence, one_of, per_axis, wrong_kind, wrong_value

Pair = tuple[int, int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Layout = Literal["channels_first", "channels_last"]

PADDINGS = ("VALID", "SAME", "SAME_LOWER", "CAUSAL", "FULL")
LAYOUTS = ("channels_first", "channels_last")


def window_size(k: int, d: int) -> int:
    """Positions that a window covers, d(k − 1) + 1."""
    return d * (k - 1) + 1


def axis_output(n: Size, k: int, s: int, lo: int, hi: int, d: int) -> Size:
    """m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1, unchecked."""
    return (n + lo + hi - d * (k - 1) - 1) // s + 1


def axis_transposed(function: str, axis: int, m: Size, k: int, s: int, lo: Size, hi: Size, e: int, d: int) -> Size:
    """n = s(m − 1) + d(k − 1) + 1 − lo − hi + e, with e the output padding; raises where nothing is left."""
    n = s * (m - 1) + window_size(k, d) - lo - hi + e
    if not holds(lambda: n >= 1):
        rule = "`padding` must leave at least one position of the output"
        wrong_value(function, rule, f"an output of {n} on spatial axis {axis} (size={m}, padding=({lo}, {hi}))")
    return n


def axis_inputs(m: int, k: int, s: int, lo: int, hi: int, d: int, same: bool) -> range:
    """Every n ≥ 1 with `axis_output` m; where the padding follows n so that m = ⌈n/s⌉, `same`, with that."""
    first = s * (m - 1) + (1 if same else window_size(k, d) - lo - hi)
    last = first + s - 1
    return range(max(first, 1), last + 1) if m >= 1 and last >= 1 else range(0)


def _same_pair(n: Size, k: int, s: int, d: int, lower: bool) -> tuple[Size, Size]:
    """The padding that gives m = ⌈n/s⌉; the odd position goes behind, or before where `lower`."""
    m = -(-n // s)
    needed = (m - 1) * s + window_size(k, d) - n
    total = max(needed, 0)
    lo = (total + 1) // 2 if lower else total // 2
    return lo, total - lo


def axis_padding(rule: str, n: Size, k: int, s: int, d: int) -> tuple[Size, Size]:
    """(lo, hi) of one axis for a padding given by name."""
    reach = d * (k - 1)
    match rule:
        case "SAME" | "SAME_LOWER":
            return _same_pair(n, k, s, d, rule == "SAME_LOWER")
        case "CAUSAL":
            return reach, 0
        case "FULL":
            return reach, reach
    return 0, 0


def numeric_padding(function: str, padding: object, axes: int) -> tuple[Pair, ...]:
    """Padding given in numbers (one, one per axis, one (lo, hi) per axis) as one (lo, hi) per axis."""
    if not is_sequence(padding):
        p = integer(function, "padding", padding)
        return ((p, p),) * axes
    entries = tuple(padding)
    if len(entries) != axes:
        rule = f"`padding` must be one integer, one per spatial axis ({axes}) or one (lo, hi) pair per spatial axis"
        pair = axes == 1 and len(entries) == 2 and not any(map(is_sequence, entries))
        hint = f": write [{entries}] for one (lo, hi) pair" if pair else ""
        wrong_value(function, rule, f"padding={padding!r}{hint}")
    pairs = []
    for i, entry in enumerate(entries):
        if is_sequence(entry) and len(entry) != 2:
            wrong_value(function, f"`padding[{i}]` must be one integer or one (lo, hi) pair", f"padding={padding!r}")
        lo, hi = per_axis(function, f"padding[{i}]", entry, 2)
        pairs.append((lo, hi))
    return tuple(pairs)


def padding_pairs(
    function: str, padding: object, n: Sequence[Size], k: Sequence[int], s: Sequence[int], d: Sequence[int]
) -> tuple[tuple[Size, Size], ...]:
    """Padding as one (lo, hi) per axis, whichever way it was given."""
    if isinstance(padding, str) or padding is None:
        rule = one_of(function, "padding", padding, PADDINGS)
        return tuple(axis_padding(rule, *axis) for axis in zip(n, k, s, d, strict=True))
    return numeric_padding(function, padding, len(n))


def require_fit(function: str, axis: int, n: Size, k: int, lo: Size, hi: Size, d: int) -> None:
    """Raise where a window is wider than the padded input: there would be no output at all."""
    window, have = window_size(k, d), n + lo + hi
    if holds(lambda: have >= window):
        return
    missing = window - have
    widest = (have - 1) // d + 1 if have >= 1 else 0
    shorter = f" or use a kernel ≤ {widest}" if widest >= 1 else ""
    rule = f"`kernel` must fit into the padded input: a window of {window} needs at least {window} positions"
    numbers = f"(size={n}, padding=({lo}, {hi}), kernel={k}, dilation={d})"
    wrong_value(function, rule, f"{have} on spatial axis {axis} {numbers}: raise padding by {missing}{shorter}")


def axes_of(function: str, **values: object) -> int | None:
    """How many axes the arguments speak of: the length of the first sequence; None where all are single numbers."""
    for name, value in values.items():
        if is_sequence(value):
            if len(value) == 0:
                wrong_value(function, f"`{name}` must name at least one axis", f"{name}={value!r}")
            return len(value)
    return None


def single_axis(axes: int | None, padding: object) -> object:
    """Where the axis is a single number, so is its padding: (lo, hi) then means one pair, not two axes."""
    if axes is None and is_sequence(padding) and len(padding) == 2 and not any(is_sequence(p) for p in padding):
        return [padding]
    return padding


def read_windows(
    function: str, n: Sequence[Size], k: Sequence[int], stride: object, padding: object, dilation: object
) -> tuple[tuple[int, ...], tuple[tuple[Size, Size], ...], tuple[int, ...], tuple[Size, ...]]:
    """Stride, padding, dilation and output size, each per axis; raises where a window does not fit."""
    s = per_axis(function, "stride", stride, len(n), least=1)
    d = per_axis(function, "dilation", dilation, len(n), least=1)
    pads = padding_pairs(function, padding, n, k, s, d)
    for axis, (n_, k_, (lo, hi), d_) in enumerate(zip(n, k, pads, d, strict=True)):
        require_fit(function, axis, n_, k_, lo, hi, d_)
    m = tuple(axis_output(n_, k_, s_, lo, hi, d_) for n_, k_, s_, (lo, hi), d_ in zip(n, k, s, pads, d, strict=True))
    return s, pads, d, m


def output_size(size: Any, kernel: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Size of a convolution's output, per axis.

        m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1

    Args:
        size: n, input size in positions: one integer, or one per axis.
        kernel: k, kernel size: likewise.
        stride: s, positions between two windows, at least 1.
        padding: positions added before and after (negative: cut off): an integer, one per axis, one (lo, hi)
            per axis, "VALID", "SAME", "SAME_LOWER", "CAUSAL" or "FULL". For a single axis also (lo, hi).
        dilation: d, positions between two taps of a window, at least 1.

    Returns:
        m, at least 1: an int, or a tuple where `size` or `kernel` is a sequence.

    Raises:
        TypeError: an argument is no integer (a bool is none).
        ValueError: a number is out of range, or the window is wider than the padded input.

    Source: Dumoulin and Visin 2016, relationship 6; the dilated form, section 5.1.

    >>> output_size((10, 11), 3, stride=2)
    (4, 5)
    >>> output_size(5, 3, stride=2)
    2
    """
    function = "output_size"
    axes = axes_of(function, size=size, kernel=kernel)
    n = per_axis(function, "size", size, axes or 1, least=1, symbolic=True)
    k = per_axis(function, "kernel", kernel, axes or 1, least=1)
    *_, m = read_windows(function, n, k, stride, single_axis(axes, padding), dilation)
    return m if axes else m[0]


def transpose_output_size(
    size: Any, kernel: Any, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1
) -> Any:
    """Size of a transposed convolution's output, per axis: the input size of the convolution it is the adjoint of.

        n = s(m − 1) + d(k − 1) + 1 − lo − hi + output_padding

    Several input sizes n give one output size m (see `input_sizes`); `output_padding` picks one of the s.

    Args:
        size: m, size that goes into the transposed convolution: one integer, or one per axis.
        kernel, stride, padding, dilation: those of the convolution, as in `output_size`. With "SAME" and
            "SAME_LOWER" n is s·m.
        output_padding: 0 ≤ output_padding < stride.

    Returns:
        n, at least 1: an int, or a tuple where `size` or `kernel` is a sequence.

    Raises:
        TypeError, ValueError: as `output_size`; also where nothing is left after the padding is cut off.

    Source: Dumoulin and Visin 2016, relationship 14.

    >>> transpose_output_size(4, 3, stride=2)
    9
    >>> transpose_output_size((4, 4), 3, stride=2, padding=1, output_padding=1)
    (8, 8)
    """
    function = "transpose_output_size"
    axes = axes_of(function, size=size, kernel=kernel)
    count = axes or 1
    m = per_axis(function, "size", size, count, least=1, symbolic=True)
    k = per_axis(function, "kernel", kernel, count, least=1)
    s = per_axis(function, "stride", stride, count, least=1)
    d = per_axis(function, "dilation", dilation, count, least=1)
    n = transposed(function, m, k, s, single_axis(axes, padding), output_padding, d)
    return n if axes else n[0]


def transposed(
    function: str,
    m: Sequence[Size],
    k: Sequence[int],
    s: Sequence[int],
    padding: object,
    output_padding: object,
    d: Sequence[int],
) -> tuple[Size, ...]:
    """n per axis of a transposed convolution, from arguments already read but for the two paddings."""
    extra = per_axis(function, "output_padding", output_padding, len(m), least=0)
    if isinstance(padding, str) and padding in ("SAME", "SAME_LOWER"):
        if any(extra):
            rule = f"`output_padding` must be 0 with padding={padding!r}, whose output size is stride · size"
            wrong_value(function, rule, f"output_padding={output_padding!r}")
        return tuple(m_ * s_ for m_, s_ in zip(m, s, strict=True))
    pads = padding_pairs(function, padding, m, k, s, d)
    check_output_padding(function, extra, s)
    return tuple(
        axis_transposed(function, axis, m_, k_, s_, lo, hi, e, d_)
        for axis, (m_, k_, s_, (lo, hi), e, d_) in enumerate(zip(m, k, s, pads, extra, d, strict=True))
    )


def check_output_padding(function: str, extra: Sequence[int], s: Sequence[int]) -> None:
    for axis, (e, s_) in enumerate(zip(extra, s, strict=True)):
        if e >= s_:
            rule = "`output_padding` must be smaller than the stride"
            wrong_value(function, rule, f"output_padding={e}, stride={s_} on spatial axis {axis}")


def input_sizes(output: Any, kernel: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Every input size that gives `output`, as a range: the inverse of `output_size`, per axis.

        s(m − 1) + d(k − 1) + 1 − lo − hi  ≤  n  ≤  the same + s − 1,   n ≥ 1
        with "SAME" and "SAME_LOWER"       s(m − 1) + 1  ≤  n  ≤  s·m

    Args:
        output: m, output size: one integer, or one per axis.
        kernel, stride, padding, dilation: as in `output_size`.

    Returns:
        A range, empty where no input gives `output`; a tuple of ranges where `output` or `kernel` is a sequence.

    Raises:
        TypeError, ValueError: as `output_size`; `output` may be 0 (no input gives it).

    Source: Dumoulin and Visin 2016, relationship 6, solved for i.

    >>> input_sizes(4, 3, stride=2)
    range(9, 11)
    >>> input_sizes(1, 3, padding=2)
    range(0, 0)
    """
    function = "input_sizes"
    axes = axes_of(function, output=output, kernel=kernel)
    m = per_axis(function, "output", output, axes or 1, least=0)
    k = per_axis(function, "kernel", kernel, axes or 1, least=1)
    s = per_axis(function, "stride", stride, len(m), least=1)
    d = per_axis(function, "dilation", dilation, len(m), least=1)
    same = isinstance(padding, str) and padding in ("SAME", "SAME_LOWER")
    pads = padding_pairs(function, "VALID" if same else single_axis(axes, padding), m, k, s, d)
    axes_ = zip(m, k, s, pads, d, strict=True)
    ranges = tuple(axis_inputs(m_, k_, s_, lo, hi, d_, same) for m_, k_, s_, (lo, hi), d_ in axes_)
    return ranges if axes else ranges[0]


def same_padding(size: Any, kernel: Any, *, stride: Any = 1, dilation: Any = 1, lower: bool = False) -> Any:
    """The padding (lo, hi) that gives ⌈n/s⌉ outputs, per axis.

        lo + hi = max((⌈n/s⌉ − 1)·s + d(k − 1) + 1 − n, 0),   lo = ⌊(lo + hi)/2⌋

    Args:
        size, kernel, stride, dilation: as in `output_size`.
        lower: the odd position goes before instead of behind ("SAME_LOWER").

    Returns:
        (lo, hi); a tuple of pairs where `size` or `kernel` is a sequence.

    Raises:
        TypeError, ValueError: as `output_size`.

    Source: the padding named SAME by TensorFlow, SAME_UPPER and SAME_LOWER by ONNX's Conv.

    >>> same_padding(5, 4)
    (1, 2)
    >>> same_padding(5, 4, lower=True)
    (2, 1)
    """
    function = "same_padding"
    if not isinstance(lower, bool):
        wrong_kind(function, "`lower` must be True or False", f"lower={lower!r}")
    axes = axes_of(function, size=size, kernel=kernel)
    n = per_axis(function, "size", size, axes or 1, least=1, symbolic=True)
    k = per_axis(function, "kernel", kernel, axes or 1, least=1)
    s = per_axis(function, "stride", stride, len(n), least=1)
    d = per_axis(function, "dilation", dilation, len(n), least=1)
    pairs = padding_pairs(function, "SAME_LOWER" if lower else "SAME", n, k, s, d)
    return pairs if axes else pairs[0]
