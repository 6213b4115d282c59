"""dx with a stride and channels last as one convolution without a stride: no zero is put between positions of g.

    x̃[t, (r,i)] = x[s·t + r, i]        w̃[δ, o, (r,i)] = w[q, i, o] where d·q − lo = s·δ + r, zero where there is no q

    conv_input_vjp  dx̃[b, t, (r,i)] = Σ_{o,δ} w̃[δ, o, (r,i)] · g[b, t − δ, o]

The positions of x that leave one remainder r by the stride are one phase of it; the phases of dx are channels of the
one convolution, which pays off where x has few. For one group; letters as in `reference`.

Source: the polyphase decomposition of P. P. Vaidyanathan 1993, section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv.accuracy.nonfinite import unless_finite
from jaxconv.algorithms import gemm, layout, reference
from jaxconv.sizes.geometry import Geometry


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    s, n, m = geometry.stride, geometry.input_size, geometry.output_size
    before_zero = [-(lo // -each) for (lo, _), each in zip(geometry.padding, s, strict=True)]  # −δ of tap 0, the least
    kernel = _kernel(layout.to_accumulator(w), before_zero, geometry)
    taps = kernel.shape[: geometry.axes]
    counts = [-(-size // each) for size, each in zip(n, s, strict=True)]  # of t
    unstrided = Geometry(
        input_size=m,
        kernel_size=taps,
        stride=(1,) * geometry.axes,
        padding=tuple(
            (size - 1 - first, count + first - outputs)
            for size, first, count, outputs in zip(taps, before_zero, counts, m, strict=True)
        ),
        dilation=(1,) * geometry.axes,
        layout="channels_last",
    )
    phases = reference.conv(layout.to_accumulator(g), kernel, unstrided, precision)
    dx = layout.depth_to_space(phases.reshape(len(g), *counts, *s, w.shape[-2]), geometry.axes)
    dx = lax.slice(dx, [0] * dx.ndim, [len(g), *n, dx.shape[-1]]).astype(g.dtype)
    # The zeros of w̃ meet every g.
    return unless_finite(dx, lambda: gemm.conv_input_vjp(g, w, geometry, precision))


def _kernel(w: Array, before_zero: Sequence[int], geometry: Geometry) -> Array:
    """w̃ (*δ, out, *r · in), the last δ first, as a convolution reads it."""
    axes = geometry.axes
    edges = [(0, 0, 0)]
    for first, (lo, _), s, d, k in zip(
        before_zero, geometry.padding, geometry.stride, geometry.dilation, geometry.kernel_size, strict=True
    ):
        before = s * first - lo
        edges.append((before, -(before + d * (k - 1) + 1) % s, d - 1))
    by_input = lax.pad(jnp.moveaxis(w, -2, 0), jnp.zeros((), w.dtype), [*edges, (0, 0, 0)])
    taps = layout.space_to_depth(by_input, geometry.stride)  # (in, *δ, *r, out)
    taps = taps.transpose(*range(1, axes + 1), -1, *range(axes + 1, 2 * axes + 1), 0)
    return lax.rev(taps, range(axes)).reshape(*taps.shape[: axes + 1], -1)
