"""The maps of three spatial axes as those of two: taps of the first axis join the channels, its positions the batch.

    U[(b,p₁), …, (q₁,i)] = x[b, s₁·p₁ + d₁·q₁ − lo₁, …, i]        W[…, (q₁,i), o] = w[q₁, …, i, o]

    conv            y  = conv(U, W)
    conv_input_vjp  dx = fold(conv_input_vjp(g, W))        fold the adjoint of x → U
    conv_weight_vjp dW = conv_weight_vjp(U, g)

For y and dx XLA has a tuned product for two axes: with all taps of a third in it, it is faster than products of one's
own, and needs a quarter of their time to compile; dW is made tap by tap (`taps`). U is k₁ times as large as x: it is
made for as many images at a time as fit into 32 MB, but for dw. Channels are last here, dtypes the accumulator's.
Letters as in `reference`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import canonical, taps
from jaxconv.algorithms.layout import first_broken, in_layout, to_accumulator, too_long
from jaxconv.algorithms.unroll import geometry_of, padded, per_axis, taps_as_channels, window
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

U_BYTES = 1 << 25  # at a time: a larger one is new memory in every call, and costs more than it saves


def unsupported(problem: Problem) -> str | None:
    """U of one image, or of the batch for dw, is held at once."""
    g, batch = problem.geometry, problem.batch if problem.which == "conv_weight_vjp" else 1
    nbytes = batch * _elements(g, problem.channels) * problem.itemsize if g.axes == 3 else 0
    return first_broken(
        (g.axes != 3, f"there must be three spatial axes; got {g.axes}"),
        (g.groups > 1, f"`groups` must be 1; got groups={g.groups}"),
        (nbytes > U_BYTES, f"x laid out must not exceed {U_BYTES >> 20} MB; got {nbytes >> 20} MB"),
    ) or too_long(problem)


@in_layout("channels_last")
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    W, two = _kernel(w), geometry_of(per_axis(geometry)[1:], geometry)

    def images(x: Array) -> Array:
        y = canonical.conv(_unroll(to_accumulator(x), geometry), W, two, precision)
        return y.reshape(len(x), -1, *y.shape[1:]).astype(x.dtype)

    return loops.chunked_map(images, x, _at_a_time(x, W, geometry))


@in_layout("channels_last")
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    W, two = _kernel(w), geometry_of(per_axis(geometry)[1:], geometry)

    def images(g: Array) -> Array:
        U = canonical.conv_input_vjp(_planes(to_accumulator(g)), W, two, precision)
        return _fold(U.reshape(len(g), -1, *U.shape[1:]), geometry).astype(g.dtype)

    return loops.chunked_map(images, g, _at_a_time(g, W, geometry))


@in_layout("channels_last")
def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    U, planes = _unroll(to_accumulator(x), geometry), _planes(to_accumulator(g))
    two = geometry_of(per_axis(geometry)[1:], geometry)
    dW = taps.conv_weight_vjp(U, planes, two, precision)  # (k₂, k₃, (q₁,i), out)
    dw = dW.reshape(*dW.shape[:2], geometry.kernel_size[0], -1, dW.shape[-1])
    return jnp.moveaxis(dw, 2, 0).astype(x.dtype)


def _elements(geometry: Geometry, channels: int) -> int:
    """Of U, of one image."""
    return geometry.kernel_size[0] * channels * geometry.output_size[0] * math.prod(geometry.input_size[1:])


def _at_a_time(a: Array, W: Array, geometry: Geometry) -> int:
    """How many images of x or g are laid out at a time."""
    of_image = _elements(geometry, W.shape[-2] // geometry.kernel_size[0]) * W.dtype.itemsize
    return loops.largest_chunk(len(a), of_image, U_BYTES)


def _unroll(x: Array, geometry: Geometry) -> Array:
    """U[(b,p₁), …, (q₁,i)] = x[b, s₁·p₁ + d₁·q₁ − lo₁, …, i]"""
    axis = per_axis(geometry)[0]
    return _planes(taps_as_channels(window(x, 1, -axis.lo, axis.span(axis.m)), 1, axis))


def _fold(U: Array, geometry: Geometry) -> Array:
    """x[b, j₁, …, i] = Σ_{q₁,p₁: s₁·p₁ + d₁·q₁ − lo₁ = j₁} U[b, p₁, …, (q₁,i)]"""
    axis = per_axis(geometry)[0]
    cut = enumerate(lax.split(U, [U.shape[-1] // axis.k] * axis.k, U.ndim - 1))
    parts = (padded(tap, 1, [(axis.d * q, axis.reach - axis.d * q)], axis.s - 1) for q, tap in cut)
    return window(functools.reduce(lax.add, parts), 1, axis.lo, axis.n)


def _planes(x: Array) -> Array:
    """(batch, first axis, …) → (batch · first axis, …)"""
    return x.reshape(-1, *x.shape[2:])


def _kernel(w: Array) -> Array:
    """W (*taps of two axes, k₁·in, out)"""
    w = jnp.moveaxis(to_accumulator(w), 0, -3)
    return w.reshape(*w.shape[:-3], -1, w.shape[-1])
