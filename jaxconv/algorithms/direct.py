"""The three maps as sums of shifted arrays: for groups of few channels, whose matrices are too small for a product.

    conv             y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]        i: the channels of o's group
    conv_input_vjp   dx[b, i, s·t + r] = Σ_{q,o} w[o,i,q] · g[b, o, t − δ]        q: the taps where d·q − lo = s·δ + r
    conv_weight_vjp  dw, in `direct_dw`

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
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision
from jaxconv._jax.row_major import row_major
from jaxconv.algorithms.direct_dw import conv_weight_vjp
from jaxconv.algorithms.layout import to_accumulator, zeros
from jaxconv.algorithms.unroll import padded, per_axis
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

__all__ = ["conv", "conv_input_vjp", "conv_weight_vjp", "unsupported"]

TERMS = 25  # of one loop: with twice as many y takes 1.5 times as long
TERM_BYTES = 24 << 10  # that they read for one position with channels last: a first-level cache holds 32 KB and more
FEWEST = 9  # terms of one loop even so: each loop reads and writes all of y
MANY = 128  # terms, which as lines of a program would compile for long: more are added up in a loop
MOST_BYTES = 1 << 25  # of what is read and made: larger arrays are new memory in every call, at twice the time
STEP_BYTES = 20 << 20  # of those in a step, then
PAIR_BYTES = 1 << 26  # of what dw repeats


def unsupported(problem: Problem) -> str | None:
    """Long sums are loops; but dw repeats x and g for every pair of a channel and a filter."""
    g, pairs = problem.geometry, problem.channels * problem.filters
    numbers = problem.batch * g.groups * pairs * (math.prod(g.input_size) + math.prod(g.output_size))
    nbytes = numbers * problem.itemsize if problem.which == "conv_weight_vjp" and pairs > 1 else 0
    reason = f"x and g repeated for every pair of channels must not exceed {PAIR_BYTES >> 20} MB; got {nbytes >> 20} MB"
    return reason if nbytes > PAIR_BYTES else None


class Term(NamedTuple):
    """A row of the weights, and the view that it multiplies: its first position in the padded source, its channel."""

    row: Any
    start: Sequence[Any]
    channel: Any


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
    steps: Sequence[int]
    sizes: Sequence[int]
    stride: Sequence[int]
    result: Sequence[int]


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{q,i} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    weights, axes = _weights(w, geometry), per_axis(geometry)
    m, s, edges, ones = geometry.output_size, geometry.stride, geometry.padding, (1,) * geometry.axes
    starts = itertools.product(*([axis.d * q for q in range(axis.k)] for axis in axes))
    terms = [Term(row, *each) for row, each in enumerate(itertools.product(starts, range(weights.shape[1])))]
    if geometry.channels_first and len(terms) > MANY and max(s) > 1:
        # Views without steps: the positions of the padded x that leave one remainder are a channel of their own.
        spans = [-(-axis.span(axis.m) // axis.s) * axis.s for axis in axes]
        x = padded(x, 2, [(axis.lo, span - axis.lo - axis.n) for axis, span in zip(axes, spans, strict=True)])
        x = _remainders_as_channels(x, s)
        of_remainder, count = [tuple(zip(*map(divmod, each.start, s), strict=True)) for each in terms], math.prod(s)
        terms = [
            Term(row, shifts, i * count + int(np.ravel_multi_index(r, s)))
            for (row, _, i), (shifts, r) in zip(terms, of_remainder, strict=True)
        ]
        s, edges = ones, ((0, 0),) * geometry.axes
    return _made(x, weights, Sums([terms], edges, s, m, ones, m), geometry)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b, i, s·t + r] = Σ_{q,o: d·q − lo = s·δ + r} w[o,i,q] · g[b, o, t − δ]"""
    weights = _weights(w, geometry).swapaxes(1, 3 if geometry.channels_first else 2)
    counts = [-(-n // s) for n, s in zip(geometry.input_size, geometry.stride, strict=True)]  # of t
    edges, taps = [], []  # of every axis; of a tap the first position in padded g, and r
    for axis, count in zip(per_axis(geometry), counts, strict=True):
        split = axis.polyphase(axis.lo)
        before = max(0, *(delta for delta, _ in split))
        edges.append((before, max(0, *(count - delta - axis.m for delta, _ in split))))
        taps.append([(before - delta, r) for delta, r in split])
    terms: dict[tuple[int, ...], list[Term]] = {r: [] for r in np.ndindex(*geometry.stride)}
    for row, (q, o) in enumerate(itertools.product(itertools.product(*taps), range(weights.shape[1]))):
        start, r = zip(*q, strict=True)
        terms[r].append(Term(row, start, o))
    ones = (1,) * geometry.axes
    sums = Sums(list(terms.values()), edges, ones, counts, geometry.stride, geometry.input_size)
    return _made(g, weights, sums, geometry)


def _weights(w: Array, geometry: Geometry) -> Array:
    """(taps, in/G, G, out/G), or (taps, in/G, out/G, G) with channels last."""
    w, G = to_accumulator(w), geometry.groups
    if geometry.channels_first:
        return w.reshape(G, -1, w.shape[1], geometry.taps).transpose(3, 2, 0, 1)
    return w.reshape(geometry.taps, w.shape[-2], G, -1).swapaxes(2, 3)


def _made(x: Array, weights: Array, sums: Sums, geometry: Geometry) -> Array:
    """The sums of x, put together; weights with the channels of x, those of what is made, and taps as in `_weights`."""
    first, times = geometry.channels_first, 1
    at, channel = (2, 1) if first else (1, -1)
    if not first and weights.shape[1] == 1 < weights.shape[3]:  # groups of one channel repeat it: y is made in order
        times, weights = weights.shape[2], weights.swapaxes(2, 3).reshape(*weights.shape[:2], 1, -1)
    # Flat, so that what follows one another in a loop does so in memory, too; moved and widened once for all loops.
    weights = lax.optimization_barrier(weights.reshape(-1)).reshape(-1, *weights.shape[2:])
    G, made = weights.shape[1:] if first else weights.shape[:0:-1]
    several, many = len(sums.terms) > 1, sum(map(len, sums.terms)) > MANY

    def images(x: Array) -> Array:
        source = jnp.repeat(to_accumulator(x), times, -1) if times > 1 else to_accumulator(x)
        if x.shape[channel] * times == G:  # padded as it came, so that a program which makes dw, too, pads it once
            source = _to_groups(lax.optimization_barrier(padded(source, at, sums.edges)), G, first)
        else:
            source = row_major(padded(_to_groups(source, G, first), 3 if first else 1, sums.edges))
        views = Views(source, weights, sums.steps, sums.sizes, first)
        if many:
            every = _by_length(lambda table: views.looped(table).astype(x.dtype), sums.terms)
        else:  # rounded before they are put together: the two in one loop would not be vectorised
            rounded = [views.sum(terms).astype(x.dtype) for terms in sums.terms]
            every = jnp.stack(list(map(lax.optimization_barrier, rounded))) if several else rounded[0][None]
        return _from_groups(_interleaved(every, sums, first), first)

    space = x.shape[at : at + geometry.axes]
    read = math.prod(n + lo + hi for n, (lo, hi) in zip(space, sums.edges, strict=True)) * x[0].size // math.prod(space)
    each = (read * times + math.prod(sums.result) * G * made) * weights.dtype.itemsize
    few = len(x) * each <= MOST_BYTES
    return loops.chunked_map(images, x, len(x) if few else loops.largest_chunk(len(x), each, STEP_BYTES))


# ---------------------------------------------------------------------------------------------------------- one sum


class Views(NamedTuple):
    """The padded source, the weights (rows, …) of its views, and how a view is cut out."""

    x: Array
    weights: Array
    steps: Sequence[int]
    sizes: Sequence[int]
    first: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sum."""
        channels = self.weights.shape[1:]
        return (len(self.x), *channels, *self.sizes) if self.first else (len(self.x), *self.sizes, *channels)

    @property
    def most(self) -> int:
        """How many terms one loop adds up; with channels last each reads a row of so many numbers for a position."""
        row = math.prod(self.weights.shape[1:]) + self.x.shape[-1]
        return TERMS if self.first else min(TERMS, max(FEWEST, TERM_BYTES // (row * self.weights.dtype.itemsize)))

    def zero(self) -> Array:
        return zeros(self.shape, self.x)

    def sum(self, terms: Sequence[Term]) -> Array:
        """Σ weights[row] · view over all terms, in parts of equal length that are a loop each.

        None is fused with what follows: that would slow its loop down, and each reader would make the sum anew.
        """
        ends = np.linspace(0, len(terms), -(-len(terms) // self.most) + 1).round().astype(int).tolist()
        y = None
        for start, end in itertools.pairwise(ends):
            y = lax.optimization_barrier(self.added(y, terms[start:end]))
        return self.zero() if y is None else y

    def looped(self, table: Array) -> Array:
        """The same of terms that are rows of a table, some in each step; what they leave over begins the sum."""
        size = len(table) // max(1, -(-len(table) // self.most)) or 1
        count, rest = divmod(len(table), size)

        def add(y: Array | None, rows: Array) -> Array:
            return self.added(y, [Term(row[0], tuple(row[1:-1]), row[-1]) for row in rows])

        y = add(None, table[-rest:]) if rest else self.zero()
        return (
            y
            if not count
            else lax.fori_loop(0, count, lambda j, y: add(y, lax.dynamic_slice_in_dim(table, j * size, size)), y)
        )

    def added(self, y: Array | None, terms: Sequence[Term]) -> Array:
        """y + Σ weights[row] · view over some terms, in two sums that do not wait for each other."""
        axes, products = (0, 1, 2) if self.first else (0, len(self.shape) - 2, len(self.shape) - 1), []
        for term in terms:
            row = _cut(self.weights, (term.row, 0, 0), (1, *self.weights.shape[1:]), (1, 1, 1))
            view = jnp.broadcast_to(self.view(term), self.shape)
            products.append(lax.mul(lax.broadcast_in_dim(row, self.shape, axes), view))
        halves = [functools.reduce(lax.add, half) for half in (products[::2], products[1::2]) if half]
        return functools.reduce(lax.add, halves if y is None else [y, *halves])

    def view(self, term: Term) -> Array:
        """One channel of every group, from a position on; of size one on the axis of channels."""
        spans = [s * (size - 1) + 1 for s, size in zip(self.steps, self.sizes, strict=True)]
        if self.first:
            starts, sizes = (0, 0, term.channel, *term.start), (*self.x.shape[:2], 1, *spans)
            return _cut(self.x, starts, sizes, (1, 1, 1, *self.steps))
        starts, sizes = (0, *term.start, term.channel, 0), (len(self.x), *spans, 1, self.x.shape[-1])
        return _cut(self.x, starts, sizes, (1, *self.steps, 1, 1))


def _cut(x: Array, starts: Sequence[Any], sizes: Sequence[int], every: Sequence[int]) -> Array:
    """Every so many positions of x from these on, which a loop may only know while it runs."""
    if all(isinstance(start, int) for start in starts):
        return lax.slice(x, starts, [start + size for start, size in zip(starts, sizes, strict=True)], every)
    at = [np.int32(start) if isinstance(start, int) else start for start in starts]
    part = lax.dynamic_slice(x, at, sizes, allow_negative_indices=False)
    return part if max(every) == 1 else lax.slice(part, [0] * x.ndim, sizes, every)


def _by_length(looped: Callable[[Array], Array], sums: Sequence[Sequence[Term]]) -> Array:
    """Every sum, one after the other: those of as many terms are steps of one loop."""
    made, order = [], []
    columns = max(2 + len(terms[0].start) for terms in sums if terms)
    for length in sorted(set(map(len, sums))):
        which = [i for i, terms in enumerate(sums) if len(terms) == length]
        rows = [[(row, *start, channel) for row, start, channel in sums[i]] for i in which]
        tables = jnp.asarray(np.array(rows, np.int32).reshape(len(which), length, columns))
        made.append(lax.map(looped, tables) if len(which) > 1 else looped(tables[0])[None])
        order += which
    return jnp.concatenate(made)[np.argsort(order)] if len(made) > 1 else made[0]


# ------------------------------------------------------------------------------------- groups and remainders as axes


def _to_groups(x: Array, groups: int, first: bool) -> Array:
    """(batch, C, *space) → (batch, G, C/G, *space), or (batch, *space, C) → (batch, *space, C/G, G)"""
    if first:
        return x.reshape(len(x), groups, -1, *x.shape[2:])
    return x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2)


def _from_groups(y: Array, first: bool) -> Array:
    """The way back from `_to_groups`."""
    if first:
        return y.reshape(len(y), -1, *y.shape[3:])
    moved = y.swapaxes(-1, -2)
    return (moved if y.shape[-2] == 1 else row_major(moved)).reshape(*y.shape[:-2], -1)


def _remainders_as_channels(x: Array, s: Sequence[int]) -> Array:
    """(batch, C, *(t·s)) → (batch, C·∏s, *t)"""
    pairs = [each for n, step in zip(x.shape[2:], s, strict=True) for each in (n // step, step)]
    apart = x.reshape(*x.shape[:2], *pairs)
    x = apart.transpose(0, 1, *range(3, apart.ndim, 2), *range(2, apart.ndim, 2))
    return x.reshape(len(x), -1, *x.shape[2 + len(s) :])


def _interleaved(parts: Array, sums: Sums, first: bool) -> Array:
    """y[…, s·t + r] = parts[r][…, t], cut to the positions of the result.

    All axes in one move: one axis after the other, or as `layout.depth_to_space`, dx takes up to twice as long.
    """
    if len(parts) == 1:
        return parts[0]
    axes, at = len(sums.stride), 3 if first else 1  # the first axis of space
    shape, order = list(parts[0].shape), []
    for axis in range(len(shape)):
        order += [axes + axis, axis - at] if at <= axis < at + axes else [axes + axis]
    y = row_major(parts.reshape(*sums.stride, *shape).transpose(order))
    ends = [*shape[:at], *sums.result, *shape[at + axes :]]
    shape[at : at + axes] = [s * t for s, t in zip(sums.stride, sums.sizes, strict=True)]
    return lax.slice(y.reshape(shape), [0] * len(shape), ends)
