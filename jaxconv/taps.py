"""dw of overlapping windows, channels last and many of them: a product of its own for each tap.

    U_q[(b,p), i] = x[b, s·p + d·q − lo, i]        a row for each position, in their order in memory

    conv_weight_vjp  dw[q] = U_qᵀ g

x lies with its positions apart by their remainders, j + lo = s·t + r, each remainder in front of the next axis: (b, t₁,
(r₁,t₂), …, (r,i)). There U_q is one block, which starts where d·q = s·t + r. A loop over taps cuts it out, so that the
program is short whatever the kernel. For one group; letters as in `jaxconv.reference`.
"""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv import layout, steps
from jaxconv.geometry import Geometry
from jaxconv.patches import over_rows
from jaxconv.precision import Precision, accumulator
from jaxconv.unroll import span
from jaxconv.varying import axes_of, vary

STEP_BYTES = 1 << 23  # of U_q and g, at a time: all at once is up to a third slower where the batch is large


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    channels, filters = x.shape[-1], g.shape[-1]
    starts = _starts(geometry, channels)

    def images(total: Array, x: Array, g: Array) -> Array:
        blocks, rows = _apart(layout.wide(x), geometry), layout.wide(g).reshape(-1, filters)
        size = (len(x), *geometry.output_size, channels)

        def tap(start: Array) -> Array:
            block = lax.dynamic_slice(blocks, list(start), size, allow_negative_indices=False)
            # A block of its own shape: cut out as rows it would compile five times as long.
            U = lax.optimization_barrier(block).reshape(-1, channels)
            return over_rows(U, rows, precision)

        return total + lax.map(tap, starts)

    sums = accumulator(x.dtype)
    total = vary(jnp.zeros((geometry.taps, channels, filters), sums), axes_of(x))
    nbytes = math.prod(geometry.output_size) * (channels + filters) * sums.itemsize
    dw = steps.summed(images, total, (x, g), steps.images_below(len(x), nbytes, STEP_BYTES))
    return dw.reshape(*geometry.kernel_size, channels, filters).astype(x.dtype)


def _apart(x: Array, geometry: Geometry) -> Array:
    """x, padded or cut to what is read, as (b, t₁, (r₁,t₂), …, (r,i)): but for the padding a view of it."""
    channels, s, counts = x.shape[-1], geometry.stride, _counts(geometry)
    edges = [
        (lo, each * count - lo - n, 0)
        for (lo, _), each, count, n in zip(geometry.padding, s, counts, geometry.input_size, strict=True)
    ]
    before, behind, _ = edges[-1]
    edges[-1] = (channels * before, channels * behind, 0)  # with the channels as one axis: compiles faster
    padded = lax.pad(x.reshape(*x.shape[:-2], -1), jnp.zeros((), x.dtype), [(0, 0, 0), *edges])
    after = [each * count for each, count in zip(s, [*counts[1:], channels], strict=True)]
    return padded.reshape(len(x), counts[0], *after)


def _starts(geometry: Geometry, channels: int) -> np.ndarray:
    """Where the block of every tap starts, (taps, axes + 2)."""
    s, d, counts = geometry.stride, geometry.dilation, _counts(geometry)
    starts = []
    for q in itertools.product(*map(range, geometry.kernel_size)):
        t, r = zip(*(divmod(d[axis] * tap, s[axis]) for axis, tap in enumerate(q)), strict=True)
        later = [r * count + t for r, count, t in zip(r, [*counts[1:], channels], [*t[1:], 0], strict=True)]
        starts.append([0, t[0], *later])
    return np.asarray(starts, np.int32)


def _counts(geometry: Geometry) -> list[int]:
    """How many t, along every axis, hold what the outputs read."""
    spans = (span(geometry, axis, m) for axis, m in enumerate(geometry.output_size))
    return [-(-size // s) for size, s in zip(spans, geometry.stride, strict=True)]
