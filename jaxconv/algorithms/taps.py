"""dw with channels last: a product for each tap of the first axis.

    U_q[(b,p), (q',i)] = x[b, s·p + d·(q,q') − lo, i]        q tap of the first axis, q' of the others

    conv_weight_vjp  dw[q] = U_qᵀ g

A loop over q reads its rows of x; of the other axes the taps lie side by side in the channels. So the program is short,
a product is as wide as the taps of the other axes make it, and of x no more is laid out than what one q reads. For one
group and two axes or more; letters as in `reference`. `one_by_one` is a product for each tap of all axes, for whatever
`gemm` makes that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv.algorithms.layout import first_broken, to_accumulator, too_long, zeros
from jaxconv.algorithms.patches import over_rows
from jaxconv.algorithms.unroll import Axis, padded, per_axis, taps_as_channels
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

STEP_BYTES = 1 << 23  # of U_q and g, at a time; where dw is larger as much as it, which every step adds to


def unsupported(problem: Problem) -> str | None:
    """What it reads are rows of memory; of them the taps of an axis are lines of the program."""
    g = problem.geometry
    return first_broken(
        (g.channels_first, "`layout` must be 'channels_last'; got layout='channels_first'"),
        (g.groups > 1, f"`groups` must be 1; got groups={g.groups}"),
        (g.axes == 1, "there must be two spatial axes or more; got one"),
    ) or too_long(problem)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    channels, filters, sums = x.shape[-1], g.shape[-1], accumulator(x.dtype)
    first, *others = per_axis(geometry)
    columns = math.prod(axis.k for axis in others) * channels
    fewer = filters < columns  # which stand on the left of the product, and are the rows of what is added up
    starts = np.asarray(first.polyphase(0), np.int32)  # d·q = s·t + r

    def images(total: Array, x: Array, g: Array) -> Array:
        rows, G = _rows_apart(to_accumulator(x), first, others), to_accumulator(g).reshape(-1, filters)

        def tap(start: Array) -> Array:
            read = lax.dynamic_slice_in_dim(rows, start[0], first.m, 1)
            U = lax.dynamic_index_in_dim(read, start[1], 2, keepdims=False)
            for at, axis in enumerate(others, 2):
                U = taps_as_channels(U, at, axis)
            # An array of its own before it becomes a matrix: else the compiler would move it once more.
            U = lax.optimization_barrier(U).reshape(-1, columns)
            return over_rows(G, U, precision) if fewer else over_rows(U, G, precision)

        return total + lax.map(tap, starts)

    total = zeros((first.k, *sorted((filters, columns))), x)
    nbytes = math.prod(geometry.output_size) * (columns + filters) * sums.itemsize
    dw = loops.chunked_sum(images, total, (x, g), loops.largest_chunk(len(x), nbytes, max(STEP_BYTES, total.nbytes)))
    dw = (dw.swapaxes(1, 2) if fewer else dw).reshape(first.k, *(axis.k for axis in others[::-1]), channels, filters)
    return dw.transpose(0, *range(len(others), 0, -1), -2, -1).astype(x.dtype)


def _rows_apart(x: Array, first: Axis, others: Sequence[Axis]) -> Array:
    """x, padded or cut to what is read, as (b, t, r, …, i), row j₁ + lo₁ = s₁·t + r: but for the padding a view."""
    spans = [first.span(first.m), *(axis.span(axis.m) for axis in others)]
    spans[0] += -spans[0] % first.s
    x = padded(x, 1, [(axis.lo, size - axis.lo - axis.n) for axis, size in zip((first, *others), spans, strict=True)])
    return x.reshape(len(x), -1, first.s, *x.shape[2:])


def one_by_one(x: Array, g: Array, geometry: Geometry, precision: Precision) -> Array:
    """dw (out, in/groups, *taps) in the dtype of the sums, one tap after the other; slower, and of a short program.

    x and g are (groups, channels/groups, images, *space). Nothing is laid out, so that no zero but of the padding meets
    what the other array holds.
    """
    axes, first = per_axis(geometry), x.ndim - geometry.axes
    x = padded(to_accumulator(x), first, [(axis.lo, axis.span(axis.m) - axis.lo - axis.n) for axis in axes])
    sizes = (*x.shape[:first], *(axis.s * (axis.m - 1) + 1 for axis in axes))
    starts = np.array(list(np.ndindex(*geometry.kernel_size)), np.int32) * np.array(geometry.dilation, np.int32)
    summed = tuple(range(2, x.ndim))

    def tap(start: Array) -> Array:
        read = lax.dynamic_slice(x, [np.int32(0)] * first + list(start), sizes)
        read = lax.slice(read, [0] * x.ndim, sizes, (1,) * first + geometry.stride)
        return lax.dot_general(to_accumulator(g), read, ((summed, summed), ((0,), (0,))), precision=precision)

    dw = jnp.moveaxis(lax.map(tap, starts), 0, -1)  # (groups, out/groups, in/groups, taps)
    return dw.reshape(-1, x.shape[1], *geometry.kernel_size)
