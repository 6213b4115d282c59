"""The three maps as `lax.conv_general_dilated` in the one layout that XLA's convolution on a CPU is tuned for.

    arrays (batch, *space, channels), kernels (*taps, in, out), batch and channels where they stand for themselves

XLA moves the axes of a convolution there by itself, but at the top of a program only: inside a loop or a branch every
other layout runs as a plain nest of loops, 80 to 400 times slower. So they are moved here. Nor is it tuned for a kernel
longer than what it slides over, 3 to 40 times slower: that is padded here, as an array of its own. Letters, formulas
and arguments as in `reference`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import reference
from jaxconv.algorithms.layout import in_layout, to_accumulator
from jaxconv.algorithms.unroll import padded
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem


def unsupported(problem: Problem) -> str | None:
    """lax's grouped dw compiles for minutes, and takes 400 times as long as a product."""
    if problem.which == "conv_weight_vjp" and problem.geometry.groups > 1:
        return f"`groups` must be 1 for a weight gradient; got groups={problem.geometry.groups}"
    return None


@in_layout("channels_last")
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    return _product(to_accumulator(x), to_accumulator(w), geometry, precision).astype(x.dtype)


@in_layout("channels_last")
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    wide, kernel = to_accumulator(g), to_accumulator(w)
    if max(geometry.stride) > 1:
        return reference.conv_input_vjp(wide, kernel, geometry, precision).astype(g.dtype)
    flipped, transposed = reference.flip_kernel(kernel, geometry), reference.transposed_geometry(geometry)
    return _product(wide, flipped, transposed, precision).astype(g.dtype)


@in_layout("channels_last")
def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    The convolution of x by g, batch and channels and stride and dilation exchanged: input channels are its batch, and
    the batch its input channels. With groups it is no such convolution: lax's own form.
    """
    if geometry.groups > 1:
        return reference.conv_weight_vjp(x, g, geometry, precision)
    images, kernel = jnp.moveaxis(to_accumulator(x), (-1, 0), (0, -1)), jnp.moveaxis(to_accumulator(g), 0, -2)
    dw = _product(images, kernel, reference.exchanged_geometry(geometry), precision)
    return jnp.moveaxis(dw, 0, -2).astype(x.dtype)  # (*taps, in, out)


def _product(x: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    """y, behind whatever padding it needs for XLA's tuned product."""
    longer = any(k > n for k, n in zip(geometry.kernel_size, geometry.input_size, strict=True))
    if geometry.groups == 1 and longer:
        x = lax.optimization_barrier(padded(x, 1, geometry.padding))  # else XLA takes it for the padding
        geometry = replace(geometry, input_size=x.shape[1:-1], padding=((0, 0),) * geometry.axes)
    return reference.conv(x, w, geometry, precision)
