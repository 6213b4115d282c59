"""Arrays and kernels in the layout that a form computes in, and back; but for `first` in the dtype of the sums, too.

first: arrays (batch, channels, *space), kernels (out, in/groups, *taps); last: (batch, *space, channels),
(*taps, in/groups, out). `space_to_depth` and `depth_to_space` move positions alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import accumulator
from jaxconv.algorithms.unroll import StridePhase, overlaps, stride_phases
from jaxconv.sizes.geometry import Geometry

PIECE_BYTES = 1 << 22  # of U: what stays in a cache; tried from 0.5 to 29 MB on three workloads
POSITIONS = 512  # an image of fewer goes together with others: 1.1 to 1.8 times as fast, and no loop to compile
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


# ------------------------------------------------- what is laid out for matrix products, and how much at a time


class Split(NamedTuple):
    """What is laid out where, and how much at a time.

    Attributes:
        geometry: of one piece.
        rows: the rows of x by their remainder where the first axis is on the side of g, else None.
        images: of the batch, at a time.
        axis: the spatial axis that pieces are cut along.
        piece: output positions along it, at a time.
    """

    geometry: Geometry
    rows: list[StridePhase] | None
    images: int
    axis: int
    piece: int

    @property
    def axes(self) -> range:
        """The spatial axes on the side of x."""
        return range(self.geometry.axes)[self.rows is not None :]


def split(batch: int, channels: int, filters: int, geometry: Geometry, itemsize: int, first: bool) -> Split:
    """How the work is split; `first`: the taps of the first axis are laid out on the side of g where that can be."""
    k, m = geometry.kernel_size, geometry.output_size
    if geometry.axes == 1 and k[0] * filters * m[0] * itemsize > 16 * PIECE_BYTES:
        first = False  # a long sequence is cut into pieces, which then needs its only axis on the side of x
    rows = (stride_phases(geometry) if first else None) or None  # no rows: every tap reads padding alone
    first = rows is not None
    axis = min(int(first), geometry.axes - 1)
    height = sum(each.height for each in rows) if rows is not None else m[0]
    positions = height * math.prod(m[1:])
    laid_out = math.prod(k[int(first) :]) * channels * positions * itemsize
    images = images_together(batch, laid_out + filters * positions * itemsize) if positions < POSITIONS else 1
    pieces = min(m[axis], -(-images * laid_out // PIECE_BYTES))
    if (first and geometry.axes == 1) or pieces == 2:  # to cut in two costs more than it saves
        pieces = 1
    return Split(geometry, rows, images, axis, -(-m[axis] // pieces))


def images_together(batch: int, nbytes: int) -> int:
    """How many small images, of so many bytes each: a divisor of the batch, or all where that is a prime."""
    images = loops.largest_chunk(batch, nbytes, 2 * PIECE_BYTES)
    return images if images > 1 else loops.largest_chunk(batch, nbytes, 4 * PIECE_BYTES)


def first_with_g(channels: int, filters: int, geometry: Geometry, which: str) -> bool:
    """Whether fewer elements are written with the first axis on the side of g: k₁·out + s₁·k₂·in against k·in."""
    k1, s1, k2 = geometry.kernel_size[0], geometry.stride[0], math.prod(geometry.kernel_size[1:])
    G = geometry.groups
    if k1 == 1 or not overlaps(geometry, 0):
        return False
    there, here = k1 * filters // G, k1 * k2 * channels // G
    if geometry.axes == 1:  # then one of U and V is a view
        return there < here if which == "dx" else there <= here
    return there + s1 * k2 * channels // G <= here


# --------------------------------------------------------------------------- groups apart; `first`: channels first


def to_groups(x: Array, groups: int, first: bool) -> Array:
    """(batch, C, *space) → (batch, G, C/G, *space), or (batch, *space, C) → (batch, *space, C/G, G)"""
    if first:
        return x.reshape(len(x), groups, -1, *x.shape[2:])
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2)


def from_groups(y: Array, first: bool) -> Array:
    """The way back from `to_groups`."""
    if first:
        return y.reshape(len(y), -1, *y.shape[3:])
    return y.swapaxes(-1, -2).reshape(*y.shape[:-2], -1)


def remainders_as_channels(x: Array, sizes: Sequence[int], first: bool) -> Array:
    """The positions that leave one remainder as a channel of their own; those of a channel follow one another."""
    if max(sizes) == 1:
        return x
    space, member, shape = space_axes(x, first), member_axis(x, first), []
    for axis, n in enumerate(x.shape):
        shape += [n // sizes[axis - space[0]], sizes[axis - space[0]]] if axis in space else [n]
    counts = [axis + (axis - space[0]) for axis in space]
    remainders = [axis + 1 for axis in counts]
    channel = member if first else member + len(space)
    moved = [0, 1, channel, *remainders, *counts] if first else [0, *counts, channel, *remainders, channel + 1]
    made = x.reshape(shape).transpose(moved)
    new = [n // s for n, s in zip((x.shape[axis] for axis in space), sizes, strict=True)]
    many = x.shape[member] * math.prod(sizes)
    return made.reshape(*x.shape[:2], many, *new) if first else made.reshape(len(x), *new, many, x.shape[-1])


def member_axis(x: Array, first: bool) -> int:
    """The axis of a group's channels."""
    return 2 if first else x.ndim - 2


def space_axes(x: Array, first: bool) -> range:
    """The spatial axes."""
    return range(3, x.ndim) if first else range(1, x.ndim - 2)
