"""`conv_general_dilated`: lax's own function, compiled by our algorithms for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from jax import Array, lax

from jaxconv._jax.marks import TAKE, marked
from jaxconv.lax.accelerated import SWITCH


@wraps(lax.conv_general_dilated, assigned=())  # lax's signature, whatever the installed one takes; nothing else
def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *args: Any,
    **kwargs: Any,
) -> Array:
    """`lax.conv_general_dilated`, argument for argument, which a CPU computes by our algorithms.

        out[j] = Σ_q rhs[q] · lhs[p]      over all p, q with   λ·p = σ·j + δ·q − lo,   on each spatial axis

    with λ the lhs_dilation, σ the window stride, δ the rhs_dilation. It is lax's primitive with a mark beside it, so
    every error, every derivative of any order, forward mode, transposition, `vmap`, policies of `jax.checkpoint` and
    explicit sharding are lax's own; marked convolutions, those of the derivatives included, are compiled for a CPU as
    `accelerate` does it. What the maps do not express, and every other platform, takes lax's form.

    Args:
        lhs: batch, features and n spatial axes in any order, of any dtype that lax takes.
        rhs: output features, input features of one group and n spatial axes in any order.
        window_strides: σ, one integer per spatial axis, in positions.
        padding: "SAME", "SAME_LOWER", "VALID" or (lo, hi) per spatial axis, in positions; negative cuts off.
        lhs_dilation: λ, one integer per spatial axis, or None.
        rhs_dilation: δ, likewise.
        dimension_numbers: None, three strings like ("NHWC", "HWIO", "NHWC"), or a `lax.ConvDimensionNumbers`.
        feature_group_count: groups of the features of lhs.
        batch_group_count: groups of the batch of lhs.
        precision: as lax takes it.
        preferred_element_type: dtype of sums and result, or None.
        out_sharding: how the result lies over a mesh in explicit mode, or None.

    Returns:
        Of the shape and dtype that lax gives.

    Raises:
        TypeError, ValueError: lax's own errors.

    Source: `jaxconv.lax.read`; for flax ``nnx.Conv(…, conv_general_dilated=jaxconv.conv_general_dilated)``.

    >>> import jax.numpy as jnp
    >>> x, w = jnp.arange(10.0).reshape(1, 2, 5), jnp.ones((1, 2, 3))
    >>> conv_general_dilated(x, w, (2,), "VALID")
    Array([[[21., 33.]]], dtype=float32)
    """
    SWITCH.serve_marked()
    with marked(TAKE):
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, *args, **kwargs)
