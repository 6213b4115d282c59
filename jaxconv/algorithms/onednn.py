"""The three maps as convolutions of oneDNN, which lies inside jaxlib (`jaxconv._jax.onednn`).

oneDNN is called for y alone. dx without a stride is y of the flipped kernel; with one, the positions of x that leave
remainder r by the stride meet the taps that do, and make a dx without a stride among themselves:

    x̃_r[t] = x[s·t + r]        dx̃_r[b, i, t] = Σ_{o, q: d·q − lo = s·δ + r} w[o,i,q] · g[b, o, t − δ]

dw is the convolution of x by g, batch and channels and stride and dilation exchanged. Where an axis stands is told by
its name, and oneDNN moves it: N batch, C channels, H… space, O and I the channels of a kernel, as lax names them.

Never chosen by default: the call is not public, and what oneDNN has no program for ends the process. So `unsupported`
refuses more than it must. Letters as in `reference`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import onednn
from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv.algorithms import reference
from jaxconv.algorithms.unroll import interleave, padded
from jaxconv.sizes.geometry import Geometry


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    space = _space(geometry)
    array, kernel = ("NC" + space, "OI" + space) if geometry.channels_first else (f"N{space}C", space + "IO")
    return _product(x, w, (array, kernel, array), geometry)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    axis = next((axis for axis, s in enumerate(geometry.stride) if s > 1), None)
    if axis is None:
        return conv(g, reference.flip_kernel(w, geometry), reference.transposed_geometry(geometry), precision)
    first = geometry.channels_first
    at, n, s = axis + 1 + first, geometry.input_size[axis], geometry.stride[axis]
    shape = [*g.shape]
    phases = []
    for r in range(min(s, n)):
        taps, phase = _phase(geometry, axis, r)
        if not len(taps):
            phases.append(None)
            continue
        w_r = lax.slice_in_dim(w, taps[0], taps[-1] + 1, taps.step, axis + 2 * first)
        phases.append(conv_input_vjp(g, w_r, phase, precision))
    zero = jnp.zeros_like(next(each for each in phases if each is not None))
    return interleave([zero if each is None else each for each in phases], at, n)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    Of groups (group, image) is the input channel, which is moved in memory.
    """
    space, first, groups = _space(geometry), geometry.channels_first, geometry.groups
    exchanged = replace(
        geometry,
        kernel_size=geometry.output_size,
        stride=geometry.dilation,
        padding=tuple((lo, hi - r) for (lo, hi), r in zip(geometry.padding, reference.rest(geometry), strict=True)),
        dilation=geometry.stride,
    )
    array, kernel, result = ("CN" + space, "IO" + space, "CN" + space) if first else (f"C{space}N", f"I{space}O", space + "NC")
    if groups > 1:
        channel = 1 if first else -1
        parts = x.reshape(len(x), groups, -1, *x.shape[2:]) if first else x.reshape(*x.shape[:-1], groups, -1)
        if first:
            x = parts.transpose(2, 1, 0, *range(3, parts.ndim)).reshape(parts.shape[2], -1, *x.shape[2:])
            array = "NC" + space
        else:
            x = parts.transpose(parts.ndim-1, *range(1, parts.ndim-2), parts.ndim-2, 0).reshape(parts.shape[-1], *x.shape[1:-1], -1)
            array = f"N{space}C"
    return _product(x, g, (array, kernel, result), exchanged)


def _phase(geometry: Geometry, axis: int, r: int) -> tuple[range, Geometry]:
    """The taps of one axis that meet the positions that leave remainder r, and the geometry among these."""
    n, s, d, (lo, _) = (each[axis] for each in (geometry.input_size, geometry.stride, geometry.dilation, geometry.padding))
    k, m, step = geometry.kernel_size[axis], geometry.output_size[axis], s // math.gcd(s, d)
    q = next((q for q in range(min(step, k)) if (d * q - lo - r) % s == 0), k)
    taps = range(q, k, step)
    count, apart, before = -(-n // s), d * step // s, -((d * q - lo - r) // s)
    behind = m - count - before + apart * (len(taps) - 1)
    return taps, _with(geometry, axis, count, len(taps), 1, (before, behind), apart)


def _with(geometry: Geometry, axis: int, n, k, s, pads, d) -> Geometry:
    def at(values, value):
        return (*values[:axis], value, *values[axis + 1 :])
    return replace(geometry, input_size=at(geometry.input_size, n), kernel_size=at(geometry.kernel_size, k), stride=at(geometry.stride, s), padding=at(geometry.padding, pads), dilation=at(geometry.dilation, d))


def _product(x: Array, w: Array, names: tuple[str, str, str], geometry: Geometry) -> Array:
    at = names[0].index("C" if False else _space(geometry)[0])
    cuts = [(min(lo, 0), min(hi, 0)) for lo, hi in geometry.padding]
    x = padded(x, at, cuts)
    return onednn.conv_general_dilated(
        x, w, geometry.stride, [(max(lo, 0), max(hi, 0)) for lo, hi in geometry.padding], geometry.dilation, names, geometry.groups
    )


def _space(geometry: Geometry) -> str:
    """The names of the spatial axes."""
    return "DHW"[3 - geometry.axes :]
