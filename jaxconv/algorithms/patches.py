"""The maps where windows do not overlap: each position reads a patch of its own, or a 1x1.

    U[(b,p), (q,i)] = x[b, s·p + d·q − lo, i]        a row for each position, in their order in memory

    conv            y  = U W
    conv_input_vjp  dx = fold(g Wᵀ)        fold the adjoint of x → U, which puts every patch where it came from
    conv_weight_vjp dw = Uᵀ g

With channels last, for one group, W is the kernel as it is, and Uᵀ g its gradient as it is: nothing is moved but pixels
of a patch, and of a 1x1 without stride and padding nothing at all. With channels first an image of a 1x1 is a matrix
for each group, and some images' products are made at once, a core for each; and where one window is the whole image, as
in a dense layer, a row of U is an image as it lies. Letters as in `reference`.
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
    """With channels last patches are rows in memory; with channels first only whole images are matrices."""
    g, several = problem.geometry, not _one_window(problem.geometry)
    layout = "`layout` must be 'channels_last', or the kernel 1x1 or the whole image; got layout='channels_first'"
    windows = f"windows must not overlap; got kernel_size={g.kernel_size}, stride={g.stride}"
    return first_broken(
        (g.channels_first and several and g.taps > 1, layout),
        (g.groups > 1 and not g.channels_first, f"`groups` must be 1 with channels last; got groups={g.groups}"),
        (problem.overlap and several, windows),
    )


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    if geometry.channels_first:
        y = _of_images(_of_groups(w, geometry), _read(x, geometry), precision)
        return y.reshape(len(x), len(w), *geometry.output_size)
    W = _matrix(w)

    def images(x: Array) -> Array:
        y = jnp.matmul(_rows(to_accumulator(x), geometry), W, precision=precision)
        return y.reshape(len(x), *geometry.output_size, w.shape[-1]).astype(x.dtype)

    return loops.chunked_map(images, x, _at_once(x, geometry, w.shape[-2]))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    if geometry.channels_first:
        W = _of_groups(w, geometry).swapaxes(1, 2)
        return _spread(_of_images(W, _by_group(g, geometry), precision), geometry)
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
        dw = _over_images(_by_group(g, geometry), _read(x, geometry), precision)
        return dw.reshape(g.shape[1], -1, *geometry.kernel_size).astype(x.dtype)
    channels, filters = x.shape[-1], g.shape[-1]

    def images(total: Array, x: Array, g: Array) -> Array:
        return total + over_rows(_rows(to_accumulator(x), geometry), _matrix(g), precision)

    total = zeros((geometry.taps * channels, filters), x)
    dw = loops.chunked_sum(images, total, (x, g), _at_once(x, geometry, channels))
    return dw.reshape(*geometry.kernel_size, channels, filters).astype(x.dtype)


def _one_window(geometry: Geometry) -> bool:
    """Whether the one window there is reads every position of the image, and none outside it."""
    return all(axis.m == 1 and axis.lo == 0 and axis.k == axis.span(1) == axis.n for axis in per_axis(geometry))


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


# ------------------------------------------------------------------------------------------------- channels first


def _by_group(a: Array, geometry: Geometry) -> Array:
    """(images, groups, channels/groups, positions)"""
    return a.reshape(len(a), geometry.groups, a.shape[1] // geometry.groups, -1)


def _of_groups(w: Array, geometry: Geometry) -> Array:
    """W (groups, out/groups, taps · in/groups), in the dtype of the sums."""
    return to_accumulator(w).reshape(geometry.groups, len(w) // geometry.groups, -1)


def _read(x: Array, geometry: Geometry) -> Array:
    """(images, groups, in/groups, positions) of a 1x1; of one window (images, groups, taps · in/groups, 1)."""
    if _one_window(geometry):
        return x.reshape(len(x), geometry.groups, -1, 1)
    for at, axis in enumerate(per_axis(geometry), 2):
        x = window(x, at, -axis.lo, axis.m, axis.s)
    return _by_group(x, geometry)


def _spread(dx: Array, geometry: Geometry) -> Array:
    """The adjoint of `_read`."""
    if _one_window(geometry):
        return dx.reshape(len(dx), -1, *geometry.input_size)
    dx = dx.reshape(len(dx), -1, *geometry.output_size)
    for at, axis in enumerate(per_axis(geometry), 2):
        dx = padded(dx, at, [(-axis.lo, axis.n + axis.lo - axis.span(axis.m))], axis.s - 1)
    return dx


def _of_images(W: Array, x: Array, precision: Precision) -> Array:
    """W[g] x[b,g] for every image and group; of one position each, and one group, they are rows of one product."""
    if x.shape[1] == x.shape[-1] == 1:
        return jnp.matmul(to_accumulator(x[:, 0, :, 0]), W[0].T, precision=precision)[:, None, :, None].astype(x.dtype)

    def images(x: Array) -> Array:
        of_each = jnp.broadcast_to(W, (len(x), *W.shape))
        return jnp.matmul(of_each, to_accumulator(x), precision=precision).astype(x.dtype)

    return loops.chunked_map(images, x, _matrices_at_once(x, W.nbytes))


def _over_images(g: Array, x: Array, precision: Precision) -> Array:
    """Σ_b g[b,g] x[b,g]ᵀ for every group, in the dtype of the sums; the factor of more channels on the left."""
    if g.shape[2] < x.shape[2]:
        return _over_images(x, g, precision).swapaxes(1, 2)
    if x.shape[1] == x.shape[-1] == 1:
        left, right = (to_accumulator(each[:, 0, :, 0]) for each in (g, x))
        return jnp.matmul(left.T, right, precision=precision)[None]

    def images(total: Array, g: Array, x: Array) -> Array:
        numbers = (((3,), (3,)), ((0, 1), (0, 1)))
        made = lax.dot_general(to_accumulator(g), to_accumulator(x), numbers, precision=precision)
        return total + jnp.sum(made, 0)

    total = zeros((*g.shape[1:3], x.shape[2]), x)
    return loops.chunked_sum(images, total, (g, x), _matrices_at_once(g, total.nbytes))


def _matrices_at_once(x: Array, matrix_bytes: int) -> int:
    """How many images: each has matrices of its own, and is widened where the sums are of another dtype."""
    sums = accumulator(x.dtype)
    widened = 0 if x.dtype == sums else x[0].size * sums.itemsize
    return loops.largest_chunk(len(x), max(matrix_bytes, widened), STEP_BYTES)
