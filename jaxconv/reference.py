"""The three maps of the one trilinear form, each as one `lax.conv_general_dilated`.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    conv            y  = ∂T/∂g
    conv_input_vjp  dx = ∂T/∂x
    conv_weight_vjp dw = ∂T/∂w

Letters, per spatial axis: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size.
x is (batch, in, *n), w (out, in/groups, *k), g (batch, out, *m); channels last: (batch, *n, in), (*k, in/groups, out),
(batch, *m, out). Half precision accumulates in float32 and is rounded once.

Source: the sums above, each index shift read off T; V. Dumoulin and F. Visin 2016, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from jaxconv.geometry import Geometry
from jaxconv.precision import Precision, accumulator


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    array, kernel = _specs(geometry)
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=geometry.stride,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(array, kernel, array),
        feature_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=accumulator(x.dtype),
    ).astype(x.dtype)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]

    g with s − 1 zeros between its elements meets the kernel flipped, with its two channel axes exchanged.
    """
    array, kernel = _specs(geometry)
    padding = [(d * (k - 1) - lo, n + lo - 1 - s * (m - 1)) for n, k, s, (lo, _), d, m in _per_axis(geometry)]
    flipped = lax.rev(w, kernel[2:])
    return lax.conv_general_dilated(
        g,
        exchange_channels(flipped, geometry),
        window_strides=(1,) * geometry.axes,
        padding=padding,
        lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(array, kernel, array),
        feature_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=accumulator(g.dtype),
    ).astype(g.dtype)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    x meets g as a kernel: batch and channels exchange their roles, and so do stride and dilation.
    """
    array, kernel = _specs(geometry)
    padding = [(lo, s * (m - 1) + 1 - n + d * (k - 1) - lo) for n, k, s, (lo, _), d, m in _per_axis(geometry)]
    batch, channels, *space = array
    out, per_group, *taps = kernel
    return lax.conv_general_dilated(
        x,
        g,
        window_strides=geometry.dilation,
        padding=padding,
        rhs_dilation=geometry.stride,
        dimension_numbers=lax.ConvDimensionNumbers(
            (channels, batch, *space), (channels, batch, *space), (per_group, out, *taps)
        ),
        batch_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=accumulator(x.dtype),
    ).astype(x.dtype)


def exchange_channels(w: Array, geometry: Geometry) -> Array:
    """w with input and output channels exchanged within each group: (out, in/groups, …) → (in, out/groups, …)."""
    out, per_group = _specs(geometry)[1][:2]
    groups = geometry.groups
    parts = jnp.moveaxis(w, (out, per_group), (0, 1))
    parts = parts.reshape(groups, parts.shape[0] // groups, *parts.shape[1:]).swapaxes(1, 2)
    parts = parts.reshape(groups * parts.shape[1], *parts.shape[2:])
    return jnp.moveaxis(parts, (0, 1), (out, per_group))


def _specs(geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of (batch, channels, *space) in an array, and of (out, in/groups, *taps) in a kernel."""
    axes = geometry.axes
    if geometry.channels_first:
        first = tuple(range(axes + 2))
        return first, first
    return (0, axes + 1, *range(1, axes + 1)), (axes + 1, axes, *range(axes))


def _per_axis(geometry: Geometry) -> Sequence[tuple]:
    """(n, k, s, (lo, hi), d, m) for each spatial axis."""
    return tuple(
        zip(
            geometry.input_size,
            geometry.kernel_size,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.output_size,
            strict=True,
        )
    )
