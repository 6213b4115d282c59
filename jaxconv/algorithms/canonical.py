"""The three maps as `lax.conv_general_dilated` in the one layout that XLA's convolution on a CPU is tuned for.

    arrays (batch, *space, channels), kernels (*taps, in, out), batch and channels where they stand for themselves

XLA moves the axes of a convolution there by itself, but at the top of a program only: inside a loop or a branch every
other layout runs as a plain nest of loops, 80 to 400 times slower. So they are moved here. Nor is it tuned for a kernel
longer than what it slides over, 3 to 40 times slower: that is padded here, as an array of its own. Letters, formulas
and arguments as in `reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import layout, reference
from jaxconv.sizes.geometry import Geometry


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    y = _product(layout.last(x, geometry), layout.kernel_last(w, geometry), _last(geometry), precision)
    return layout.from_last(y, geometry).astype(x.dtype)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    moved, images, kernel = _last(geometry), layout.last(g, geometry), layout.kernel_last(w, geometry)
    if max(geometry.stride) == 1:
        dx = _product(images, reference.flip_kernel(kernel, moved), reference.transposed_geometry(moved), precision)
    else:
        dx = reference.conv_input_vjp(images, kernel, moved, precision)
    return layout.from_last(dx, geometry).astype(g.dtype)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    The convolution of x by g, batch and channels and stride and dilation exchanged: input channels are its batch, and
    the batch its input channels. With groups it is no such convolution: lax's own form.
    """
    if geometry.groups > 1:
        return reference.conv_weight_vjp(x, g, geometry, precision)
    exchanged = replace(
        _last(geometry),
        kernel_size=geometry.output_size,
        stride=geometry.dilation,
        padding=tuple((lo, hi - r) for (lo, hi), r in zip(geometry.padding, reference.rest(geometry), strict=True)),
        dilation=geometry.stride,
    )
    images = jnp.moveaxis(layout.last(x, geometry), (-1, 0), (0, -1))
    dw = _product(images, jnp.moveaxis(layout.last(g, geometry), 0, -2), exchanged, precision)
    dw = jnp.moveaxis(dw, 0, -2)  # (*taps, in, out)
    return layout.kernel_from_last(dw, geometry).astype(x.dtype)


def longer(kernel: Sequence[int], slid_over: Sequence[int]) -> bool:
    """Whether a kernel is longer than what it slides over, its padding left out, on any axis."""
    return any(k > n for k, n in zip(kernel, slid_over, strict=True))


def _product(x: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    """y, behind whatever padding it needs for XLA's tuned product."""
    if geometry.groups == 1 and longer(geometry.kernel_size, geometry.input_size):
        widths = [(0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.padding), (0, 0, 0)]
        x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), widths))  # else XLA takes it for the padding
        geometry = replace(geometry, input_size=x.shape[1:-1], padding=((0, 0),) * geometry.axes)
    return reference.conv(x, w, geometry, precision)


def _last(geometry: Geometry) -> Geometry:
    return replace(geometry, layout="channels_last")
