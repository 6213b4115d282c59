"""The three maps of the one trilinear form, each as one `lax.conv_general_dilated`.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    conv            y  = ∂T/∂g
    conv_input_vjp  dx = ∂T/∂x
    conv_weight_vjp dw = ∂T/∂w

Letters, per spatial axis: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size,
r the last positions of the padded input that no window reads.
x is (batch, in, *n), w (out, in/groups, *k), g (batch, out, *m); channels last: (batch, *n, in), (*k, in/groups, out),
(batch, *m, out). Half precision accumulates in float32 and is rounded once.

lax never sees a negative padding: the array is sliced first. XLA's convolution in JAX 0.10 gives wrong numbers on a CPU
for some pairs of paddings of opposite sign (openxla/xla issue 48713).

Source: the sums above, each index shift read off T; V. Dumoulin and F. Visin 2016, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv._jax.marks import left_to_lax
from jaxconv.algorithms.unroll import Axis, geometry_of, per_axis, window
from jaxconv.sizes.arguments import Size, is_symbolic
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

Map = Literal["conv", "conv_input_vjp", "conv_weight_vjp"]
MAPS: tuple[Map, ...] = get_args(Map)


def unsupported(problem: Problem) -> str | None:
    """Nothing: it is lax's own."""
    return None


@left_to_lax
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    array, kernel = _specs(geometry)
    x, padding = _sliced(x, array[2:], geometry.padding)
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=geometry.stride,
        padding=padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(array, kernel, array),
        feature_group_count=geometry.groups,
        **_sums(x, precision),
    ).astype(x.dtype)


@left_to_lax
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]

    g with s − 1 zeros between its elements meets the kernel flipped, with its two channel axes exchanged. The padding
    behind, n + lo − 1 − s(m − 1), is d(k − 1) − hi + r.
    """
    array, kernel = _specs(geometry)
    # A symbolic size leaves r open: pad for the largest one, and cut off what that gives too much.
    r = [axis.s - 1 if is_symbolic(axis.n) else axis.rest for axis in per_axis(geometry)]
    padding = [(axis.reach - axis.lo, axis.reach - axis.hi + r) for axis, r in zip(per_axis(geometry), r, strict=True)]
    g, padding = _sliced(g, array[2:], padding, geometry.stride)
    dx = lax.conv_general_dilated(
        g,
        flip_kernel(w, geometry),
        window_strides=(1,) * geometry.axes,
        padding=padding,
        lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation,
        dimension_numbers=lax.ConvDimensionNumbers(array, kernel, array),
        feature_group_count=geometry.groups,
        **_sums(g, precision),
    ).astype(g.dtype)
    return _cut(dx, array[2:], geometry.input_size)


@left_to_lax
def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    x meets g as a kernel: batch and channels exchange their roles, and so do stride and dilation. The padding behind,
    s(m − 1) + 1 − n + d(k − 1) − lo, is hi − r.
    """
    (batch, channels, *space), (out, per_group, *taps) = _specs(geometry)
    exchanged, made = (channels, batch, *space), (per_group, out, *taps)
    padding = [(axis.lo, axis.hi - (0 if is_symbolic(axis.n) else axis.rest)) for axis in per_axis(geometry)]
    x, padding = _sliced(x, space, padding)
    dw = lax.conv_general_dilated(
        x,
        g,
        window_strides=geometry.dilation,
        padding=padding,
        rhs_dilation=geometry.stride,
        dimension_numbers=lax.ConvDimensionNumbers(exchanged, exchanged, made),
        batch_group_count=geometry.groups,
        **_sums(x, precision),
    ).astype(x.dtype)
    return _cut(dw, taps, geometry.kernel_size)


def _sums(a: Array, precision: Precision) -> dict[str, Any]:
    """What lax adds up in."""
    return {"precision": precision, "preferred_element_type": accumulator(a.dtype)}


def left_to_jax(which: Map, a: Array, b: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """One of the maps for JAX to differentiate: the derivatives that JAX writes have no negative padding either.

    JAX pads the convolution of dx by (d(k − 1) − lo, d(k − 1) − hi + r), that of dw by (lo, hi − r). On an axis where
    one of these is negative x is padded, and cut, to what the windows read, apart from the convolution.
    """
    axes, of, apart = per_axis(geometry), {"conv": conv, "conv_weight_vjp": conv_weight_vjp}, []
    for i, (at, axis) in enumerate(zip(_specs(geometry)[0][2:], axes, strict=True)):
        if not is_symbolic(axis.n) and not (0 <= axis.lo <= axis.reach and 0 <= axis.hi - axis.rest <= axis.reach):
            axes[i] = axis._replace(n=axis.span(axis.m), lo=0, hi=0)
            apart.append((at, axis))
    inner = geometry_of(axes, geometry)
    if which == "conv_input_vjp":
        dx = conv_input_vjp(a, b, inner, precision)
        for at, axis in apart:
            dx = window(dx, at, axis.lo, axis.n)
        return dx
    for at, axis in apart:
        a = window(a, at, -axis.lo, axis.span(axis.m))
    return of[which](a, b, inner, precision)


def _sliced(
    x: Array, axes: Sequence[int], padding: Sequence[tuple[int, int]], dilation: Sequence[int] | None = None
) -> tuple[Array, list[tuple[int, int]]]:
    """x without what negative paddings cut off of it, and the paddings that are left, none of them negative.

    Of x dilated by s, to cut off c positions on one side is to drop ⌈c/s⌉ elements and to pad what that is too much.
    """
    left = []
    for axis, (lo, hi), s in zip(axes, padding, dilation or (1,) * len(axes), strict=True):
        low, high = (0 if is_symbolic(width) else -(min(width, 0) // s) for width in (lo, hi))
        if (low or high) and low + high >= x.shape[axis]:  # no window meets an element: one zero stands for all of x
            left.append((s * (x.shape[axis] - 1) + lo + hi, 0))
            zero = jnp.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
            x = pcast_to(zero, axes_of(x))
            continue
        if low or high:
            x = lax.slice_in_dim(x, low, x.shape[axis] - high, axis=axis)
        left.append((lo + s * low, hi + s * high))
    return x, left


def _cut(array: Array, axes: Sequence[int], sizes: Sequence[Size]) -> Array:
    """`array` cut to `sizes` on `axes`; a no-op where it has them already."""
    for axis, size in zip(axes, sizes, strict=True):
        if array.shape[axis] is not size and array.shape[axis] != size:
            array = lax.slice_in_dim(array, 0, size, axis=axis)
    return array


def flip_kernel(w: Array, geometry: Geometry) -> Array:
    """The kernel that g meets in dx: flipped, and (out, in/groups, …) → (in, out/groups, …) within each group."""
    (out, per_group, *taps), G = _specs(geometry)[1], geometry.groups
    parts = jnp.moveaxis(lax.rev(w, taps), (out, per_group), (0, 1))
    parts = parts.reshape(G, len(parts) // G, *parts.shape[1:]).swapaxes(1, 2)
    return jnp.moveaxis(parts.reshape(G * parts.shape[1], *parts.shape[2:]), (0, 1), (out, per_group))


def transposed_geometry(geometry: Geometry) -> Geometry:
    """The geometry of the convolution of g with `flip_kernel(w)` that makes dx where the stride is one."""
    padding = tuple((axis.reach - axis.lo, axis.reach - axis.hi) for axis in per_axis(geometry))
    return replace(geometry, input_size=geometry.output_size, padding=padding)


def exchanged_geometry(geometry: Geometry) -> Geometry:
    """The geometry of the convolution of x with g as its kernel that makes dw: stride and dilation exchanged, too."""
    axes = [Axis(a.n, a.m, a.d, a.s, a.lo, a.hi - a.rest, a.k) for a in per_axis(geometry)]
    return geometry_of(axes, geometry)


def _specs(geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of (batch, channels, *space) in an array, and of (out, in/groups, *taps) in a kernel."""
    axes = geometry.axes
    if geometry.channels_first:
        first = tuple(range(axes + 2))
        return first, first
    return (0, axes + 1, *range(1, axes + 1)), (axes + 1, axes, *range(axes))
