"""y and dx where a group has few channels: sums of shifted arrays, since matrices so small are slower.

    conv             y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]        i: the channels of o's group
    conv_input_vjp   dx[b, i, s·t + r] = Σ_{q,o} w[o,i,q] · g[b, o, t − δ]        q: the taps where d·q − lo = s·δ + r

A term (q, i) is a view of x times a number for every output channel, and y a loop over its elements that adds up as
many terms as the registers and the first-level cache have room for. Of dx the positions that leave one remainder r by
the stride are such a sum. Of many terms a loop adds up some at a time: where each begins is a row of a table, so that
the program does not grow with the kernel.

Within this module arrays are (batch, groups, channels/groups, *space), as they come with channels first; with channels
last (batch, *space, channels/groups, groups), the first channels of all groups side by side, so that what is read in a
row is long. They are in the accumulator's dtype. Letters as in `reference`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv._jax.materialize import in_place, materialize, materialize_operand
from jaxconv.algorithms import layout
from jaxconv.algorithms.unroll import padded, window
from jaxconv.sizes.geometry import Geometry

TERMS = 25  # of one loop: with twice as many y takes 1.5 times as long
TERM_BYTES = 24 << 10  # that they read for one position with channels last: a first-level cache holds 32 KB and more
FEWEST = 9  # terms of one loop even so: each loop reads and writes all of y
LONG_SUM = 16  # terms: with more the loop takes twice as long where it rounds to half precision, too
SHORT_SUM = 4  # terms, where sums are put together
MANY = 128  # terms, which as lines of a program would compile for long: more are added up in a loop
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
        apart: the source's positions that leave one remainder by these are a channel of their own.
    """

    terms: list[list[Term]]
    edges: Sequence[tuple[int, int]]
    steps: tuple[int, ...]
    sizes: tuple[int, ...]
    stride: tuple[int, ...]
    result: tuple[int, ...]
    apart: tuple[int, ...]


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
    sums = Sums([terms], geometry.padding, geometry.stride, m, ones, m, ones)
    strided = len(terms) > MANY and max(geometry.stride) > 1
    return _made(x, weights, _by_remainder(sums, geometry) if strided else sums, geometry)


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
    sums = Sums(list(terms.values()), edges, ones, counts, geometry.stride, geometry.input_size, ones)
    return _made(g, weights, sums, geometry)


def _by_remainder(sums: Sums, geometry: Geometry) -> Sums:
    """The same sum of views without steps: of the padded x by its remainders, each a channel of its own."""
    s, count = geometry.stride, math.prod(geometry.stride)
    terms = []
    for row, start, i in sums.terms[0]:
        shifts, r = zip(*map(divmod, start, s), strict=True)
        terms.append(Term(row, shifts, i * count + int(np.ravel_multi_index(r, s))))
    sizes = zip(geometry.input_size, geometry.padding, s, terms[-1].start, geometry.output_size, strict=True)
    edges = [(lo, s_ * (last + m) - n - lo) for n, (lo, _), s_, last, m in sizes]
    return sums._replace(terms=[terms], edges=edges, steps=(1,) * geometry.axes, apart=s)


def _read(x: Array, geometry: Geometry) -> tuple[Array, Geometry]:
    """What a 1x1 reads of x, before that is widened, and the geometry of the rest."""
    ones, bits = (1,) * geometry.axes, loops.bits(x)
    for axis, ((lo, _), s, m) in enumerate(zip(geometry.padding, geometry.stride, geometry.output_size, strict=True)):
        bits = window(bits, axis + (2 if geometry.channels_first else 1), -lo, m, s)
    none = ((0, 0),) * geometry.axes
    read = replace(geometry, input_size=geometry.output_size, stride=ones, dilation=ones, padding=none)
    return loops.floats(bits, x.dtype), read


def _weights(w: Array, geometry: Geometry) -> Array:
    """(taps, in/G, G, out/G), or (taps, in/G, out/G, G) with channels last."""
    w, G = layout.to_accumulator(w), geometry.groups
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
    flat = materialize(lambda: weights.reshape(-1), x)
    weights = flat.reshape(-1, G, made) if first else flat.reshape(-1, made, G)
    several, terms = len(sums.terms) > 1, sum(map(len, sums.terms))
    many = terms > MANY
    reads = terms * math.prod(sums.sizes) * G * made
    seldom = reads <= SELDOM * x.size // len(x) and not any(map(any, sums.edges))

    def apart(terms: Sequence[Term]) -> bool:
        """Whether what follows the sum, moving the channels or rounding, would slow its loop down."""
        long = len(terms) > (SHORT_SUM if several else LONG_SUM)
        return (long and x.dtype != weights.dtype) or not (first or made == 1 or several)

    def images(x: Array) -> Array:
        def source(x: Array) -> Array:
            return layout.remainders_as_channels(
                padded(layout.to_groups(layout.to_accumulator(x), G, first), 3 if first else 1, sums.edges),
                sums.apart,
                first,
            )

        if times > 1:
            wide = source(jnp.repeat(materialize_operand(lambda: layout.to_accumulator(x), x), times, axis=-1))
            wide = lax.optimization_barrier(wide)
        else:
            wide = source(x) if seldom else materialize_operand(lambda: source(x), x)

        def one(terms: Sequence[Term]) -> Array:
            return loops.bits(_sum(terms, wide, weights, sums, first, apart(terms)).astype(x.dtype))

        def looped(table: Array) -> Array:
            return loops.bits(_looped(table, wide, weights, sums, first).astype(x.dtype))

        if many:
            every = _by_length(looped, sums.terms)
        elif several:  # rounded before they are put together: the two in one loop would not be vectorised
            every = jnp.stack(
                [materialize(functools.partial(one, each), x) if each else one(each) for each in sums.terms]
            )
        else:
            every = one(sums.terms[0])[None]
        return loops.floats(layout.from_groups(_interleaved(every, sums, first), first), x.dtype)

    space = x.shape[2:] if first else x.shape[1:-1]
    read = math.prod(n + lo + hi for n, (lo, hi) in zip(space, sums.edges, strict=True)) * x.size // math.prod(space)
    branches = several or many or any(map(apart, sums.terms))
    arrays = 2 if branches and not in_place() else 1  # of what is made
    each = (read // len(x) * times + arrays * math.prod(sums.result) * G * made) * weights.dtype.itemsize
    few = len(x) * each <= MOST_BYTES
    return loops.chunked_map(images, x, len(x) if few else loops.largest_chunk(len(x), each, STEP_BYTES))


# ---------------------------------------------------------------------------------------------------------- one sum


def _sum(terms: Sequence[Term], x: Array, weights: Array, sums: Sums, first: bool, apart: bool) -> Array:
    """Σ weights[row] · view over all terms, in parts of equal length that are a loop each; the last one, too, if
    `apart`.
    """
    shape, y = _shape(x, weights, sums, first), None
    for part in _parts(terms, _row(x, weights, first), weights.dtype.itemsize, first):
        add = functools.partial(_added, y, part, x, weights, shape, sums.steps, first)
        y = materialize(add, x) if apart or part[-1] is not terms[-1] else add()
    return pcast_to(jnp.zeros(shape, x.dtype), axes_of(x)) if y is None else y


def _looped(table: Array, x: Array, weights: Array, sums: Sums, first: bool) -> Array:
    """The same of terms that are rows of a table, some in each step of a loop; what they leave over begins the sum."""
    shape, most = _shape(x, weights, sums, first), _most(_row(x, weights, first), weights.dtype.itemsize, first)
    size = len(table) // -(-len(table) // most) if len(table) else 1
    count, rest = divmod(len(table), size)

    def add(y: Array | None, rows: Array) -> Array:
        terms = [Term(row[0], tuple(row[1:-1]), row[-1]) for row in rows]
        return _added(y, terms, x, weights, shape, sums.steps, first)

    def step(j: Any, y: Array) -> Array:
        return add(y, lax.dynamic_slice_in_dim(table, j * size, size))

    if count == 1 and not rest:
        return add(None, table)
    y = add(None, table[-rest:]) if rest else pcast_to(jnp.zeros(shape, x.dtype), axes_of(x))
    return lax.fori_loop(0, count, step, y) if count else y


def _by_length(looped: Callable[[Array], Array], sums: Sequence[Sequence[Term]]) -> Array:
    """Every sum, one after the other: those of as many terms are steps of one loop."""
    made, order = [], []
    for length in sorted(set(map(len, sums))):
        which = [i for i, terms in enumerate(sums) if len(terms) == length]
        rows = [[(row, *start, channel) for row, start, channel in sums[i]] for i in which]
        table = jnp.asarray(np.array(rows, np.int32).reshape(len(which), length, -1))
        made.append(lax.map(looped, table) if len(which) > 1 else looped(table[0])[None])
        order += which
    every = jnp.concatenate(made)
    return every if order == sorted(order) else every[np.argsort(order)]


def _shape(x: Array, weights: Array, sums: Sums, first: bool) -> tuple[int, ...]:
    """Of a sum."""
    return (len(x), *weights.shape[1:], *sums.sizes) if first else (len(x), *sums.sizes, *weights.shape[1:])


def _row(x: Array, weights: Array, first: bool) -> int:
    """Numbers that a term reads for one position with channels last."""
    return weights[0].size + x.shape[1 if first else -1]


def _most(row: int, itemsize: int, first: bool) -> int:
    """How many terms one loop adds up; with channels last every term reads a row of so many numbers."""
    return TERMS if first else min(TERMS, max(FEWEST, TERM_BYTES // (row * itemsize)))


def _parts(terms: Sequence[Term], row: int, itemsize: int, first: bool) -> list[Sequence[Term]]:
    """What is added up in one loop each."""
    ends = np.linspace(0, len(terms), -(-len(terms) // _most(row, itemsize, first)) + 1).round().astype(int).tolist()
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
        row = _cut(weights, (term.row, 0, 0), (1, *weights.shape[1:]))
        view = _view(x, term, shape, strides, first)
        if view.shape != shape:
            view = lax.broadcast_in_dim(view, shape, range(len(shape)))
        products.append(lax.mul(lax.broadcast_in_dim(row, shape, axes), view))
    halves = [functools.reduce(lax.add, half) for half in (products[::2], products[1::2]) if half]
    return functools.reduce(lax.add, halves if y is None else [y, *halves])


def _view(x: Array, term: Term, shape: Sequence[int], strides: Sequence[int], first: bool) -> Array:
    """One channel of every group, from a position on; of size one on the axis of channels."""
    starts, sizes, every, member = [0] * x.ndim, list(x.shape), [1] * x.ndim, layout.member_axis(x, first)
    for axis, start, s in zip(layout.space_axes(x, first), term.start, strides, strict=True):
        starts[axis], sizes[axis], every[axis] = start, s * (shape[axis] - 1) + 1, s
    starts[member], sizes[member] = term.channel, 1
    return _cut(x, starts, sizes, every)


def _cut(x: Array, starts: Sequence[Any], sizes: Sequence[int], every: Sequence[int] | None = None) -> Array:
    """Every so many positions of x from these on, which a loop may only know while it runs."""
    if all(isinstance(start, int) for start in starts):
        return lax.slice(x, starts, [start + size for start, size in zip(starts, sizes, strict=True)], every)
    at = [np.int32(start) if isinstance(start, int) else start for start in starts]
    part = lax.dynamic_slice(x, at, sizes, allow_negative_indices=False)
    return part if every is None or max(every) == 1 else lax.slice(part, [0] * x.ndim, sizes, every)


# ------------------------------------------------------------------------------------------------------------- views


def _interleaved(parts: Array, sums: Sums, first: bool) -> Array:
    """y[…, s·t + r] = parts[r][…, t], cut to the positions of the result.

    All axes in one move: by `unroll.interleave`, axis by axis, or by `layout.depth_to_space` dx takes up to twice as
    long.
    """
    if len(parts) == 1:
        return parts[0]
    axes, space = len(sums.stride), layout.space_axes(parts[0], first)
    every = parts.reshape(*sums.stride, *parts[0].shape)
    order = [
        each
        for axis in range(parts[0].ndim)
        for each in ([axes + axis, axis - space[0]] if axis in space else [axes + axis])
    ]
    shape, ends = list(parts[0].shape), list(parts[0].shape)
    for axis, s, n in zip(space, sums.stride, sums.result, strict=True):
        shape[axis], ends[axis] = s * shape[axis], n
    return lax.slice(every.transpose(order).reshape(shape), [0] * len(shape), ends)
