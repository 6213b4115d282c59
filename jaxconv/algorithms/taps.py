"""dw with channels last: a product for each tap of the first axis.

    U_q[(b,p), (q',i)] = x[b, s·p + d·(q,q') − lo, i]        q tap of the first axis, q' of the others

    conv_weight_vjp  dw[q] = U_qᵀ g

A loop over q gathers what its windows read, along the last axis runs of numbers that follow one another. So the program
is short whatever the kernel, a product is as wide as the taps of the other axes make it, and of x no more is laid out
than what one q reads. For one group and two axes or more; letters as in `reference`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv.algorithms import layout
from jaxconv.algorithms.patches import over_rows
from jaxconv.algorithms.unroll import span
from jaxconv.sizes.geometry import Geometry

IMAGE_BYTES = 1 << 24  # that are laid out of one image: with 38 MB it is half as fast as lax
STEP_BYTES = 1 << 23  # of U_q and g, at a time; where dw is larger as much as it, which every step adds to


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    channels, filters = x.shape[-1], g.shape[-1]
    k, s, d, m = geometry.kernel_size[0], geometry.stride[0], geometry.dilation[0], geometry.output_size
    columns = math.prod(geometry.kernel_size[1:]) * channels
    fewer = filters < columns  # which stand on the left of the product, and are the rows of what is added up
    starts = np.asarray([divmod(d * q, s) for q in range(k)], np.int32)  # d·q = s·t + r

    def images(total: Array, x: Array, g: Array) -> Array:
        rows, G = _rows_apart(layout.to_accumulator(x), geometry), layout.to_accumulator(g).reshape(-1, filters)

        def tap(start: Array) -> Array:
            # An array of its own before it becomes a matrix: else the compiler would move it once more.
            U = lax.optimization_barrier(_windows(rows, start, geometry, channels)).reshape(-1, columns)
            return over_rows(G, U, precision) if fewer else over_rows(U, G, precision)

        return total + lax.map(tap, starts)

    sums = accumulator(x.dtype)
    total = pcast_to(jnp.zeros((k, *sorted((filters, columns))), sums), axes_of(x))
    nbytes = math.prod(m) * (columns + filters) * sums.itemsize
    dw = loops.chunked_sum(images, total, (x, g), loops.largest_chunk(len(x), nbytes, max(STEP_BYTES, total.nbytes)))
    return (dw.swapaxes(1, 2) if fewer else dw).reshape(*geometry.kernel_size, channels, filters).astype(x.dtype)


def laid_out(geometry: Geometry, channels: int) -> int:
    """Bytes of U_q of one image in float32."""
    return math.prod((*geometry.output_size, *geometry.kernel_size[1:], channels)) * 4


def fits(geometry: Geometry, channels: int) -> bool:
    """Whether windows are runs of numbers, and images so small that what is laid out of one stays in a cache."""
    return geometry.dilation[-1] == 1 and laid_out(geometry, channels) <= IMAGE_BYTES


def short(geometry: Geometry, channels: int, filters: int) -> bool:
    """Whether so few taps, of so many channels, that lax's one product has no advantage, and images so small."""
    return max(geometry.kernel_size) <= 4 and min(channels, filters) >= 32 and fits(geometry, channels)


def _rows_apart(x: Array, geometry: Geometry) -> Array:
    """x, padded or cut to what is read, as (b, t, r, …, (j,i)), row j₁ + lo₁ = s₁·t + r: but for the padding a view."""
    channels, s = x.shape[-1], geometry.stride[0]
    spans = [span(geometry, axis, m) for axis, m in enumerate(geometry.output_size)]  # what the outputs read
    spans[0] += -spans[0] % s
    edges = [
        (lo, size - lo - n, 0) for (lo, _), size, n in zip(geometry.padding, spans, geometry.input_size, strict=True)
    ]
    before, behind, _ = edges[-1]
    edges[-1] = (channels * before, channels * behind, 0)  # with the channels as one axis: compiles faster
    padded = lax.pad(x.reshape(*x.shape[:-2], -1), jnp.zeros((), x.dtype), [(0, 0, 0), *edges])
    return padded.reshape(len(x), -1, s, *padded.shape[2:])


def _windows(rows: Array, start: Array, geometry: Geometry, channels: int) -> Array:
    """What the windows read of rows t, r and of all other axes, (b, *p, (q',i)); undilated taps of the last at once."""
    others = list(zip(geometry.kernel_size, geometry.stride, geometry.dilation, geometry.output_size, strict=True))[1:]
    positions = [s * np.arange(m) for _, s, _, m in others]
    taps = [d * np.arange(k) for k, _, d, _ in others]
    k, _, d, _ = others[-1]
    run = k if d == 1 else 1
    taps[-1] = taps[-1][::run]
    grid = np.meshgrid(*positions, *taps, indexing="ij")
    at = [p + q for p, q in zip(grid[: len(others)], grid[len(others) :], strict=True)]
    at[-1] *= channels  # the axis (j,i)
    starts = jnp.asarray(np.stack([0 * at[0], 0 * at[0], *at], -1), np.int32)
    starts += lax.pad(start, np.int32(0), [(0, len(others), 0)])
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(0, 1, 2 + grid[0].ndim),
        collapsed_slice_dims=tuple(range(2, rows.ndim - 1)),
        start_index_map=tuple(range(1, rows.ndim)),
    )
    sizes = (len(rows), geometry.output_size[0], *[1] * len(others), run * channels)
    windows = lax.gather(rows, starts, numbers, sizes, mode="promise_in_bounds")
    return windows.reshape(len(rows), *geometry.output_size, -1)
