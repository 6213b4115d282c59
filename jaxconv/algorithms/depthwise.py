"""dw where a group has one input channel, or of a long kernel few: there is nothing to multiply as matrices.

    dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

Each tap is one shifted view of x, which stays in the layout it came in: what a product would gain in another layout,
moving the axes would cost twice over. Every pair of a filter and a channel of its group has a channel of x and one of g
of its own, repeated where there are more pairs. Of many taps a loop takes some at a time. Letters as in
`reference`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv._jax.materialize import materialize_operand
from jaxconv.algorithms import layout
from jaxconv.algorithms.unroll import padded, span
from jaxconv.sizes.geometry import Geometry

IMAGES = 8  # whose products are added up at once
TERMS = 16  # blocks of images and rows that are: more come out of one set of the cache, fewer leave more to be summed
MANY = 128  # taps: of more than these a loop takes some at a time
CHUNK = 64  # taps, then: 32 and 128 take as long
STEP_BYTES = 1 << 23  # of x, at a time; half as much leaves one of two cores idle, twice as much the cache


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    A sum over an array is not vectorised here, a sum of arrays is: blocks of the products are added up first, and what
    is left of them is summed as a product with ones. A channel's taps follow one another, while a cache holds it.
    """
    per_group = x.shape[1 if geometry.channels_first else -1] // geometry.groups
    x, g = _paired(x, g, geometry)
    pairs = x.shape[1 if geometry.channels_first else -1]

    def images(total: Array, x: Array, g: Array) -> Array:
        # Arrays of their own: what is only about to be padded or widened would be so anew for every tap.
        read = materialize_operand(lambda: padded(layout.to_accumulator(x), _space(geometry)[0], geometry.padding), x)
        g = g if g.dtype == read.dtype else materialize_operand(lambda: layout.to_accumulator(g), g)

        def some(taps: Array) -> Array:
            products = (_products(*block, taps, geometry) for block in _blocks(read, g, geometry))
            return _summed(functools.reduce(lax.add, products), geometry)

        return lax.add(total, _by_taps(some, geometry))

    total = pcast_to(jnp.zeros((geometry.taps, pairs), accumulator(x.dtype)), axes_of(x))
    total = loops.chunked_sum(images, total, (x, g), len(x) // _steps(x, geometry))
    dw = total.reshape(*geometry.kernel_size, -1, per_group).swapaxes(-1, -2)
    return layout.kernel_from_last(dw, geometry).astype(x.dtype)


def _paired(x: Array, g: Array, geometry: Geometry) -> tuple[Array, Array]:
    """x and g with a channel for every pair (filter, channel of its group), in this order."""
    first, groups = geometry.channels_first, geometry.groups
    at = 1 if first else x.ndim - 1
    per_group, filters = x.shape[at] // groups, g.shape[at] // groups
    grouped = x.reshape(*x.shape[:at], groups, per_group, *x.shape[at + 1 :])
    repeated = jnp.repeat(grouped, filters, axis=at) if filters > 1 else grouped
    return repeated.reshape(*x.shape[:at], -1, *x.shape[at + 1 :]), jnp.repeat(g, per_group, axis=at)


def _by_taps(some: Callable[[Array], Array], geometry: Geometry) -> Array:
    """some(taps) for all taps, in a loop over some at a time where they are many."""
    taps = jnp.asarray(_taps(geometry))
    if len(taps) <= MANY:
        return some(taps)
    size = len(taps) // -(-len(taps) // CHUNK)
    whole = len(taps) // size * size
    made = lax.map(some, taps[:whole].reshape(-1, size, taps.shape[-1]))
    made = made.reshape(whole, -1)
    return made if whole == len(taps) else jnp.concatenate([made, some(taps[whole:])])


def _steps(x: Array, geometry: Geometry) -> int:
    """In how many steps the batch is gone through: x, and the products that are left, stay in a cache.

    Never image by image, unless the batch is one or has no smaller divisor: JAX 0.10 takes up to five times as long.
    With channels first two steps take 0.9 to 1.15 times as long as one, whose program compiles in 0.6 of the time; with
    channels last 0.8.
    """
    each = math.prod(x.shape[1:]) * accumulator(x.dtype).itemsize * max(1, min(geometry.taps, MANY) / TERMS)
    if geometry.channels_first and len(x) * each <= 2 * STEP_BYTES:
        return 1
    counts = [n for n in loops.divisors(len(x)) if n < max(2, len(x))]
    return next((n for n in counts if len(x) // n * each <= STEP_BYTES), counts[-1] if each < STEP_BYTES else len(x))


# ------------------------------------------------------------------------------------------------------------- views


def _space(geometry: Geometry) -> range:
    """The spatial axes of an array."""
    return range(2, 2 + geometry.axes) if geometry.channels_first else range(1, 1 + geometry.axes)


def _blocks(x: Array, g: Array, geometry: Geometry) -> Iterator[tuple[Array, Array]]:
    """Equal blocks of g, of images and of rows, each with the rows of x that it reads."""
    images, rows = _divisor(len(g), IMAGES), _space(geometry)[0]
    count = _divisor(geometry.output_size[0], TERMS // images)
    size = geometry.output_size[0] // count
    for some_x, some_g in zip(_split(x, images, 0), _split(g, images, 0), strict=True):
        for i, block in enumerate(_split(some_g, count, rows)):
            start = geometry.stride[0] * size * i
            yield lax.slice_in_dim(some_x, start, start + span(geometry, 0, size), axis=rows), block


def _split(x: Array, count: int, axis: int) -> Sequence[Array]:
    return lax.split(x, [x.shape[axis] // count] * count, axis) if count > 1 else [x]


def _products(x: Array, g: Array, taps: Array, geometry: Geometry) -> Array:
    """g[p] · x[s·p + d·q] for these taps q."""
    windows = _windows(x, taps, geometry)
    of_g = [axis for axis in range(windows.ndim) if axis != _tap_axis(geometry)]
    return lax.mul(windows, lax.broadcast_in_dim(g, windows.shape, of_g))


def _tap_axis(geometry: Geometry) -> int:
    """Of windows: behind what one reads again for the next tap."""
    return 2 if geometry.channels_first else geometry.axes


def _windows(x: Array, taps: Array, geometry: Geometry) -> Array:
    """x[s·p + d·q] for these taps q, on an axis of their own; of whole windows, so that a row is read as vectors."""
    space, at = list(_space(geometry)), _tap_axis(geometry)
    sizes = list(x.shape)
    for axis, k, d in zip(space, geometry.kernel_size, geometry.dilation, strict=True):
        sizes[axis] -= d * (k - 1)
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(axis + (axis >= at) for axis in range(x.ndim)),
        collapsed_slice_dims=(),
        start_index_map=tuple(space),
    )
    read = lax.gather(x, taps, numbers, tuple(sizes), mode="clip")
    if max(geometry.stride) == 1:
        return read
    steps = [1] * read.ndim
    for axis, s in zip(space, geometry.stride, strict=True):
        steps[axis + (axis >= at)] = s
    return lax.slice(read, [0] * read.ndim, read.shape, steps)


def _taps(geometry: Geometry) -> np.ndarray:
    """d·q of all taps q, (taps, axes)."""
    offsets = [d * np.arange(k) for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    return np.stack(np.meshgrid(*offsets, indexing="ij"), -1).reshape(-1, geometry.axes).astype(np.int32)


def _summed(total: Array, geometry: Geometry) -> Array:
    """(taps, channels): the sum over images and positions, first along the last spatial axis."""
    exact = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # a sum: there are no factors to round
    if geometry.channels_first:  # (images, channels, taps, *rows, columns)
        total = exact(total, np.ones(total.shape[-1], total.dtype))
        return jnp.sum(total, (0, *range(3, total.ndim))).T
    columns = jnp.ones((*total.shape[:-2], 1, total.shape[-2]), total.dtype)
    total = exact(columns, total)  # (images, *rows, taps, 1, channels): channels stay where they are
    return jnp.sum(total.reshape(-1, *total.shape[-3::2]), 0)


def _divisor(n: int, most: int) -> int:
    return next(d for d in range(most, 0, -1) if n % d == 0)
