"""Arrays and kernels in the layout that a form computes in, and back; but for `first` in the dtype of the sums, too.

first: arrays (batch, channels, *space), kernels (out, in/groups, *taps); last: (batch, *space, channels),
(*taps, in/groups, out). `space_to_depth` and `depth_to_space` move positions alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import accumulator
from jaxconv.sizes.geometry import Geometry

MOST_SLICES = 32  # that `apart` puts together: each is a line of the program


def to_accumulator(x: Array) -> Array:
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
    return jnp.moveaxis(to_accumulator(x), 1, -1) if geometry.channels_first else to_accumulator(x)


def from_last(y: Array, geometry: Geometry) -> Array:
    """The way back from `last`."""
    return jnp.moveaxis(y, -1, 1) if geometry.channels_first else y


def kernel_first(w: Array, geometry: Geometry) -> Array:
    """A kernel with channels first."""
    return to_accumulator(w) if geometry.channels_first else jnp.moveaxis(to_accumulator(w), (-1, -2), (0, 1))


def kernel_from_first(dw: Array, geometry: Geometry) -> Array:
    """The way back from `kernel_first`."""
    return dw if geometry.channels_first else jnp.moveaxis(dw, (0, 1), (-1, -2))


def kernel_last(w: Array, geometry: Geometry) -> Array:
    """A kernel with channels last."""
    return jnp.moveaxis(to_accumulator(w), (0, 1), (-1, -2)) if geometry.channels_first else to_accumulator(w)


def kernel_from_last(dw: Array, geometry: Geometry) -> Array:
    """The way back from `kernel_last`."""
    return jnp.moveaxis(dw, (-1, -2), (0, 1)) if geometry.channels_first else dw


def space_to_depth(x: Array, sizes: Sequence[int]) -> Array:
    """(batch, *(count · size), channels) → (batch, *counts, *sizes, channels)

    A run of numbers that stay together is moved as one. The compiler unrolls a short one number by number, up to five
    times slower, unless it is made of vectors or is a slice.
    """
    axes, channels = len(sizes), x.shape[-1]
    counts = [n // size for n, size in zip(x.shape[1:], sizes, strict=False)]
    pairs = [each for pair in zip(counts, sizes, strict=True) for each in pair]
    run = sizes[-1] * channels
    vector = run & -run  # the largest power of two that divides it
    if vector >= 4 or math.prod(sizes[:-1]) > MOST_SLICES:
        vectors = x.reshape(len(x), *pairs[:-1], run // vector, vector)
        parts = vectors.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), -1)
    else:
        slices = [x.reshape(len(x), *pairs[:-1], run)]
        for axis in reversed(range(2, 2 * axes, 2)):
            slices = [lax.index_in_dim(each, q, axis, False) for q in range(pairs[axis - 1]) for each in slices]
        parts = jnp.stack(slices, -2)
    return parts.reshape(len(x), *counts, *sizes, channels)


def depth_to_space(parts: Array, axes: int) -> Array:
    """(batch, *counts, *sizes, channels) → (batch, *(count · size), channels)"""
    counts, sizes, channels = parts.shape[1 : axes + 1], parts.shape[axes + 1 : -1], parts.shape[-1]
    runs = parts.reshape(len(parts), *counts, *sizes[:-1], sizes[-1] * channels)
    x = runs.transpose(0, *(each for axis in range(1, axes + 1) for each in (axis, axes + axis)))
    return x.reshape(len(x), *(n * size for n, size in zip(counts, sizes, strict=True)), channels)
