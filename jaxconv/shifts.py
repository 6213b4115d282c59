"""y and dx where a group has few channels: sums of shifted arrays, since matrices so small are slower.

    conv             y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]        i: the channels of o's group
    conv_input_vjp   dx[b,i,j] = Σ_{q,o} w[o,i,q] · g[b, o, j + lo − d·q]         for a stride of 1

A term (q, i) is a view of x times a number for every output channel, and y a loop over its elements that adds up as
many terms as the registers and the first-level cache have room for. Within this module arrays are (batch, groups,
channels/groups, *space), as they come with channels first; with channels last (batch, *space, channels/groups, groups),
the first channels of all groups side by side, so that what is read in a row is long. They are in the accumulator's
dtype. Letters as in `jaxconv.reference`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv import layout, steps
from jaxconv.geometry import Geometry
from jaxconv.precision import Precision
from jaxconv.varying import axes_of, vary

Term = tuple[tuple[int, ...], int]  # q, i

TERMS = 25  # of one loop: with twice as many y takes 1.5 times as long
TERM_BYTES = 24 << 10  # that they read for one position with channels last: a first-level cache holds 32 KB and more
FEWEST = 9  # terms of one loop even so: each loop reads and writes all of y
MOST_BYTES = 1 << 25  # of padded x and y: larger arrays are new memory in every call, at twice the time
STEP_BYTES = 20 << 20  # of those in a step, then
BARRIERS = jax.__version_info__ >= (0, 11)  # keep loops apart on a CPU: before, they are dropped too early


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    narrow, filters = x.dtype, w.shape[0 if geometry.channels_first else -1]
    geometry, times = _one_to_one(filters, x, geometry)
    w = _grouped(layout.wide(w), geometry, 0)
    if geometry.channels_first:  # (G, out/G, in/G, *taps) → (taps, in/G, G, out/G)
        w = w.reshape(*w.shape[:3], -1).transpose(3, 2, 0, 1)
    flat = lax.optimization_barrier(w.reshape(-1))
    as_it_is = narrow == w.dtype and (geometry.channels_first or filters == geometry.groups)

    def images(x: Array) -> Array:
        x = layout.wide(x) if times == 1 else jnp.repeat(layout.wide(x), times, axis=-1)
        x = lax.optimization_barrier(_padded(_grouped(x, geometry), geometry))
        y, parts = None, _parts(x.shape[_member(geometry)], filters, geometry, x.dtype.itemsize)
        for terms in parts:
            sum_up = functools.partial(_sum, terms, y, x, flat, filters, geometry)
            y = sum_up() if terms is parts[-1] and as_it_is else _alone(sum_up, x)
        assert y is not None
        return _together(y, geometry, 1).astype(narrow)

    return steps.mapped(images, x, _images(x, times, filters, geometry, w.dtype.itemsize))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{q,o} w[o,i,q] · g[b, o, j + lo − d·q] for a stride of 1: a convolution with the kernel flipped."""
    mirrored = replace(
        geometry,
        input_size=geometry.output_size,
        padding=tuple(
            (d * (k - 1) - lo, d * (k - 1) - hi)
            for k, d, (lo, hi) in zip(geometry.kernel_size, geometry.dilation, geometry.padding, strict=True)
        ),
    )
    first = geometry.channels_first
    flipped = lax.rev(w, range(2, w.ndim) if first else range(w.ndim - 2))
    swapped = _together(_grouped(flipped, geometry, 0).swapaxes(*((1, 2) if first else (-2, -3))), geometry, 0)
    # Flipped once: of half precision JAX 0.12 would flip it anew for every output, and take 15 times as long.
    return conv(g, lax.optimization_barrier(swapped), mirrored)


# ------------------------------------------------------------------------------------------------- a value in parts


def _parts(channels: int, filters: int, geometry: Geometry, itemsize: int) -> list[list[tuple[int, Term]]]:
    """All terms of y, numbered, in parts of equal length that are a loop each; so many channels are in a group."""
    most = TERMS
    if not geometry.channels_first:  # every term reads a row of x and a row of w
        most = min(TERMS, max(FEWEST, TERM_BYTES // ((geometry.groups + filters) * itemsize)))
    terms = list(enumerate(itertools.product(np.ndindex(*geometry.kernel_size), range(channels))))
    ends = np.linspace(0, len(terms), -(-len(terms) // most) + 1).round().astype(int).tolist()
    return [terms[start:end] for start, end in itertools.pairwise(ends)]


def _images(x: Array, times: int, filters: int, geometry: Geometry, itemsize: int) -> int:
    """How many images at a time: all, or as many as stay in a cache."""
    padded = math.prod(n + sum(pads) for n, pads in zip(geometry.input_size, geometry.padding, strict=True))
    of_x = padded * math.prod(x.shape) // (len(x) * math.prod(geometry.input_size)) * times
    each = (of_x + filters * math.prod(geometry.output_size)) * itemsize
    return len(x) if len(x) * each <= MOST_BYTES else steps.images_below(len(x), each, STEP_BYTES)


def _sum(
    terms: Sequence[tuple[int, Term]], y: Array | None, x: Array, w: Array, filters: int, geometry: Geometry
) -> Array:
    """y + Σ w[o,i,q] · x[b, i, s·p + d·q − lo] over some terms, in two sums that do not wait for each other.

    w is flat: (terms, G, out/G), or (terms, out/G, G) with channels last.
    """
    G, m, axes = geometry.groups, geometry.output_size, range(geometry.axes + 3)
    shape = (len(x), G, filters // G, *m) if geometry.channels_first else (len(x), *m, filters // G, G)
    member = _member(geometry)
    of_x = [axis for axis in axes if axis != member]
    of_w = [1, 2] if geometry.channels_first else [member, member + 1]
    products = []
    for t, (q, i) in terms:
        numbers = lax.slice_in_dim(w, t * filters, (t + 1) * filters).reshape([shape[axis] for axis in of_w])
        view = lax.squeeze(_view(x, q, i, geometry), [member])
        products.append(lax.mul(lax.broadcast_in_dim(numbers, shape, of_w), lax.broadcast_in_dim(view, shape, of_x)))
    sums = [functools.reduce(lax.add, some) for some in (products[::2], products[1::2]) if some]
    return functools.reduce(lax.add, sums if y is None else [y, *sums])


def _alone(f: Callable[[], Array], like: Array) -> Array:
    """f(), in a loop of its own, that what reads it is not merged into; it varies over the same mesh axes as an array.

    What JAX 0.10 does not merge is a branch that it cannot foresee.
    """
    if BARRIERS:
        return lax.optimization_barrier(f())
    made = jax.eval_shape(f)
    other = vary(jnp.zeros(made.shape, made.dtype), axes_of(like))
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), f, lambda: other)


# ------------------------------------------------------------------------------------------------------------- views


def _one_to_one(filters: int, x: Array, geometry: Geometry) -> tuple[Geometry, int]:
    """Groups of one filter, and how often they repeat their channel: with channels last y is in order, then."""
    if geometry.channels_first or x.shape[-1] > geometry.groups:
        return geometry, 1
    return replace(geometry, groups=filters), filters // geometry.groups


def _grouped(x: Array, geometry: Geometry, axis: int = 1) -> Array:
    """With the channels of an array (axis 1), or the filters of a kernel (axis 0), as groups and what is in each."""
    if geometry.channels_first:
        return x.reshape(*x.shape[:axis], geometry.groups, -1, *x.shape[axis + 1 :])
    return x.reshape(*x.shape[:-1], geometry.groups, -1).swapaxes(-1, -2)


def _together(x: Array, geometry: Geometry, axis: int) -> Array:
    """The way back from `_grouped`."""
    if geometry.channels_first:
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x.swapaxes(-1, -2).reshape(*x.shape[:-2], -1)


def _member(geometry: Geometry) -> int:
    """The axis of a group's channels."""
    return 2 if geometry.channels_first else geometry.axes + 1


def _space(geometry: Geometry) -> range:
    """The spatial axes."""
    return range(3, 3 + geometry.axes) if geometry.channels_first else range(1, 1 + geometry.axes)


def _padded(x: Array, geometry: Geometry) -> Array:
    if all(pads == (0, 0) for pads in geometry.padding):
        return x
    edges = [(0, 0, 0)] * x.ndim
    for axis, (lo, hi) in zip(_space(geometry), geometry.padding, strict=True):
        edges[axis] = (lo, hi, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _view(x: Array, q: Sequence[int], i: int, geometry: Geometry) -> Array:
    """x[b, i, s·p + d·q] of every output position p."""
    starts, ends, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
    for axis, tap, m, s, d in zip(
        _space(geometry), q, geometry.output_size, geometry.stride, geometry.dilation, strict=True
    ):
        starts[axis], ends[axis], strides[axis] = d * tap, d * tap + s * (m - 1) + 1, s
    starts[_member(geometry)], ends[_member(geometry)] = i, i + 1
    return lax.slice(x, starts, ends, strides)
