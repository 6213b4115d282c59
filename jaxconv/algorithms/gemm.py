"""The three maps of the one trilinear form as matrix products: the form for a CPU.

The taps of the first spatial axis may be laid out on the side of g, those of the others on the side of x, so that few
copies are made of each and the product is nearly square (`unroll` says how):

    T(x, w, g) = ⟨V, W U⟩    V = shift_stack(g) (k₁·out, positions), W (k₁·out, k₂·in), U = unroll(x) (k₂·in, positions)

    conv            y  = shift_add(W U)
    conv_input_vjp  dx = fold(Wᵀ V)
    conv_weight_vjp dw = V Uᵀ

With all taps on the side of x, V is g itself, and U what each output reads: the better split for few input channels.
It is done for a few images at a time, so that U and V stay in a cache; large images in pieces along one axis.
For arrays on one device: where an axis may lie over several its loops would gather it, and `blocks` serves.
Within this module arrays are (batch, channels, *space), kernels (out, in/groups, *taps) in the accumulator's dtype,
and a piece of an array (groups, channels/groups, images, *space). Letters as in `reference`; k₁ taps on the
side of g, k₂ on that of x.

Source: K. Chellapilla et al. 2006 (convolution as a matrix product).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv.accuracy.nonfinite import unless_finite
from jaxconv.algorithms.layout import group_by_group, in_layout, to_accumulator, too_long, zeros
from jaxconv.algorithms.taps import one_by_one
from jaxconv.algorithms.unroll import (
    ALL_ROWS,
    FIRST,
    StridePhase,
    fold,
    geometry_of,
    interleave,
    per_axis,
    rows_of,
    shift_add,
    shift_stack,
    stride_phases,
    unroll,
    window,
)
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

T = TypeVar("T")

PIECE_BYTES = 1 << 22  # of U: what stays in a cache; tried from 0.5 to 29 MB on three workloads
MOVED_BYTES = 10 << 20  # of x and g that have their channels moved at a time, for dw
POSITIONS = 512  # an image of fewer goes together with others: 1.1 to 1.8 times as fast, and no loop to compile


def unsupported(problem: Problem) -> str | None:
    """Each tap of an axis is a line of the program, but where windows do not overlap."""
    return too_long(problem)


# ------------------------------------------------------------------------------------------------- the three maps


@in_layout("channels_first", at_once=True)
@group_by_group
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    split, w = Split.of("y", x, x.shape[1], len(w), geometry), to_accumulator(w)
    matrices = _matrices(w, split)

    def images(narrow: Array) -> Array:
        read = _read_by(to_accumulator(narrow), split)

        def one(y: Array, start: Array | int, part: Geometry) -> Array:
            x = _cut_out(read, split, start * part.stride[split.axis], part.input_size[split.axis])
            made = _value(x, matrices, split._replace(geometry=part), precision)
            return _write(y, made, start, split)

        y = zeros((*matrices[0].shape[:1], len(w) // geometry.groups, read.shape[2], *geometry.output_size), x)
        return _pieces(split, y, one).astype(x.dtype)

    return _each(images, split, x)


@in_layout("channels_first", at_once=True)
@group_by_group
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    split, w = Split.of("dx", g, w.shape[1] * geometry.groups, len(w), geometry), to_accumulator(w)
    matrices = [W.swapaxes(1, 2) for W in _matrices(w, split)]
    axis, cut = per_axis(geometry)[split.axis], split.piece < geometry.output_size[split.axis]

    def images(narrow: Array) -> Array:
        g = to_accumulator(narrow)

        def one(dx: Array, start: Array | int, part: Geometry) -> Array:
            g_part = _cut_out(g, split, start, part.output_size[split.axis])
            made, at = _pulled_back(g_part, matrices, split._replace(geometry=part), precision), start * axis.s
            if made.shape == dx.shape:
                return made
            return _write(dx, _cut_out(dx, split, at, made.shape[FIRST + split.axis]) + made, at, split)

        n = list(geometry.input_size)
        n[split.axis] = axis.span(axis.m) if cut else axis.n
        dx = _pieces(split, zeros((len(g), w.shape[1], g.shape[2], *n), g), one)
        return (window(dx, FIRST + split.axis, axis.lo, axis.n) if cut else dx).astype(narrow.dtype)

    return _each(images, split, g)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    Of large images some have their channels moved at a time, two at least: a whole batch would be new memory.
    """
    if geometry.channels_first or len(x) % 2 or math.prod(geometry.output_size) < POSITIONS:
        return _conv_weight_vjp(x, g, geometry, precision).astype(x.dtype)
    of_image = (x.size + g.size) // len(x) * accumulator(x.dtype).itemsize
    total = zeros((*geometry.kernel_size, x.shape[-1] // geometry.groups, g.shape[-1]), x)
    return loops.chunked_sum(
        lambda total, x, g: total + _conv_weight_vjp(x, g, geometry, precision),
        total,
        (x, g),
        max(2, loops.largest_chunk(len(x), of_image, MOVED_BYTES)),
    ).astype(x.dtype)


@in_layout("channels_first", at_once=True)
@group_by_group
def _conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw in the dtype of the sums."""
    paired = geometry.groups == 1 and len(x) % 2 == 0 and math.prod(geometry.output_size) >= POSITIONS
    if paired:  # large images two at a time, as groups: the few rows and columns of one fill no second core
        x, g = (each.reshape(-1, 2 * each.shape[1], *each.shape[2:]) for each in (x, g))
        geometry = replace(geometry, groups=2)
    dw = _weight_vjp(x, g, geometry, precision)
    if _first_with_g("dw", x.shape[1], g.shape[1], geometry):  # V holds zeros for rows of x that a tap does not meet
        dw = unless_finite(dw, lambda: one_by_one(_grouped(x, geometry), _grouped(g, geometry), geometry, precision))
    return jnp.sum(dw.reshape(2, -1, *dw.shape[1:]), 0) if paired else dw


def _weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision) -> Array:
    """dw in the dtype of the sums, by products of what is laid out."""
    split = Split.of("dw", x, x.shape[1], g.shape[1], geometry)

    def images(total: list[Array], x: Array, g: Array) -> list[Array]:
        x, g = (to_accumulator(_grouped(each, geometry)) for each in (x, g))
        read = _read_by(x, split)

        def one(total: list[Array], start: Array | int, part: Geometry) -> list[Array]:
            x = _cut_out(read, split, start * part.stride[split.axis], part.input_size[split.axis])
            g_part = _cut_out(g, split, start, part.output_size[split.axis])
            made = _outer_products(x, g_part, split._replace(geometry=part), precision)
            return [a + b for a, b in zip(total, made, strict=True)]

        return _pieces(split, total, one)

    G, k = geometry.groups, geometry.kernel_size
    filters, channels, columns = g.shape[1] // G, x.shape[1] // G, math.prod(k[i] for i in split.axes)
    nothing = [zeros((G, len(phase.taps) * filters, columns * channels), x) for phase in split.phases]
    total = loops.chunked_sum(images, nothing, (x, g), split.images)
    dw = jnp.concatenate([each.reshape(G, -1, filters, columns, channels) for each in total], 1)
    order = [q for phase in split.phases for q in phase.taps]
    if order != sorted(order):
        dw = jnp.stack([dw[:, order.index(q)] for q in range(len(order))], 1)
    return dw.transpose(0, 2, 4, 1, 3).reshape(G * filters, channels, *k)


# ------------------------------------------------------------------------------------------------ of one piece


def _value(x: Array, matrices: Sequence[Array], split: Split, precision: Precision) -> Array:
    """y = shift_add(W U), added up over the remainders."""
    geometry, total = split.geometry, None
    for W, phase in zip(matrices, split.phases, strict=True):
        U = unroll(rows_of(x, phase, per_axis(geometry)[0]), geometry, split.axes)
        Z = _product(W, _columns(U, geometry), precision)
        Z = Z.reshape(len(Z), len(phase.taps), -1, *Z.shape[2:])
        y = shift_add(Z, phase, geometry.output_size[0])
        total = y if total is None else total + y
    assert total is not None
    return total


def _pulled_back(g: Array, matrices: Sequence[Array], split: Split, precision: Precision) -> Array:
    """dx = fold(Wᵀ V), the rows of every remainder by themselves; the matrices are transposed already."""
    geometry, parts = split.geometry, {}
    for W, phase in zip(matrices, split.phases, strict=True):
        U = _product(W, _columns(shift_stack(g, phase), geometry), precision)
        taps = [geometry.kernel_size[axis] for axis in split.axes]
        parts[phase.remainder] = fold(U.reshape(len(U), *taps, -1, *U.shape[2:]), geometry, split.axes)
    if split.phases == [ALL_ROWS]:
        return parts[0]
    n, s = geometry.input_size[0], geometry.stride[0]
    parts = {r: window(part, FIRST, 0, -(-n // s)) for r, part in parts.items()}
    zero = jnp.zeros_like(next(iter(parts.values())))
    return interleave([parts.get(r, zero) for r in range(s)], FIRST, n)


def _outer_products(x: Array, g: Array, split: Split, precision: Precision) -> list[Array]:
    """dw = V Uᵀ for every remainder."""
    geometry, made = split.geometry, []
    for phase in split.phases:
        U = _columns(unroll(rows_of(x, phase, per_axis(geometry)[0]), geometry, split.axes), geometry)
        V = _columns(shift_stack(g, phase), geometry)
        U, V = (each.reshape(*each.shape[:2], -1) for each in (U, V))  # over several axes the compiler copies both
        made.append(_product(V, U.swapaxes(1, 2), precision))
    return made


def _matrices(w: Array, split: Split) -> list[Array]:
    """W (G, k₁·out/groups, k₂·in/groups) for every remainder; k₁ = 1 where all taps are on the side of x."""
    G, (out, channels), k1 = split.geometry.groups, w.shape[:2], sum(len(phase.taps) for phase in split.phases)
    taps = w.reshape(G, out // G, channels, k1, -1).transpose(0, 3, 1, 4, 2)  # (G, k₁, out/groups, k₂, in/groups)
    every = [jnp.stack([taps[:, q] for q in phase.taps], 1) for phase in split.phases]
    return [each.reshape(G, each.shape[1] * each.shape[2], -1) for each in every]


def _product(a: Array, b: Array, precision: Precision) -> Array:
    """a b in every group: (G, rows, inner) and (G, inner, *positions) → (G, rows, *positions)."""
    if len(a) == 1:
        return lax.dot_general(a[0], b[0], (((1,), (0,)), ((), ())), precision=precision)[None]
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), precision=precision)


def _columns(x: Array, geometry: Geometry) -> Array:
    """(G, *taps, channels, images, *space) → (G, taps · channels, images, *space)"""
    return x.reshape(len(x), -1, *x.shape[-geometry.axes - 1 :])


# ------------------------------------------------------------------------------- what is laid out, and how much of it


class Split(NamedTuple):
    """What is laid out where, and how much at a time.

    Attributes:
        geometry: of one piece.
        phases: the rows of x by their remainder where the first axis is on the side of g, else all rows.
        images: of the batch, at a time.
        axis: the spatial axis that pieces are cut along.
        piece: output positions along it, at a time.
    """

    geometry: Geometry
    phases: list[StridePhase]
    images: int
    axis: int
    piece: int

    @property
    def axes(self) -> range:
        """The spatial axes on the side of x."""
        return range(self.geometry.axes)[self.phases != [ALL_ROWS] :]

    @classmethod
    def of(cls, which: str, a: Array, channels: int, filters: int, geometry: Geometry) -> Split:
        """Of one map of the array a."""
        k, m, itemsize = geometry.kernel_size, geometry.output_size, accumulator(a.dtype).itemsize
        # A long sequence is cut into pieces, which then needs its only axis on the side of x.
        long = geometry.axes == 1 and k[0] * filters * m[0] * itemsize > 16 * PIECE_BYTES
        first = not long and _first_with_g(which, channels, filters, geometry)
        phases = stride_phases(per_axis(geometry)[0]) if first else [ALL_ROWS]
        axis = min(int(first), geometry.axes - 1)
        positions = (sum(each.height for each in phases) if first else m[0]) * math.prod(m[1:])
        laid_out = math.prod(k[int(first) :]) * channels * positions * itemsize
        both = laid_out + (k[0] if first else 1) * filters * positions * itemsize
        images = _together(len(a), both) if positions < POSITIONS else 1
        pieces = min(m[axis], -(-images * laid_out // PIECE_BYTES))
        if (first and geometry.axes == 1) or pieces == 2:  # to cut in two costs more than it saves
            pieces = 1
        even = min(n for n in loops.divisors(m[axis]) if n >= pieces)  # none left over, which would be written twice
        return cls(geometry, phases, images, axis, -(-m[axis] // (even if even <= 2 * pieces else pieces)))


def _together(batch: int, nbytes: int) -> int:
    """How many small images, of so many bytes each: a divisor of the batch, or all where that is a prime."""
    images = loops.largest_chunk(batch, nbytes, 2 * PIECE_BYTES)
    return images if images > 1 else loops.largest_chunk(batch, nbytes, 4 * PIECE_BYTES)


def _first_with_g(which: str, channels: int, filters: int, geometry: Geometry) -> bool:
    """Whether fewer elements are written with the first axis on the side of g: k₁·out + s₁·k₂·in against k·in."""
    axis, k2, G = per_axis(geometry)[0], math.prod(geometry.kernel_size[1:]), geometry.groups
    if axis.k == 1 or not axis.overlaps:
        return False
    there, here = axis.k * filters // G, axis.k * k2 * channels // G
    if geometry.axes == 1:  # then one of U and V is a view
        return there < here if which == "dx" else there <= here
    return there + axis.s * k2 * channels // G <= here


def _pieces(split: Split, carry: T, one: Callable[[T, Array | int, Geometry], T]) -> T:
    """carry = one(carry, start, geometry of a piece), from piece to piece; a shorter one may be left at the end."""
    m, size = split.geometry.output_size[split.axis], split.piece
    if size == m:
        return one(carry, 0, split.geometry)
    whole, rest = _piece(split, size), m % size
    carry = lax.fori_loop(0, m // size, lambda t, carry: one(carry, t * size, whole), carry)
    return one(carry, m - rest, _piece(split, rest)) if rest else carry


def _piece(split: Split, size: int) -> Geometry:
    """Of that many output positions along the axis, which is padded already."""
    axes = per_axis(split.geometry)
    axes[split.axis] = axes[split.axis]._replace(n=axes[split.axis].span(size), lo=0, hi=0)
    return geometry_of(axes, split.geometry)


def _read_by(x: Array, split: Split) -> Array:
    """x padded to what is read along the axis that pieces are cut along."""
    axis = per_axis(split.geometry)[split.axis]
    return x if split.piece == axis.m else window(x, FIRST + split.axis, -axis.lo, axis.span(axis.m))


def _cut_out(x: Array, split: Split, start: Array | int, size: int) -> Array:
    axis = FIRST + split.axis
    return x if size == x.shape[axis] else lax.dynamic_slice_in_dim(x, start, size, axis)


def _write(total: Array, part: Array, start: Array | int, split: Split) -> Array:
    """`total` with `part` from a position on; a part of its size is all of it."""
    whole = part.shape == total.shape
    return part if whole else lax.dynamic_update_slice_in_dim(total, part, start, FIRST + split.axis)


def _each(f: Callable[[Array], Array], split: Split, x: Array) -> Array:
    """f of some images at a time, (G, C/G, images, *space), put together as (batch, C, *space)."""

    def images(x: Array) -> Array:
        y = jnp.moveaxis(f(_grouped(x, split.geometry)), 2, 0)
        return y.reshape(len(y), -1, *y.shape[3:])

    return loops.chunked_map(images, x, split.images)


def _grouped(x: Array, geometry: Geometry) -> Array:
    """(images, C, *space) → (G, C/G, images, *space)"""
    return jnp.moveaxis(x.reshape(len(x), geometry.groups, -1, *x.shape[2:]), 0, 2)
