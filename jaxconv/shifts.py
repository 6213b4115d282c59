"""y and dx where a group has few channels: sums of shifted arrays, since matrices so small are slower.

    conv             y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]        i: the channels of o's group
    conv_input_vjp   dx[b, i, s·t + r] = Σ_{q,o} w[o,i,q] · g[b, o, t − δ]        q: the taps where d·q − lo = s·δ + r

A term (q, i) is a view of x times a number for every output channel, and y a loop over its elements that adds up as
many terms as the registers and the first-level cache have room for. Of dx the positions that leave one remainder r by
the stride are such a sum.

Within this module arrays are (batch, groups, channels/groups, *space), as they come with channels first; with channels
last (batch, *space, channels/groups, groups), the first channels of all groups side by side, so that what is read in a
row is long. They are in the accumulator's dtype. Letters as in `jaxconv.reference`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv import layout, steps
from jaxconv.alone import alone, in_place, prepared
from jaxconv.geometry import Geometry
from jaxconv.precision import Precision
from jaxconv.unroll import padded, window
from jaxconv.varying import axes_of, vary

TERMS = 25  # of one loop: with twice as many y takes 1.5 times as long
TERM_BYTES = 24 << 10  # that they read for one position with channels last: a first-level cache holds 32 KB and more
FEWEST = 9  # terms of one loop even so: each loop reads and writes all of y
LONG_SUM = 16  # terms: with more the loop takes twice as long where it rounds to half precision, too
SHORT_SUM = 4  # terms, where sums are put together
SELDOM = 4  # times that a number is read: for so few the channels are not moved first, nor numbers widened
MOST_BYTES = 1 << 25  # of what is read and made: larger arrays are new memory in every call, at twice the time
STEP_BYTES = 20 << 20  # of those in a step, then


class Term(NamedTuple):
    """A row of the weights, and the view that it multiplies: its first position in the padded source, its channel."""

    row: int
    start: tuple[int, ...]
    channel: int


class Sums(NamedTuple):
    """What is added up.

    Attributes:
        terms: of every sum; as many sums as there are remainders by `stride`, in the order of `np.ndindex`.
        edges: the padding of the source.
        steps: between the positions of a view.
        sizes: of a view, and of a sum.
        stride: by whose remainders the sums are put together.
        result: positions of what they are then.
    """

    terms: list[list[Term]]
    edges: Sequence[tuple[int, int]]
    steps: tuple[int, ...]
    sizes: tuple[int, ...]
    stride: tuple[int, ...]
    result: tuple[int, ...]


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    if geometry.taps == 1:
        x, geometry = _read(x, geometry)
    weights = _weights(w, geometry)
    terms = [
        Term(row, tuple(d * each for d, each in zip(geometry.dilation, q, strict=True)), i)
        for row, (q, i) in enumerate(itertools.product(np.ndindex(*geometry.kernel_size), range(weights.shape[1])))
    ]
    m, ones = geometry.output_size, (1,) * geometry.axes
    return _made(x, weights, Sums([terms], geometry.padding, geometry.stride, m, ones, m), geometry)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b, i, s·t + r] = Σ_{q,o: d·q − lo = s·δ + r} w[o,i,q] · g[b, o, t − δ]"""
    weights = _weights(w, geometry).swapaxes(1, 3 if geometry.channels_first else 2)
    counts = tuple(-(-n // s) for n, s in zip(geometry.input_size, geometry.stride, strict=True))  # of t
    edges, taps = [], []  # of every axis; of a tap the first position in padded g, and r
    for k, s, d, (lo, _), m, count in zip(
        geometry.kernel_size,
        geometry.stride,
        geometry.dilation,
        geometry.padding,
        geometry.output_size,
        counts,
        strict=True,
    ):
        deltas, remainders = zip(*(divmod(d * q - lo, s) for q in range(k)), strict=True)
        before = max(0, *deltas)
        edges.append((before, max(0, *(count - delta - m for delta in deltas))))
        taps.append([(before - delta, r) for delta, r in zip(deltas, remainders, strict=True)])
    terms: dict[tuple[int, ...], list[Term]] = {r: [] for r in np.ndindex(*geometry.stride)}
    for row, (q, o) in enumerate(itertools.product(itertools.product(*taps), range(weights.shape[1]))):
        start, r = zip(*q, strict=True)
        terms[r].append(Term(row, start, o))
    ones = (1,) * geometry.axes
    sums = Sums(list(terms.values()), edges, ones, counts, geometry.stride, geometry.input_size)
    return _made(g, weights, sums, geometry)


def _read(x: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """What a 1x1 reads of x, before that is widened, and the geometry of the rest."""
    ones, bits = (1,) * geometry.axes, steps.bits(x)
    for axis, ((lo, _), s, m) in enumerate(zip(geometry.padding, geometry.stride, geometry.output_size, strict=True)):
        bits = window(bits, axis + (2 if geometry.channels_first else 1), -lo, m, s)
    none = ((0, 0),) * geometry.axes
    read = replace(geometry, input_size=geometry.output_size, stride=ones, dilation=ones, padding=none)
    return steps.floats(bits, x.dtype), read


def _weights(w: Array, geometry: Geometry) -> Array:
    """(taps, in/G, G, out/G), or (taps, in/G, out/G, G) with channels last."""
    w, G = layout.wide(w), geometry.groups
    if geometry.channels_first:
        return w.reshape(G, -1, w.shape[1], geometry.taps).transpose(3, 2, 0, 1)
    return w.reshape(geometry.taps, w.shape[-2], G, -1).swapaxes(2, 3)


def _made(x: Array, weights: Array, sums: Sums, geometry: Geometry) -> Array:
    """The sums of x, put together; weights with the channels of x, those of what is made, and taps as in `_weights`."""
    first, G, made = geometry.channels_first, geometry.groups, weights.shape[3 if geometry.channels_first else 2]
    times = made if not first and weights.shape[1] == 1 else 1
    if times > 1:  # groups of one channel repeat it, so that what is made is in order
        weights, G, made = weights.swapaxes(2, 3), G * times, 1
    # Flat, so that what follows one another in a loop does so in memory, too; moved and widened once for all loops.
    flat = alone(lambda: weights.reshape(-1), x)
    weights = flat.reshape(-1, G, made) if first else flat.reshape(-1, made, G)
    several = len(sums.terms) > 1
    reads = sum(map(len, sums.terms)) * math.prod(sums.sizes) * G * made
    seldom = reads <= SELDOM * x.size // len(x) and not any(map(any, sums.edges))

    def apart(terms: Sequence[Term]) -> bool:
        """Whether what follows the sum, moving the channels or rounding, would slow its loop down."""
        long = len(terms) > (SHORT_SUM if several else LONG_SUM)
        return (long and x.dtype != weights.dtype) or not (first or made == 1 or several)

    def images(x: Array) -> Array:
        def source(x: Array) -> Array:
            return padded(_grouped(layout.wide(x), G, first), 3 if first else 1, sums.edges)

        if times > 1:
            wide = source(jnp.repeat(prepared(lambda: layout.wide(x), x), times, axis=-1))
            wide = lax.optimization_barrier(wide)
        else:
            wide = source(x) if seldom else prepared(lambda: source(x), x)

        def one(terms: Sequence[Term]) -> Array:
            return steps.bits(_sum(terms, wide, weights, sums, first, apart(terms)).astype(x.dtype))

        # Rounded before they are put together: the two in one loop would not be vectorised.
        every = [alone(functools.partial(one, terms), x) if terms and several else one(terms) for terms in sums.terms]
        return steps.floats(_ungrouped(_interleaved(every, sums, first), first), x.dtype)

    space = x.shape[2:] if first else x.shape[1:-1]
    read = math.prod(n + lo + hi for n, (lo, hi) in zip(space, sums.edges, strict=True)) * x.size // math.prod(space)
    branches = several or any(map(apart, sums.terms))
    arrays = 2 if branches and not in_place() else 1  # of what is made
    each = (read // len(x) * times + arrays * math.prod(sums.result) * G * made) * weights.dtype.itemsize
    few = len(x) * each <= MOST_BYTES
    return steps.mapped(images, x, len(x) if few else steps.images_below(len(x), each, STEP_BYTES))


# ---------------------------------------------------------------------------------------------------------- one sum


def _sum(terms: Sequence[Term], x: Array, weights: Array, sums: Sums, first: bool, apart: bool) -> Array:
    """Σ weights[row] · view over all terms, in parts of equal length that are a loop each; the last one, too, if
    `apart`.
    """
    shape = (len(x), *weights.shape[1:], *sums.sizes) if first else (len(x), *sums.sizes, *weights.shape[1:])
    y = None
    for part in _parts(terms, weights[0].size + x.shape[1 if first else -1], weights.dtype.itemsize, first):
        add = functools.partial(_added, y, part, x, weights, shape, sums.steps, first)
        y = alone(add, x) if apart or part[-1] is not terms[-1] else add()
    return vary(jnp.zeros(shape, x.dtype), axes_of(x)) if y is None else y


def _parts(terms: Sequence[Term], row: int, itemsize: int, first: bool) -> list[Sequence[Term]]:
    """What is added up in one loop each; with channels last every term reads a row of so many numbers."""
    most = TERMS if first else min(TERMS, max(FEWEST, TERM_BYTES // (row * itemsize)))
    ends = np.linspace(0, len(terms), -(-len(terms) // most) + 1).round().astype(int).tolist()
    return [terms[start:end] for start, end in itertools.pairwise(ends)]


def _added(
    y: Array | None,
    terms: Sequence[Term],
    x: Array,
    weights: Array,
    shape: tuple[int, ...],
    strides: Sequence[int],
    first: bool,
) -> Array:
    """y + Σ weights[row] · view over some terms, in two sums that do not wait for each other."""
    axes = (0, 1, 2) if first else (0, len(shape) - 2, len(shape) - 1)
    products = []
    for term in terms:
        row = lax.slice_in_dim(weights, term.row, term.row + 1)
        view = _view(x, term, shape, strides, first)
        if view.shape != shape:
            view = lax.broadcast_in_dim(view, shape, range(len(shape)))
        products.append(lax.mul(lax.broadcast_in_dim(row, shape, axes), view))
    halves = [functools.reduce(lax.add, half) for half in (products[::2], products[1::2]) if half]
    return functools.reduce(lax.add, halves if y is None else [y, *halves])


def _view(x: Array, term: Term, shape: Sequence[int], strides: Sequence[int], first: bool) -> Array:
    """One channel of every group, from a position on; of size one on the axis of channels."""
    starts, ends, every, member = [0] * x.ndim, list(x.shape), [1] * x.ndim, _member(x, first)
    for axis, start, s in zip(_space(x, first), term.start, strides, strict=True):
        starts[axis], ends[axis], every[axis] = start, start + s * (shape[axis] - 1) + 1, s
    starts[member], ends[member] = term.channel, term.channel + 1
    return lax.slice(x, starts, ends, every)


# ------------------------------------------------------------------------------------------------------------- views


def _grouped(x: Array, groups: int, first: bool) -> Array:
    """(batch, C, *space) → (batch, G, C/G, *space), or (batch, *space, C) → (batch, *space, C/G, G)"""
    if first:
        return x.reshape(len(x), groups, -1, *x.shape[2:])
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2)


def _ungrouped(y: Array, first: bool) -> Array:
    """The way back from `_grouped`."""
    if first:
        return y.reshape(len(y), -1, *y.shape[3:])
    return y.swapaxes(-1, -2).reshape(*y.shape[:-2], -1)


def _interleaved(parts: Sequence[Array], sums: Sums, first: bool) -> Array:
    """y[…, s·t + r] = parts[r][…, t], cut to the positions of the result.

    All axes in one move: by `unroll.interleave`, axis by axis, dx takes up to twice as long, as by `layout.together`.
    """
    if len(parts) == 1:
        return parts[0]
    axes, space = len(sums.stride), _space(parts[0], first)
    every = jnp.stack(parts).reshape(*sums.stride, *parts[0].shape)
    order = [
        each
        for axis in range(parts[0].ndim)
        for each in ([axes + axis, axis - space[0]] if axis in space else [axes + axis])
    ]
    shape, ends = list(parts[0].shape), list(parts[0].shape)
    for axis, s, n in zip(space, sums.stride, sums.result, strict=True):
        shape[axis], ends[axis] = s * shape[axis], n
    return lax.slice(every.transpose(order).reshape(shape), [0] * len(shape), ends)


def _member(x: Array, first: bool) -> int:
    """The axis of a group's channels."""
    return 2 if first else x.ndim - 2


def _space(x: Array, first: bool) -> range:
    """The spatial axes."""
    return range(3, x.ndim) if first else range(1, x.ndim - 2)
