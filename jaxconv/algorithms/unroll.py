"""The two ways to lay out taps for a matrix product, each beside its adjoint.

On most axes x is laid out tap by tap, and what comes back is added up where it came from:

    unroll   U[q, p] = x[s·p + d·q − lo]                fold      x[j] = Σ_{q,p: s·p + d·q − lo = j} U[q, p]

The positions of x that leave remainder r by the stride, j = s·t + r, meet only the taps with d·q − lo = s·δ + r, each
at a fixed distance δ: no zero is put between positions of g. On the first axis g may be laid out instead, for the rows
of one remainder after the other:

    shift_stack   V[q, t] = g[t − δ_q]                  shift_add   y[p] = Σ_q Z[q, p + δ_q]

What lies outside an array is zero. Arrays are (groups, channels/groups, batch, *space), laid out ones (groups, *taps,
channels/groups, batch, *space). Letters as in `reference`.

Source: the remainders are the polyphase decomposition of P. P. Vaidyanathan 1993, section 4.3.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jaxconv.sizes.geometry import Geometry

FIRST = 3  # the first spatial axis of an array


class Axis(NamedTuple):
    """One spatial axis of a convolution: output p < m reads the positions s·p + d·q − lo of n, for the taps q < k."""

    n: int
    k: int
    s: int
    d: int
    lo: int
    hi: int
    m: int

    @property
    def reach(self) -> int:
        """d(k − 1), from the first position of a window to its last."""
        return self.d * (self.k - 1)

    @property
    def rest(self) -> int:
        """r: the last positions of the padded input, (n + lo + hi − d(k − 1) − 1) mod s, that no window reads."""
        return (self.n + self.lo + self.hi - self.reach - 1) % self.s

    @property
    def overlaps(self) -> bool:
        """Whether two windows may read one position."""
        return self.k > self.s or self.d > 1 < self.k

    def span(self, size: int) -> int:
        """s(size − 1) + d(k − 1) + 1, what that many output positions read."""
        return self.s * (size - 1) + self.reach + 1

    def polyphase(self, lo: int) -> list[tuple[int, int]]:
        """(δ, r) of every tap q: d·q − lo = s·δ + r."""
        return [divmod(self.d * q - lo, self.s) for q in range(self.k)]


def per_axis(geometry: Geometry) -> list[Axis]:
    """The spatial axes, in order."""
    g = geometry
    sizes = zip(g.input_size, g.kernel_size, g.stride, g.dilation, g.padding, g.output_size, strict=True)
    return [Axis(n, k, s, d, lo, hi, m) for n, k, s, d, (lo, hi), m in sizes]


def geometry_of(axes: Sequence[Axis], like: Geometry) -> Geometry:
    """The geometry of these axes, groups and layout as those of another."""
    n, k, s, d, lo, hi, _ = zip(*axes, strict=True)
    return Geometry(n, k, s, tuple(zip(lo, hi, strict=True)), d, like.groups, like.layout)


def window(x: Array, axis: int, start: int, size: int, step: int = 1) -> Array:
    """x[start + step·p] for p < size along one axis, zero where that lies outside."""
    span = step * (size - 1) + 1
    if (start, span) != (0, x.shape[axis]):
        x = padded(x, axis, [(-start, start + span - x.shape[axis])])
    return lax.slice_in_dim(x, 0, span, step, axis)


def padded(x: Array, axis: int, edges: Sequence[tuple[int, int]], between: int = 0) -> Array:
    """x with so many zeros before and behind on this axis and those after it; a negative number cuts off."""
    if not between and all(pads == (0, 0) for pads in edges):
        return x
    still = [(0, 0, 0)]
    every = still * axis + [(lo, hi, between) for lo, hi in edges] + still * (x.ndim - axis - len(edges))
    return lax.pad(x, jnp.zeros((), x.dtype), every)


# ------------------------------------------------------------------------------------------------ x, tap by tap


def unroll(x: Array, geometry: Geometry, axes: Sequence[int]) -> Array:
    """U[q, p] = x[s·p + d·q − lo] on these spatial axes."""
    every = per_axis(geometry)
    for axis in reversed(axes):
        one, at = every[axis], x.ndim - geometry.axes + axis
        if not one.overlaps:  # then it is a reshape: blocks of s positions, of which k are read
            blocks = window(x, at, -one.lo, one.s * one.m)
            blocks = blocks.reshape(*blocks.shape[:at], one.m, one.s, *blocks.shape[at + 1 :])
            x = jnp.moveaxis(lax.slice_in_dim(blocks, 0, one.k, axis=at + 1), at + 1, 1)
            continue
        read = window(x, at, -one.lo, one.span(one.m))
        # Remainders apart, once: reading every s-th position anew for each tap would not be vectorised.
        apart = [lax.slice_in_dim(read, r, read.shape[at], one.s, at) for r in range(min(one.s, read.shape[at]))]
        apart = lax.optimization_barrier(apart) if one.s > 1 else apart
        x = jnp.stack([lax.slice_in_dim(apart[r], t, t + one.m, axis=at) for t, r in one.polyphase(0)], axis=1)
    return x


def taps_as_channels(x: Array, at: int, axis: Axis) -> Array:
    """U[…, p, …, (q,i)] = x[…, s·p + d·q, …, i], of an axis that is padded to what is read, channels last."""
    return lax.concatenate([window(x, at, axis.d * q, axis.m, axis.s) for q in range(axis.k)], x.ndim - 1)


def fold(unrolled: Array, geometry: Geometry, axes: Iterable[int]) -> Array:
    """x[s·t + r] = Σ_{q: d·q − lo = s·δ + r} U[q, t − δ], the adjoint of `unroll`."""
    every = per_axis(geometry)
    for axis in axes:
        one, at = every[axis], unrolled.ndim - geometry.axes + axis
        if not one.overlaps:
            blocks = window(jnp.moveaxis(unrolled, 1, at), at, 0, one.s)
            blocks = blocks.reshape(*blocks.shape[: at - 1], one.m * one.s, *blocks.shape[at + 1 :])
            unrolled = window(blocks, at - 1, one.lo, one.n)
            continue
        parts, size = [], -(-one.n // one.s)
        for r in range(one.s):
            of_r = {q: -delta for q, (delta, remainder) in enumerate(one.polyphase(one.lo)) if remainder == r}
            parts.append(_sum(unrolled, of_r, at - 1, size))
        unrolled = interleave(parts, at - 1, one.n)
    return unrolled


def interleave(parts: Sequence[Array], axis: int, size: int) -> Array:
    """x[s·t + r] = parts[r][t] along one axis, cut to its size."""
    together = parts[0]
    if len(parts) > 1:
        together = jnp.stack(parts, axis + 1)
        together = together.reshape(*parts[0].shape[:axis], -1, *parts[0].shape[axis + 1 :])
    return lax.slice_in_dim(together, 0, size, axis=axis)


# ------------------------------------------------------------------------------------------------ g, tap by tap


class StridePhase(NamedTuple):
    """The rows of x with one remainder by the stride of the first axis.

    Attributes:
        remainder: r.
        height: how many such rows there are, one at least.
        taps: q that meet them.
        shifts: δ of each of these taps; without any all rows are meant, and g as it is.
    """

    remainder: int
    height: int
    taps: tuple[int, ...]
    shifts: tuple[int, ...]


ALL_ROWS = StridePhase(0, 0, (0,), ())


def stride_phases(axis: Axis) -> list[StridePhase]:
    """Every remainder that some tap meets."""
    met: dict[int, list[tuple[int, int]]] = {}
    for q, (delta, r) in enumerate(axis.polyphase(axis.lo)):
        met.setdefault(r, []).append((q, delta))
    return [StridePhase(r, max(1, -(-(axis.n - r) // axis.s)), *zip(*met[r], strict=True)) for r in sorted(met)]


def rows_of(x: Array, phase: StridePhase, axis: Axis) -> Array:
    """x[s·t + r] on the first spatial axis."""
    return window(x, FIRST, phase.remainder, phase.height, axis.s) if phase.shifts else x


def shift_stack(g: Array, phase: StridePhase) -> Array:
    """V[q, t] = g[t − δ_q] on the first spatial axis."""
    if not phase.shifts:
        return g[:, None]
    return jnp.stack([window(g, FIRST, -shift, phase.height) for shift in phase.shifts], axis=1)


def shift_add(Z: Array, phase: StridePhase, size: int) -> Array:
    """y[p] = Σ_q Z[q, p + δ_q] on the first spatial axis, the adjoint of `shift_stack`."""
    return _sum(Z, dict(enumerate(phase.shifts)), FIRST, size) if phase.shifts else Z[:, 0]


def _sum(taps: Array, shifts: dict[int, int], axis: int, size: int) -> Array:
    """Σ_q taps[q][p + shift_q] for p < size; zeros where there is no q."""
    parts = [window(lax.index_in_dim(taps, q, 1, keepdims=False), axis, shift, size) for q, shift in shifts.items()]
    return functools.reduce(lax.add, parts) if parts else jnp.zeros_like(window(taps[:, 0], axis, 0, size))
