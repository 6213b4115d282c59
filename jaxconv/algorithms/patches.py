"""The maps where windows do not overlap: each position reads a patch of its own, or a 1x1.

    U[(b,p), (q,i)] = x[b, s·p + d·q − lo, i]        a row for each position, in their order in memory

    conv            y  = U W
    conv_input_vjp  dx = fold(g Wᵀ)        fold the adjoint of x → U, which puts every patch where it came from
    conv_weight_vjp dw = Uᵀ g

With channels last W is the kernel as it is, and Uᵀ g its gradient as it is: nothing is moved but pixels of a patch, and
of a 1x1 without stride and padding nothing at all. With channels first nothing is where one window is the whole image,
as in a dense layer: a row of U is an image as it lies, and a row of Wᵀ a filter. For one group; letters as in
`reference`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.row_major import transposed
from jaxconv.algorithms.layout import depth_to_space, first_broken, space_to_depth, to_accumulator, zeros
from jaxconv.algorithms.unroll import padded, per_axis, window
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

# Of U, at a time: what stays in a cache; 8 and 16 MB are up to a third slower, 4x4 patches three times as slow.
STEP_BYTES = 1 << 22
COLUMNS = 128  # of aᵀ b, from which on a is transposed before: 1.0 to 1.45 times as fast, with 96 0.6 to 1.1


def unsupported(problem: Problem) -> str | None:
    """Patches are rows in memory."""
    g, several = problem.geometry, not _one_window(problem.geometry)
    layout = "`layout` must be 'channels_last', or one window the whole image; got layout='channels_first'"
    windows = f"windows must not overlap; got kernel_size={g.kernel_size}, stride={g.stride}"
    return first_broken(
        (g.channels_first and several, layout),
        (g.groups > 1, f"`groups` must be 1; got groups={g.groups}"),
        (problem.overlap and several, windows),
    )


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    if geometry.channels_first:
        return _of_rows(x, w, (1, 1), precision).reshape(len(x), len(w), *geometry.output_size)
    W = _matrix(w)

    def images(x: Array) -> Array:
        y = jnp.matmul(_rows(to_accumulator(x), geometry), W, precision=precision)
        return y.reshape(len(x), *geometry.output_size, w.shape[-1]).astype(x.dtype)

    return loops.chunked_map(images, x, _at_once(x, geometry, w.shape[-2]))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    if geometry.channels_first:
        return _of_rows(g, w, (1, 0), precision).reshape(len(g), -1, *geometry.input_size)
    W = _matrix(w)

    def images(g: Array) -> Array:
        U = lax.dot_general(_matrix(g), W, (((1,), (1,)), ((), ())), precision=precision)
        if w.shape[-1] == 1:  # no product then, and merged with the fold every element would cost divisions
            U = lax.optimization_barrier(U)
        return _fold(U.reshape(len(g), -1), geometry).astype(g.dtype)

    return loops.chunked_map(images, g, _at_once(g, geometry, w.shape[-2]))


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    if geometry.channels_first:
        return _of_rows(g, x, (0, 0), precision).reshape(g.shape[1], -1, *geometry.kernel_size)
    channels, filters = x.shape[-1], g.shape[-1]

    def images(total: Array, x: Array, g: Array) -> Array:
        return total + over_rows(_rows(to_accumulator(x), geometry), _matrix(g), precision)

    total = zeros((geometry.taps * channels, filters), x)
    dw = loops.chunked_sum(images, total, (x, g), _at_once(x, geometry, channels))
    return dw.reshape(*geometry.kernel_size, channels, filters).astype(x.dtype)


def _one_window(geometry: Geometry) -> bool:
    """Whether the one window there is reads every position of the image, and none outside it."""
    return all(axis.m == 1 and axis.lo == 0 and axis.k == axis.span(1) == axis.n for axis in per_axis(geometry))


def _of_rows(a: Array, b: Array, summed: tuple[int, int], precision: Precision) -> Array:
    """The product of two arrays as matrices, a row for the first axis of each, over these axes of them."""
    left, right = (to_accumulator(each).reshape(len(each), -1) for each in (a, b))
    numbers = (((summed[0],), (summed[1],)), ((), ()))
    return lax.dot_general(left, right, numbers, precision=precision).astype(a.dtype)


def over_rows(a: Array, b: Array, precision: Precision) -> Array:
    """aᵀ b, made with fewer columns on the left: twice as fast as the other way round.

    The product of a transposed array reads it in strides; an array of many columns is worth being transposed before.
    """
    if a.shape[1] > b.shape[1]:
        # Without the barrier the compiler turns it round again.
        return lax.optimization_barrier(over_rows(b, a, precision)).T
    if a.shape[1] >= COLUMNS:
        return lax.dot_general(transposed(a, (1, 0)), b, (((1,), (0,)), ((), ())), precision=precision)
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision)


def _at_once(x: Array, geometry: Geometry, channels: int) -> int:
    """How many images: all of a 1x1, whose U is x or a part of it, unless it is widened."""
    sums = accumulator(x.dtype)
    if geometry.taps == 1 and x.dtype == sums:
        return len(x)
    nbytes = math.prod(geometry.output_size) * geometry.taps * channels * sums.itemsize
    return loops.largest_chunk(len(x), nbytes, STEP_BYTES)


def _rows(x: Array, geometry: Geometry) -> Array:
    """U (images · positions, taps · channels)"""
    if _one_window(geometry):
        return x.reshape(len(x), -1)
    for at, axis in enumerate(per_axis(geometry), 1):
        x = window(x, at, -axis.lo, axis.s * axis.m)
    patches = space_to_depth(x, geometry.stride, geometry.kernel_size)
    return patches.reshape(-1, geometry.taps * x.shape[-1])


def _fold(U: Array, geometry: Geometry) -> Array:
    """x (images, *space, channels), from (images, positions · taps · channels)"""
    if _one_window(geometry):
        return U.reshape(len(U), *geometry.input_size, -1)
    x = U.reshape(len(U), *geometry.output_size, *geometry.kernel_size, -1)
    axes = per_axis(geometry)
    x = depth_to_space(padded(x, 1 + len(axes), [(0, axis.s - axis.k) for axis in axes]), len(axes))
    for at, axis in enumerate(axes, 1):
        x = window(x, at, axis.lo, axis.n)
    return x


def _matrix(a: Array) -> Array:
    """W (taps · in, out) of a kernel, g (images · positions, out) of an array, in the dtype of the sums."""
    return to_accumulator(a).reshape(-1, a.shape[-1])
