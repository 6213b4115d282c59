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
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import onednn
from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv.algorithms import reference
from jaxconv.algorithms.layout import in_layout
from jaxconv.algorithms.unroll import Axis, StridePhase, geometry_of, interleave, padded, per_axis, stride_phases
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

MOST_NUMBERS = (1 << 29) - 1  # of an array: 2 GB, which a signed integer of 32 bits still counts in bytes
MOST_PHASES = 16  # of a strided dx, each a call and a line of the program


def unsupported(problem: Problem) -> str | None:
    """Why oneDNN must not be called for a `Problem`; None where it may.

    >>> from types import SimpleNamespace
    >>> unsupported(SimpleNamespace(dtype="float64", partitioned=False, geometry=Geometry.of("conv", 5, 3)))
    'float32 alone, not float64'
    """
    geometry = problem.geometry
    if problem.dtype != "float32":
        return f"float32 alone, not {problem.dtype}"
    if geometry.axes > 3:
        return f"up to three spatial axes, not {geometry.axes}"
    if problem.partitioned or jax.device_count() > 1 or not jax.sharding.get_abstract_mesh().empty:
        return "one device alone: the compiler cannot cut up what it knows nothing of"
    if (why := onednn.missing()) is not None:
        return why
    n, k, G = geometry.input_size, geometry.kernel_size, geometry.groups
    channels, filters = G * problem.channels, G * problem.filters
    if any(map(is_symbolic, (problem.batch, channels, filters, *n))):
        return "sizes must be numbers"
    arrays = (problem.batch, channels, *n), (problem.batch, filters, *geometry.output_size), (filters, channels, *k)
    if 0 in map(math.prod, arrays):
        return "an array is empty"
    if max(map(math.prod, arrays)) > MOST_NUMBERS:
        return f"arrays of up to {MOST_NUMBERS:,} numbers"
    phases = math.prod(min(each) for each in zip(geometry.stride, n, strict=True))
    if problem.which == "conv_input_vjp" and phases > MOST_PHASES:
        return f"dx of up to {MOST_PHASES} phases of the stride, not {phases}"
    return None


@in_layout("channels_last")
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    return _product(x, w, geometry)


@in_layout("channels_last")
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    return _input_vjp(g, w, geometry)


@in_layout("channels_last")
def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    The channels of a group are the batch; (group, image) is the channel.
    """
    parts = x.reshape(len(x), *geometry.input_size, geometry.groups, -1)
    images = jnp.moveaxis(parts, (-1, 0), (0, -1)).reshape(parts.shape[-1], *geometry.input_size, -1)
    dw = _product(images, jnp.moveaxis(g, 0, -2), reference.exchanged_geometry(geometry))
    return jnp.moveaxis(dw, 0, -2)


def _input_vjp(g: Array, w: Array, geometry: Geometry) -> Array:
    """dx, channels last, by the phases of the first axis that has a stride; each by those of the next."""
    axis = next((axis for axis, s in enumerate(geometry.stride) if s > 1), None)
    if axis is None:
        return _product(g, reference.flip_kernel(w, geometry), reference.transposed_geometry(geometry))
    split = per_axis(geometry)[axis]
    found = {phase.remainder: phase for phase in stride_phases(split)}
    parts = []
    for r in range(min(split.s, split.n)):
        if (phase := found.get(r)) is None:  # no tap meets these positions
            size = [*geometry.input_size[:axis], -(-split.n // split.s), *geometry.input_size[axis + 1 :]]
            parts.append(_zeros((len(g), *size, w.shape[-2] * geometry.groups), g, w))
            continue
        met = lax.slice_in_dim(w, phase.taps[0], phase.taps[-1] + 1, _step(phase.taps), axis)
        parts.append(_input_vjp(g, met, _of_phase(geometry, axis, phase)))
    return interleave(parts, 1 + axis, split.n)


def _of_phase(geometry: Geometry, axis: int, phase: StridePhase) -> Geometry:
    """That of g and x̃ of one remainder along this axis, without a stride there: of all remainders equally long."""
    axes = per_axis(geometry)
    split, apart, before = axes[axis], _step(phase.shifts), -phase.shifts[0]
    count, reach = -(-split.n // split.s), apart * (len(phase.taps) - 1)
    axes[axis] = Axis(count, len(phase.taps), 1, apart, before, split.m - count - before + reach, split.m)
    return geometry_of(axes, geometry)


def _step(numbers: Sequence[int]) -> int:
    """Between evenly spaced numbers; 1 where there is one alone."""
    return numbers[1] - numbers[0] if len(numbers) > 1 else 1


def _product(x: Array, w: Array, geometry: Geometry) -> Array:
    """y, channels last; what negative padding cuts off is cut off first, and zero where that is all of x."""
    cuts = [(min(lo, 0), min(hi, 0)) for lo, hi in geometry.padding]
    if any(n + lo + hi < 1 for n, (lo, hi) in zip(x.shape[1:-1], cuts, strict=True)):
        return _zeros((len(x), *geometry.output_size, w.shape[-1]), x, w)
    padding = [(max(lo, 0), max(hi, 0)) for lo, hi in geometry.padding]
    return onednn.convolution(padded(x, 1, cuts), w, geometry.stride, padding, geometry.dilation, geometry.groups)


def _zeros(shape: tuple[int, ...], x: Array, w: Array) -> Array:
    """As a product of x and w would be."""
    return pcast_to(jnp.zeros(shape, x.dtype), axes_of(x) | axes_of(w))
