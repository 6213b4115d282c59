"""dw as sums of products of shifted arrays: for groups of few channels, whose matrices are too small for a product.

    dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

Each tap is one shifted view of x, which stays in the layout it came in: what a product would gain in another layout,
moving the axes would cost twice over, unless the channels are too few to fill a vector register. Every pair of a filter
and a channel of its group has a channel of x and one of g of its own, repeated where there are more pairs. Of many taps
a loop takes some at a time. Letters as in `reference`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv.algorithms.layout import in_layout, to_accumulator, zeros
from jaxconv.algorithms.unroll import padded, per_axis
from jaxconv.sizes.geometry import Geometry

IMAGES = 8  # whose products are added up at once
TERMS = 16  # blocks of images and rows that are: more come out of one set of the cache, fewer leave more to be summed
MANY = 128  # taps: of more than these a loop takes some at a time
CHUNK = 64  # taps, then: 32 and 128 take as long
STEP_BYTES = 1 << 23  # of x, at a time; half as much leaves one of two cores idle, twice as much the cache
FEW = 16  # channels of x and g together: fewer are moved first; 1 and 1 take 1/26 of the time, 2 and 8 half of it


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    A sum over an array is not vectorised here, a sum of arrays is: blocks of the products are added up first, and what
    is left of them is summed as a product with ones. A channel's taps follow one another, while a cache holds it.
    """
    if not geometry.channels_first and x.shape[-1] + g.shape[-1] < FEW:
        return in_layout("channels_first", at_once=True)(conv_weight_vjp)(x, g, geometry, precision)
    first, channel = geometry.channels_first, 1 if geometry.channels_first else -1
    per_group = x.shape[channel] // geometry.groups
    x, g = _paired(x, g, geometry)

    def images(total: Array, x: Array, g: Array) -> Array:
        # Arrays of their own: what is only about to be padded or widened would be so anew for every tap.
        read = lax.optimization_barrier(padded(to_accumulator(x), 2 if first else 1, geometry.padding))
        g = g if g.dtype == read.dtype else lax.optimization_barrier(to_accumulator(g))

        def some(taps: Array) -> Array:
            products = (_products(*block, taps, geometry) for block in _blocks(read, g, geometry))
            return _summed(functools.reduce(lax.add, products), first)

        return lax.add(total, _by_taps(some, geometry))

    each = math.prod(x.shape[1:]) * accumulator(x.dtype).itemsize * max(1, min(geometry.taps, MANY) / TERMS)
    # With channels first two steps take as long as one, whose program compiles in 0.6 of the time.
    few = first and len(x) * each <= 2 * STEP_BYTES
    total = zeros((geometry.taps, x.shape[channel]), x)
    total = loops.chunked_sum(images, total, (x, g), len(x) if few else loops.largest_chunk(len(x), each, STEP_BYTES))
    dw = total.astype(x.dtype).reshape(*geometry.kernel_size, -1, per_group)  # (*taps, out, in/groups)
    return jnp.moveaxis(dw, (-2, -1), (0, 1)) if first else dw.swapaxes(-1, -2)


def _paired(x: Array, g: Array, geometry: Geometry) -> tuple[Array, Array]:
    """x and g with a channel for every pair (filter, channel of its group), in this order."""
    at = 1 if geometry.channels_first else x.ndim - 1
    per_group, filters = x.shape[at] // geometry.groups, g.shape[at] // geometry.groups
    if filters > 1:
        grouped = x.reshape(*x.shape[:at], geometry.groups, per_group, *x.shape[at + 1 :])
        x = jnp.repeat(grouped, filters, axis=at).reshape(*x.shape[:at], -1, *x.shape[at + 1 :])
    return x, jnp.repeat(g, per_group, axis=at) if per_group > 1 else g


def _by_taps(some: Callable[[Array], Array], geometry: Geometry) -> Array:
    """some(d·q of the taps q) for all taps, in a loop over some at a time where they are many."""
    offsets = itertools.product(*([axis.d * q for q in range(axis.k)] for axis in per_axis(geometry)))
    taps = jnp.asarray(np.array(list(offsets), np.int32))
    if len(taps) <= MANY:
        return some(taps)
    size = len(taps) // -(-len(taps) // CHUNK)
    whole = len(taps) // size * size
    made = lax.map(some, taps[:whole].reshape(-1, size, taps.shape[-1]))
    made = made.reshape(whole, -1)
    return made if whole == len(taps) else jnp.concatenate([made, some(taps[whole:])])


def _blocks(x: Array, g: Array, geometry: Geometry) -> Iterator[tuple[Array, Array]]:
    """Equal blocks of g, of images and of rows, each with the rows of x that it reads."""
    axis, rows = per_axis(geometry)[0], 2 if geometry.channels_first else 1
    images = _divisor(len(g), IMAGES)
    count = _divisor(axis.m, TERMS // images)
    size = axis.m // count
    for some_x, some_g in zip(_split(x, images, 0), _split(g, images, 0), strict=True):
        for i, block in enumerate(_split(some_g, count, rows)):
            start = axis.s * size * i
            yield lax.slice_in_dim(some_x, start, start + axis.span(size), axis=rows), block


def _products(x: Array, g: Array, taps: Array, geometry: Geometry) -> Array:
    """g[p] · x[s·p + d·q] for these taps q, on an axis behind what one reads again for the next tap."""
    at = 2 if geometry.channels_first else geometry.axes
    windows = _windows(x, taps, geometry, at)
    return lax.mul(windows, jnp.broadcast_to(jnp.expand_dims(g, at), windows.shape))


def _windows(x: Array, taps: Array, geometry: Geometry, at: int) -> Array:
    """x[s·p + d·q] for these taps q, on the axis `at`; of whole windows, so that a row is read as vectors."""
    space, sizes, steps = (
        range(2, x.ndim) if geometry.channels_first else range(1, x.ndim - 1),
        list(x.shape),
        [1] * x.ndim,
    )
    for i, axis in zip(space, per_axis(geometry), strict=True):
        sizes[i], steps[i] = sizes[i] - axis.reach, axis.s
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(i + (i >= at) for i in range(x.ndim)),
        collapsed_slice_dims=(),
        start_index_map=tuple(space),
    )
    read = lax.gather(x, taps, numbers, tuple(sizes), mode="clip")
    steps.insert(at, 1)
    return lax.slice(read, [0] * read.ndim, read.shape, steps) if max(steps) > 1 else read


def _summed(total: Array, first: bool) -> Array:
    """(taps, channels): the sum over images and positions, first along the last spatial axis."""
    exact = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # a sum: there are no factors to round
    if first:  # (images, channels, taps, *rows, columns)
        total = exact(total, np.ones(total.shape[-1], total.dtype))
        return jnp.sum(total, (0, *range(3, total.ndim))).T
    columns = jnp.ones((*total.shape[:-2], 1, total.shape[-2]), total.dtype)
    total = exact(columns, total)  # (images, *rows, taps, 1, channels): channels stay where they are
    return jnp.sum(total.reshape(-1, *total.shape[-3::2]), 0)


def _split(x: Array, count: int, axis: int) -> Sequence[Array]:
    return lax.split(x, [x.shape[axis] // count] * count, axis)


def _divisor(n: int, most: int) -> int:
    return next(d for d in range(most, 0, -1) if n % d == 0)
