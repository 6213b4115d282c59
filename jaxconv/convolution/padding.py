"""What stands in the padding when it is not zeros: copies of the input, and their gradients by JAX's own rule.

For an axis of n positions, position j of the padding, j < 0 or j ≥ n, shows

    reflect   the mirror image around the first and the last position:  x[−j]  or  x[2(n − 1) − j]
    edge      the first or the last position:                           x[0]   or  x[n − 1]
    circular  the other end:                                            x[j mod n]

A copy's gradient goes back to the position copied, so the rule is a sum, exact to any order, and left to JAX. The
adjoint itself, which the transposed convolution is made with, is `pad_vjp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import accumulator
from jaxconv.sizes.arguments import holds, is_symbolic, wrong_value
from jaxconv.sizes.geometry import Geometry

PaddingMode = Literal["zeros", "reflect", "edge", "circular"]
PADDING_MODES = ("zeros", "reflect", "edge", "circular")
_NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "circular": "wrap"}


def must_pad_apart(geometry: Geometry, mode: str) -> bool:
    """Whether the padding is something other than zeros, or its width is symbolic, which lax's convolution refuses."""
    return mode != "zeros" or any(is_symbolic(width) for pair in geometry.padding for width in pair)


def pad_apart(function: str, geometry: Geometry, mode: str) -> tuple[Geometry, tuple]:
    """The geometry of the convolution after the input was padded, and the arguments for `pad`.

    Raises:
        ValueError: the padding asks for more positions than there are to copy.
    """
    pairs = () if mode == "zeros" else zip(geometry.input_size, geometry.padding, strict=True)
    for axis, (n, (lo, hi)) in enumerate(pairs):
        kept = n + min(lo, 0) + min(hi, 0)
        if not holds(lambda kept=kept: kept >= 1):
            rule = f"`padding` with padding_mode={mode!r} must leave a position to copy"
            wrong_value(function, rule, f"padding=({lo}, {hi}) on spatial axis {axis} of {n} positions")
        most = {"reflect": kept - 1, "circular": kept}.get(mode)
        widest = max(lo, hi)
        if not holds(lambda most=most, widest=widest: most is None or widest <= most):
            rule = f"`padding` with padding_mode={mode!r} must not be wider than the {most} positions to copy"
            wrong_value(function, rule, f"padding=({lo}, {hi}) on spatial axis {axis} of {n} positions")
    padded = tuple(n + lo + hi for n, (lo, hi) in zip(geometry.input_size, geometry.padding, strict=True))
    after = replace(geometry, input_size=padded, padding=((0, 0),) * geometry.axes)
    return after, (geometry.padding, mode, geometry.channels_first)


def pad(x: Array, pairs: tuple[tuple[int, int], ...], mode: str, channels_first: bool) -> Array:
    """x, (batch, channels, *space) or (batch, *space, channels), padded by (lo, hi) on each spatial axis."""
    still = ((0, 0),)
    widths = still * 2 + pairs if channels_first else still + pairs + still
    cut, added = zip(*(cut_and_added(lo, hi) for lo, hi in widths), strict=True)
    # A slice, since XLA folds a cutting `lax.pad` into the padding of the convolution, which may then be negative.
    x = lax.slice(x, [-lo for lo, _ in cut], [n + hi for n, (_, hi) in zip(x.shape, cut, strict=True)])
    return jnp.pad(x, added, mode=_NUMPY_MODES[mode])


def cut_and_added(lo: Any, hi: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """A padding of any sign as what is cut off, at most 0, and what is added, at least 0.

    A symbolic width comes from a padding by name, which cuts nothing off.

    >>> cut_and_added(-2, 3)
    ((-2, 0), (0, 3))
    """
    cut_lo, cut_hi = (0 if is_symbolic(width) else min(width, 0) for width in (lo, hi))
    return (cut_lo, cut_hi), (lo - cut_lo, hi - cut_hi)


def pad_vjp(u: Array, pairs: tuple[tuple[int, int], ...], mode: str, channels_first: bool) -> Array:
    """The adjoint of `pad`, ⟨pad_vjp(u), x⟩ = ⟨u, pad(x)⟩: each copy goes to the position copied."""
    total = u.astype(accumulator(u.dtype))
    for axis, (lo, hi) in enumerate(pairs, 2 if channels_first else 1):
        total = _pad_vjp_axis(total, axis, lo, hi, mode)
    return total.astype(u.dtype)


def _pad_vjp_axis(u: Array, axis: int, lo: int, hi: int, mode: str) -> Array:
    """u[j] + Σ u[c] over the copies c of position j; zeros where a negative padding cut the input off."""
    cut, (before, behind) = cut_and_added(lo, hi)
    kept = u.shape[axis] - before - behind
    total = lax.slice_in_dim(u, before, before + kept, axis=axis)
    ends = (
        (before, 0, {"reflect": 1, "edge": 0, "circular": kept - before}),
        (behind, before + kept, {"reflect": kept - 1 - behind, "edge": kept - 1, "circular": 0}),
    )
    for width, start, copied_from in ends:
        if width == 0:
            continue
        copies = lax.slice_in_dim(u, start, start + width, axis=axis)
        if mode == "reflect":
            copies = lax.rev(copies, (axis,))
        elif mode == "edge":
            copies = jnp.sum(copies, axis, keepdims=True)
        first = copied_from[mode]
        total += zeros_around(copies, axis, first, kept - first - copies.shape[axis])
    return zeros_around(total, axis, -cut[0], -cut[1])


def zeros_around(x: Array, axis: int, before: int, behind: int) -> Array:
    """x with so many zeros before and behind on one axis.

    >>> zeros_around(jnp.ones((1, 2)), 1, 1, 2)
    Array([[0., 1., 1., 0., 0.]], dtype=float32)
    """
    widths = [(before, behind, 0) if each == axis else (0, 0, 0) for each in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), widths)
