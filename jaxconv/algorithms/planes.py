"""The maps of three spatial axes as those of two: taps of the first axis join the channels, its positions the batch.

    U[(b,p₁), …, (q₁,i)] = x[b, s₁·p₁ + d₁·q₁ − lo₁, …, i]        W[…, (q₁,i), o] = w[q₁, …, i, o]

    conv            y  = conv(U, W)
    conv_input_vjp  dx = fold(conv_input_vjp(g, W))        fold the adjoint of x → U
    conv_weight_vjp dW = conv_weight_vjp(U, g)

XLA has a tuned product for two axes: with all taps of a third in it, it is faster than products of one's own, and needs
a quarter of their time to compile. U is k₁ times as large as x: it is made for as many images at a time as fit into
32 MB, but for dw (see `choose`).
Channels are last here, dtypes the accumulator's. Letters as in `reference`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import canonical, layout, taps
from jaxconv.algorithms.unroll import span, window
from jaxconv.sizes.geometry import Geometry

U_BYTES = 1 << 25  # at a time: a larger one is new memory in every call, and costs more than it saves


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    W = _kernel(w, geometry)

    def images(x: Array) -> Array:
        U = _unroll(layout.last(x, geometry), geometry)
        y = canonical.conv(U.reshape(-1, *U.shape[2:]), W, _of_two_axes(geometry), precision)
        return layout.from_last(y.reshape(*U.shape[:2], *y.shape[1:]), geometry).astype(x.dtype)

    return loops.chunked_map(images, x, _at_a_time(x, W, geometry))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    W = _kernel(w, geometry)

    def images(g: Array) -> Array:
        planes = layout.last(g, geometry)
        planes = planes.reshape(-1, *planes.shape[2:])
        U = canonical.conv_input_vjp(planes, W, _of_two_axes(geometry), precision)
        return layout.from_last(_fold(U.reshape(len(g), -1, *U.shape[1:]), geometry), geometry).astype(g.dtype)

    return loops.chunked_map(images, g, _at_a_time(g, W, geometry))


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    U, planes, two = _unroll(layout.last(x, geometry), geometry), layout.last(g, geometry), _of_two_axes(geometry)
    form = taps if taps.short(two, U.shape[-1], planes.shape[-1]) else canonical
    dW = form.conv_weight_vjp(*(each.reshape(-1, *each.shape[2:]) for each in (U, planes)), two, precision)
    dw = dW.reshape(*dW.shape[:2], geometry.kernel_size[0], -1, dW.shape[-1])  # (k₂, k₃, k₁, in, out)
    return layout.kernel_from_last(jnp.moveaxis(dw, 2, 0), geometry).astype(x.dtype)


def elements(geometry: Geometry, channels: int) -> int:
    """Of U, of one image."""
    return geometry.kernel_size[0] * channels * geometry.output_size[0] * math.prod(geometry.input_size[1:])


def _at_a_time(a: Array, W: Array, geometry: Geometry) -> int:
    """How many images of x or g are laid out at a time."""
    of_image = elements(geometry, W.shape[-2] // geometry.kernel_size[0]) * W.dtype.itemsize
    return loops.largest_chunk(len(a), of_image, U_BYTES)


def _unroll(x: Array, geometry: Geometry) -> Array:
    """U[p₁, …, (q₁,i)] = x[s₁·p₁ + d₁·q₁ − lo₁, …, i]"""
    k, s, d, m = (each[0] for each in (geometry.kernel_size, geometry.stride, geometry.dilation, geometry.output_size))
    read = window(x, 1, -geometry.padding[0][0], span(geometry, 0, m))
    taps = [lax.slice_in_dim(read, d * q, d * q + s * (m - 1) + 1, s, 1) for q in range(k)]
    return lax.concatenate(taps, x.ndim - 1)


def _fold(U: Array, geometry: Geometry) -> Array:
    """x[j₁, …, i] = Σ_{q₁,p₁: s₁·p₁ + d₁·q₁ − lo₁ = j₁} U[p₁, …, (q₁,i)]"""
    k, s, d = geometry.kernel_size[0], geometry.stride[0], geometry.dilation[0]
    zero, edges = jnp.zeros((), U.dtype), [(0, 0, 0)] * U.ndim
    parts = []
    for q, tap in enumerate(lax.split(U, [U.shape[-1] // k] * k, U.ndim - 1)):
        edges[1] = (d * q, d * (k - 1 - q), s - 1)
        parts.append(lax.pad(tap, zero, edges))
    return window(functools.reduce(lax.add, parts), 1, geometry.padding[0][0], geometry.input_size[0])


def _kernel(w: Array, geometry: Geometry) -> Array:
    """W (*taps of two axes, k₁·in, out)"""
    w = jnp.moveaxis(layout.kernel_last(w, geometry), 0, -3)
    return w.reshape(*w.shape[:-3], -1, w.shape[-1])


def _of_two_axes(geometry: Geometry) -> Geometry:
    """The geometry of the last two axes."""
    names = ("input_size", "kernel_size", "stride", "padding", "dilation")
    return replace(geometry, layout="channels_last", **{name: getattr(geometry, name)[1:] for name in names})
