"""The maps where every group has one input channel: there is nothing to multiply as matrices, so tap by tap.

    y[b,c,p] = Σ_q w[c,q] · x[b, c, s·p + d·q − lo]
    dw[c,q] = Σ_{b,p} g[b,c,p] · x[b, c, s·p + d·q − lo]

Each tap is one shifted view of x, so that y is a single elementwise loop, and x stays in the layout it came in: what a
product would gain in another layout, moving the axes would cost twice over. A group with several filters repeats its
channel. Letters as in `jaxconv.reference`; arrays are in the accumulator's dtype.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxconv import layout
from jaxconv.geometry import Geometry

TERMS = 8  # that are added up at once; with 16 and 32 no faster


def conv(x: Array, w: Array, geometry: Geometry) -> Array:
    """y[b,c,p] = Σ_q w[c,q] · x[b, c, s·p + d·q − lo]"""
    channels, filters = channel_axis(geometry), w.shape[0 if geometry.channels_first else -1]
    padded = _padded(jnp.repeat(x, filters // x.shape[channels], axis=channels), geometry)
    return functools.reduce(jnp.add, (_tap(w, q, geometry) * shift for q, shift in _shifts(padded, geometry)))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry) -> Array:
    """dx[b,c,j] = Σ_q w[c,q] · g[b, c, j + lo − d·q] for a stride of 1: such a convolution, the kernel flipped."""
    mirrored = replace(
        geometry,
        input_size=geometry.output_size,
        padding=tuple(
            (d * (k - 1) - lo, d * (k - 1) - hi)
            for k, d, (lo, hi) in zip(geometry.kernel_size, geometry.dilation, geometry.padding, strict=True)
        ),
    )
    return conv(g, lax.rev(w, _kernel_space(geometry)), mirrored)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry) -> Array:
    """dw[c,q] = Σ_{b,p} g[b,c,p] · x[b, c, s·p + d·q − lo]

    A sum over an array is not vectorised here, a sum of arrays is: blocks of the products are added up first, and what
    is left of them is summed as a product with ones.
    """
    channels = channel_axis(geometry)
    filters = g.shape[channels]
    padded = _padded(jnp.repeat(x, filters // x.shape[channels], axis=channels), geometry)
    blocks, made = _blocks(g, geometry), []
    for _, shift in _shifts(padded, geometry):
        products = (a * b for a, b in zip(blocks, _blocks(shift, geometry), strict=True))
        made.append(_summed(functools.reduce(jnp.add, products), geometry))
    dw = jnp.stack(made).reshape(*geometry.kernel_size, 1, filters)
    return layout.kernel_from_last(dw, geometry)


# ------------------------------------------------------------------------------------------------------------- views


def channel_axis(geometry: Geometry) -> int:
    """Of an array."""
    return 1 if geometry.channels_first else -1


def _space(geometry: Geometry) -> range:
    """The spatial axes of an array."""
    return range(2, 2 + geometry.axes) if geometry.channels_first else range(1, 1 + geometry.axes)


def _kernel_space(geometry: Geometry) -> range:
    return range(2, 2 + geometry.axes) if geometry.channels_first else range(geometry.axes)


def _padded(x: Array, geometry: Geometry) -> Array:
    if all(pads == (0, 0) for pads in geometry.padding):
        return x
    edges = [(0, 0, 0)] * x.ndim
    for axis, (lo, hi) in zip(_space(geometry), geometry.padding, strict=True):
        edges[axis] = (lo, hi, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _shifts(x: Array, geometry: Geometry) -> Iterator[tuple[tuple[int, ...], Array]]:
    """For each tap q the inputs x[b, c, s·p + d·q] of every output position."""
    m = geometry.output_size
    for q in itertools.product(*map(range, geometry.kernel_size)):
        starts, ends, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, tap, count, s, d in zip(_space(geometry), q, m, geometry.stride, geometry.dilation, strict=True):
            starts[axis], ends[axis], strides[axis] = d * tap, d * tap + s * (count - 1) + 1, s
        yield q, lax.slice(x, starts, ends, strides)


def _blocks(g: Array, geometry: Geometry) -> list[Array]:
    """g in equal blocks of images and of rows, at most `TERMS`."""
    rows = _space(geometry)[0]
    b = _divisor(len(g), TERMS)
    parts = jnp.split(g, b)
    return [block for part in parts for block in jnp.split(part, _divisor(g.shape[rows], TERMS // b), axis=rows)]


def _summed(total: Array, geometry: Geometry) -> Array:
    """Over all but the channels."""
    exact = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # a sum: there are no factors to round
    if geometry.channels_first:
        rows = total.reshape(*total.shape[:2], -1)
        return jnp.sum(exact(rows, jnp.ones(rows.shape[-1], rows.dtype)), 0)
    columns = total.reshape(-1, total.shape[-1])
    return exact(jnp.ones(len(columns), columns.dtype), columns)


def _divisor(n: int, most: int) -> int:
    return next(d for d in range(most, 0, -1) if n % d == 0)


def _tap(w: Array, q: Sequence[int], geometry: Geometry) -> Array:
    """w[:, q], to be multiplied with an array."""
    if geometry.channels_first:
        return w[(slice(None), 0, *q)].reshape(-1, *(1,) * geometry.axes)
    return w[(*q, 0)]
