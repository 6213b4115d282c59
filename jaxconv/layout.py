"""Arrays and kernels in the layout that a form computes in, and back; but for `first` in the dtype of the sums, too.

first: arrays (batch, channels, *space), kernels (out, in/groups, *taps); last: (batch, *space, channels),
(*taps, in/groups, out). `apart` and `together` move positions alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from jaxconv.geometry import Geometry
from jaxconv.precision import accumulator


def wide(x: Array) -> Array:
    """x in the dtype that sums of it are made in."""
    return x.astype(accumulator(x.dtype))


def first(x: Array, geometry: Geometry) -> Array:
    """An array with channels first, in its own dtype: products widen a few images at a time, in the cache."""
    return x if geometry.channels_first else jnp.moveaxis(x, -1, 1)


def from_first(y: Array, geometry: Geometry) -> Array:
    """The way back from `first`."""
    return y if geometry.channels_first else jnp.moveaxis(y, 1, -1)


def last(x: Array, geometry: Geometry) -> Array:
    """An array with channels last."""
    return jnp.moveaxis(wide(x), 1, -1) if geometry.channels_first else wide(x)


def from_last(y: Array, geometry: Geometry) -> Array:
    """The way back from `last`."""
    return jnp.moveaxis(y, -1, 1) if geometry.channels_first else y


def kernel_first(w: Array, geometry: Geometry) -> Array:
    """A kernel with channels first."""
    return wide(w) if geometry.channels_first else jnp.moveaxis(wide(w), (-1, -2), (0, 1))


def kernel_from_first(dw: Array, geometry: Geometry) -> Array:
    """The way back from `kernel_first`."""
    return dw if geometry.channels_first else jnp.moveaxis(dw, (0, 1), (-1, -2))


def kernel_last(w: Array, geometry: Geometry) -> Array:
    """A kernel with channels last."""
    return jnp.moveaxis(wide(w), (0, 1), (-1, -2)) if geometry.channels_first else wide(w)


def kernel_from_last(dw: Array, geometry: Geometry) -> Array:
    """The way back from `kernel_last`."""
    return jnp.moveaxis(dw, (-1, -2), (0, 1)) if geometry.channels_first else dw


def apart(x: Array, sizes: Sequence[int]) -> Array:
    """(batch, *(count · size), channels) → (batch, *counts, *sizes, channels)"""
    axes = len(sizes)
    pairs = [each for n, size in zip(x.shape[1:], sizes, strict=False) for each in (n // size, size)]
    return x.reshape(len(x), *pairs, x.shape[-1]).transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), -1)


def together(parts: Array, axes: int) -> Array:
    """(batch, *counts, *sizes, channels) → (batch, *(count · size), channels)"""
    order = [each for axis in range(1, axes + 1) for each in (axis, axes + axis)]
    x = parts.transpose(0, *order, -1)
    return x.reshape(len(x), *(x.shape[i] * x.shape[i + 1] for i in range(1, 2 * axes, 2)), x.shape[-1])
