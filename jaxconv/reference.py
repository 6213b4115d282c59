"""The three maps of the one trilinear form, each as one `lax.conv_general_dilated`.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    conv            y  = ∂T/∂g
    conv_input_vjp  dx = ∂T/∂x
    conv_weight_vjp dw = ∂T/∂w

Letters, per spatial axis: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size,
r the last positions of the padded input that no window reads.
x is (batch, in, *n), w (out, in/groups, *k), g (batch, out, *m); channels last: (batch, *n, in), (*k, in/groups, out),
(batch, *m, out). Half precision accumulates in float32 and is rounded once.

Source: the sums above, each index shift read off T; V. Dumoulin and F. Visin 2016, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxconv.arguments import Size, is_symbolic
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

    g with s − 1 zeros between its elements meets the kernel flipped, with its two channel axes exchanged. The padding
    behind, n + lo − 1 − s(m − 1), is d(k − 1) − hi + r.
    """
    array, kernel = _specs(geometry)
    # A symbolic size leaves r open: pad for the largest one, and cut off what that gives too much.
    sizes = geometry.input_size, geometry.stride, rest(geometry)
    r = [s - 1 if is_symbolic(n) else over for n, s, over in zip(*sizes, strict=True)]
    dx = lax.conv_general_dilated(
        g,
        turned(w, geometry),
        window_strides=(1,) * geometry.axes,
        padding=[(d * (k - 1) - lo, d * (k - 1) - hi + r) for k, (lo, hi), d, r in _per_axis(geometry, r)],
        lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(array, kernel, array),
        feature_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=accumulator(g.dtype),
    ).astype(g.dtype)
    return _cut(dx, array[2:], geometry.input_size)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    x meets g as a kernel: batch and channels exchange their roles, and so do stride and dilation. The padding behind,
    s(m − 1) + 1 − n + d(k − 1) − lo, is hi − r.
    """
    array, kernel = _specs(geometry)
    r = [0 if is_symbolic(n) else over for n, over in zip(geometry.input_size, rest(geometry), strict=True)]
    batch, channels, *space = array
    out, per_group, *taps = kernel
    dw = lax.conv_general_dilated(
        x,
        g,
        window_strides=geometry.dilation,
        padding=[(lo, hi - r) for _, (lo, hi), _, r in _per_axis(geometry, r)],
        rhs_dilation=geometry.stride,
        dimension_numbers=lax.ConvDimensionNumbers(
            (channels, batch, *space), (channels, batch, *space), (per_group, out, *taps)
        ),
        batch_group_count=geometry.groups,
        precision=precision,
        preferred_element_type=accumulator(x.dtype),
    ).astype(x.dtype)
    return _cut(dw, taps, geometry.kernel_size)


def rest(geometry: Geometry) -> list[int]:
    """r per axis: the last positions of the padded input, (n + lo + hi − d(k − 1) − 1) mod s, that no window reads."""
    sizes = geometry.input_size, geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation
    return [(n + lo + hi - d * (k - 1) - 1) % s for n, k, s, (lo, hi), d in zip(*sizes, strict=True)]


def _per_axis(geometry: Geometry, over: Sequence[int]) -> Iterator[tuple]:
    """(k, (lo, hi), d, r) for each spatial axis."""
    return zip(geometry.kernel_size, geometry.padding, geometry.dilation, over, strict=True)


def _cut(array: Array, axes: Sequence[int], sizes: Sequence[Size]) -> Array:
    """`array` cut to `sizes` on `axes`; a no-op where it has them already."""
    for axis, size in zip(axes, sizes, strict=True):
        if array.shape[axis] is not size and array.shape[axis] != size:
            array = lax.slice_in_dim(array, 0, size, axis=axis)
    return array


def turned(w: Array, geometry: Geometry) -> Array:
    """The kernel that g meets in dx: flipped, its two channel axes exchanged."""
    return exchange_channels(lax.rev(w, _specs(geometry)[1][2:]), geometry)


def adjoint(geometry: Geometry) -> Geometry:
    """Of the convolution that makes dx, where there is no stride, of g and the kernel `turned`."""
    reach = [d * (k - 1) for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    padding = tuple((each - lo, each - hi) for each, (lo, hi) in zip(reach, geometry.padding, strict=True))
    return replace(geometry, input_size=geometry.output_size, padding=padding)


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
