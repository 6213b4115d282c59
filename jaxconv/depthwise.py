"""The maps where every group has one input channel: there is nothing to multiply as matrices, so tap by tap.

    y[b,c,p] = Σ_q w[c,q] · x[b, c, s·p + d·q − lo]          dw[c,q] = Σ_{b,p} g[b,c,p] · x[b, c, s·p + d·q − lo]

Each tap is one shifted view of x, so that y is a single elementwise loop, and x stays in the layout it came in: what a
product would gain in another layout, moving the axes would cost twice over. A group with several filters repeats its
channel. Letters as in `jaxconv.reference`; arrays are in the accumulator's dtype.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv.geometry import Geometry

ROWS = 28  # of one image in a step of the weight gradient, at most; with 4 JAX 0.10 takes six times as long
PIECE = 128  # positions of a row where there is one spatial axis only


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
    """dw[c,q] = Σ_{b,p} g[b,c,p] · x[b, c, s·p + d·q − lo]"""
    channels = channel_axis(geometry)
    padded = _padded(jnp.repeat(x, g.shape[channels] // x.shape[channels], axis=channels), geometry)
    if jax.device_count() > 1:  # any axis may lie across devices, and a loop over such a one would gather it
        sums = [jnp.sum(shift * g, 0, keepdims=True) for _, shift in _shifts(padded, geometry)]
    else:
        sums = _sums_by_rows(padded, g, geometry)
    rest = tuple(axis for axis in range(g.ndim) if axis != channels % g.ndim)
    dw = jnp.stack([jnp.sum(total, rest) for total in sums]).reshape(*geometry.kernel_size, 1, -1)
    return jnp.moveaxis(dw, (-1, -2), (0, 1)) if geometry.channels_first else dw


def _sums_by_rows(padded: Array, g: Array, geometry: Geometry) -> list[Array]:
    """For each tap the products summed over images and rows, the positions within a row apart.

    One step of the loop reads a few rows of one image, which stay in the cache while every tap reads them; a sum over
    the minor axis would not be vectorised.
    """
    first, m = _space(geometry)[0], geometry.output_size[0]
    piece = min(PIECE, m) if geometry.axes == 1 else 1
    most = min(ROWS, m // piece)
    size = piece * next((rows for rows in range(most, most // 2, -1) if m % (rows * piece) == 0), most)
    count = m // size

    def image_rows(array: Array, b: Array, start: Array | int, size: int) -> Array:
        # In one slice: two, one within the other, are not fused into the sums on JAX 0.10.
        zero = jnp.zeros_like(b)
        starts, sizes = [b] + [zero] * (array.ndim - 1), [1, *array.shape[1:]]
        starts[first], sizes[first] = zero + start, size
        return lax.dynamic_slice(array, starts, sizes)

    def read(sums: list[Array], b: Array, start: Array | int, size: int, piece: int) -> list[Array]:
        s, span = geometry.stride[0], geometry.dilation[0] * (geometry.kernel_size[0] - 1)
        x = image_rows(padded, b, start * s, (size - 1) * s + 1 + span)
        at = image_rows(g, b, start, size)

        def products(shift: Array) -> Iterator[Array]:
            for r in range(0, size, piece):
                rows = (lax.slice_in_dim(each, r, r + piece, axis=first) for each in (shift, at))
                yield functools.reduce(jnp.multiply, rows)

        shifts = (shift for _, shift in _shifts(x, geometry, size))
        return [functools.reduce(jnp.add, products(shift), total) for total, shift in zip(sums, shifts, strict=True)]

    def zeros(piece: int) -> list[Array]:
        return [jnp.zeros_like(lax.slice_in_dim(g[:1], 0, piece, axis=first))] * geometry.taps

    def step(i: Array, sums: list[Array]) -> list[Array]:
        return read(sums, i // count, i % count * size, size, piece)

    sums = lax.fori_loop(0, len(g) * count, step, zeros(piece))
    if left := m - count * size:
        piece = left if geometry.axes == 1 else 1
        behind = lax.fori_loop(0, len(g), lambda b, sums: read(sums, b, count * size, left, piece), zeros(piece))
        sums = [
            jnp.sum(a, first, keepdims=True) + jnp.sum(b, first, keepdims=True)
            for a, b in zip(sums, behind, strict=True)
        ]
    return sums


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


def _shifts(x: Array, geometry: Geometry, size: int | None = None) -> Iterator[tuple[tuple[int, ...], Array]]:
    """For each tap q the inputs x[b, c, s·p + d·q] of every output position, or of `size` ones on the first axis."""
    m = geometry.output_size if size is None else (size, *geometry.output_size[1:])
    for q in itertools.product(*map(range, geometry.kernel_size)):
        starts, ends, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, tap, count, s, d in zip(_space(geometry), q, m, geometry.stride, geometry.dilation, strict=True):
            starts[axis], ends[axis], strides[axis] = d * tap, d * tap + s * (count - 1) + 1, s
        yield q, lax.slice(x, starts, ends, strides)


def _tap(w: Array, q: Sequence[int], geometry: Geometry) -> Array:
    """w[:, q], to be multiplied with an array."""
    if geometry.channels_first:
        return w[(slice(None), 0, *q)].reshape(-1, *(1,) * geometry.axes)
    return w[(*q, 0)]
