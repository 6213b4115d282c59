"""The three maps as convolutions of oneDNN, which lies inside jaxlib (`jaxconv._jax.onednn`).

    arrays (batch, *space, channels), kernels (*taps, in, out)

oneDNN is called for y alone. dx without a stride is y of the flipped kernel; with one, the positions of x that leave
remainder r by the stride meet the taps that do, and make a dx without a stride among themselves:

    x̃[t] = x[s·t + r]        dx̃[b,i,t] = Σ_{o, q: d·q − lo = s·δ + r} w[o,i,q] · g[b, o, t − δ]

dw is the convolution of x by g, batch and channels and stride and dilation exchanged.

Never chosen by default: the call is not public, and what oneDNN has no program for ends the process. So `unsupported`
refuses more than it must. Letters as in `reference`.

Source: the polyphase decomposition of P. P. Vaidyanathan 1993, section 4.3.
"""

from __future__ import annotations

import math
from dataclasses import replace

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import onednn
from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import layout, reference
from jaxconv.algorithms.unroll import interleave, padded
from jaxconv.sizes.geometry import Geometry


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    y = _product(layout.last(x, geometry), layout.kernel_last(w, geometry), _last(geometry))
    return layout.from_last(y, geometry)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    dx = _input_vjp(layout.last(g, geometry), layout.kernel_last(w, geometry), _last(geometry))
    return layout.from_last(dx, geometry)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    The channels of a group are the batch; (group, image) is the channel.
    """
    exchanged = replace(
        _last(geometry),
        kernel_size=geometry.output_size,
        stride=geometry.dilation,
        padding=tuple((lo, hi - r) for (lo, hi), r in zip(geometry.padding, reference.rest(geometry), strict=True)),
        dilation=geometry.stride,
    )
    parts = layout.last(x, geometry).reshape(len(x), *geometry.input_size, geometry.groups, -1)
    images = jnp.moveaxis(parts, (-1, 0), (0, -1)).reshape(parts.shape[-1], *geometry.input_size, -1)
    dw = _product(images, jnp.moveaxis(layout.last(g, geometry), 0, -2), exchanged)
    return layout.kernel_from_last(jnp.moveaxis(dw, 0, -2), geometry)


def _input_vjp(g: Array, w: Array, geometry: Geometry) -> Array:
    """dx, channels last, by the phases of the first axis that has a stride; each by those of the next."""
    axis = next((axis for axis, s in enumerate(geometry.stride) if s > 1), None)
    if axis is None:
        return _product(g, reference.flip_kernel(w, geometry), reference.transposed_geometry(geometry))
    s, n = geometry.stride[axis], geometry.input_size[axis]
    phases: list[Array | None] = []
    for r in range(min(s, n)):
        taps, phase = _phase(geometry, axis, r)
        met = lax.slice_in_dim(w, taps[0], taps[-1] + 1, taps.step, axis) if taps else None
        phases.append(None if met is None else _input_vjp(g, met, phase))
    zero = jnp.zeros_like(next(each for each in phases if each is not None))
    return interleave([zero if each is None else each for each in phases], 1 + axis, n)


def _phase(geometry: Geometry, axis: int, r: int) -> tuple[range, Geometry]:
    """The taps of one axis that the positions with remainder r meet, and the geometry of these and those."""
    n, k, m = geometry.input_size[axis], geometry.kernel_size[axis], geometry.output_size[axis]
    s, d, (lo, _) = geometry.stride[axis], geometry.dilation[axis], geometry.padding[axis]
    step = s // math.gcd(s, d)
    taps = range(next((q for q in range(min(step, k)) if (d * q - lo - r) % s == 0), k), k, step)
    count, apart = -(-n // s), d * step // s
    before = -((d * taps.start - lo - r) // s)  # −δ of the first tap
    behind = m - count - before + apart * (len(taps) - 1)

    def at(values: tuple, value: object) -> tuple:
        return (*values[:axis], value, *values[axis + 1 :])

    return taps, replace(
        geometry,
        input_size=at(geometry.input_size, count),
        kernel_size=at(geometry.kernel_size, len(taps)),
        stride=at(geometry.stride, 1),
        padding=at(geometry.padding, (before, behind)),
        dilation=at(geometry.dilation, apart),
    )


def _product(x: Array, w: Array, geometry: Geometry) -> Array:
    """y, channels last; what negative padding cuts off is cut off first."""
    x = padded(x, 1, [(min(lo, 0), min(hi, 0)) for lo, hi in geometry.padding])
    padding = [(max(lo, 0), max(hi, 0)) for lo, hi in geometry.padding]
    return onednn.convolution(x, w, geometry.stride, padding, geometry.dilation, geometry.groups)


def _last(geometry: Geometry) -> Geometry:
    return replace(geometry, layout="channels_last")
