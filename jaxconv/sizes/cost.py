"""What a convolution and its two gradients cost: multiply-adds and bytes, counted from the shapes alone.

The three maps are contractions of one trilinear form, so each adds up the same products, one for every term of

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

and what differs is only which arrays are read and which one is written. Letters as in `arithmetic`.
This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from jaxconv.sizes.arguments import integer, one_of
from jaxconv.sizes.arithmetic import Layout
from jaxconv.sizes.shapes import read_call, read_shape

ITEM_SIZES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16}


class OperationCost(NamedTuple):
    """The least that one of the three maps takes.

    Attributes:
        multiply_adds: products of a tap and a real input element, each with its addition; complex ones count as one.
        multiply_adds_with_padding: the same with the products that meet padding.
        bytes_read, bytes_written: each array once.

    >>> OperationCost(13, 15, 32, 20).bytes_read
    32
    """

    multiply_adds: int
    multiply_adds_with_padding: int
    bytes_read: int
    bytes_written: int


class ConvCost(NamedTuple):
    """The cost of the three maps, as `conv_cost` gives it.

    Attributes:
        value: of `conv`, an `OperationCost`.
        input_vjp: of `conv_input_vjp`.
        weight_vjp: of `conv_weight_vjp`.

    >>> conv_cost((1, 5), (1, 1, 3)).weight_vjp.multiply_adds
    9
    """

    value: OperationCost
    input_vjp: OperationCost
    weight_vjp: OperationCost


def conv_cost(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    dtype: Any = "float32",
) -> ConvCost:
    """Multiply-adds and bytes of ``conv(x, w)`` and of its two gradients.

        multiply_adds              = batch · out · (in/groups) · ∏ #{(p, q) : 0 ≤ s·p + d·q − lo < n}
        multiply_adds_with_padding = batch · out · (in/groups) · ∏ k · m

    with the product over the spatial axes. Both are the same for all three maps: each one adds up the terms of one
    trilinear form. What a map reads and writes differs: x, w → y;  g, w → dx;  x, g → dw.

    Args:
        x_shape, w_shape, stride, padding, dilation, groups, layout: as in `output_shape`.
        dtype: of all arrays, as a name or a NumPy dtype: bfloat16, float16, float32, float64, complex64, complex128.

    Returns:
        ConvCost(value, input_vjp, weight_vjp), each OperationCost(multiply_adds, multiply_adds_with_padding,
        bytes_read, bytes_written): in products and in bytes.

    Raises:
        TypeError, ValueError: as `output_shape`; also for another dtype.

    Source: the trilinear form at the head of this file.

    >>> conv_cost((1, 5), (1, 1, 3), padding=1).value
    OperationCost(multiply_adds=13, multiply_adds_with_padding=15, bytes_read=32, bytes_written=20)
    """
    function = "conv_cost"
    x_shape, w_shape = _static(function, "x_shape", x_shape), _static(function, "w_shape", w_shape)
    call = read_call(function, x_shape, w_shape, stride, padding, dilation, groups, layout)
    batch, per_group, out, n, k, s, pads, d, m = call
    item = _item_size(function, dtype)
    pairs = prod(batch) * out * per_group
    real = pairs * prod(_meetings(*axis) for axis in zip(n, k, s, (lo for lo, _ in pads), d, m, strict=True))
    every = pairs * prod(k) * prod(m)
    x, w, y = (item * elements for elements in (prod(x_shape), prod(w_shape), prod(batch) * out * prod(m)))
    return ConvCost(
        value=OperationCost(real, every, x + w, y),
        input_vjp=OperationCost(real, every, y + w, x),
        weight_vjp=OperationCost(real, every, x + y, w),
    )


def _meetings(n: int, k: int, s: int, lo: int, d: int, m: int) -> int:
    """#{(p, q) : 0 ≤ s·p + d·q − lo < n,  0 ≤ p < m,  0 ≤ q < k}."""
    if k > m:  # p and q play the same part: go through the fewer
        k, s, d, m = m, d, s, k
    return sum(
        max(0, min(m - 1, (n - 1 + lo - d * q) // s) - max(0, -((d * q - lo) // s)) + 1)  # last p − first p + 1
        for q in range(k)
    )


def _static(function: str, name: str, shape: object) -> tuple[int, ...]:
    """A shape as a tuple of integers: a symbolic dimension has no count."""
    sizes = read_shape(function, name, shape)
    return tuple(integer(function, f"{name}[{i}]", size) for i, size in enumerate(sizes))


def _item_size(function: str, dtype: Any) -> int:
    """Bytes of an element."""
    try:
        name = dtype if isinstance(dtype, str) or dtype is None else np.dtype(dtype).name
    except TypeError:
        name = dtype
    return ITEM_SIZES[one_of(function, "dtype", name, tuple(ITEM_SIZES))]
