"""The two ways to lay out taps for a matrix product, each beside its adjoint.

On most axes x is laid out tap by tap, and what comes back is added up where it came from:

    unroll   U[q, p] = x[s·p + d·q − lo]                fold      x[j] = Σ_{q,p: s·p + d·q − lo = j} U[q, p]

On the first axis g may be laid out instead. The rows of x that leave remainder r by the stride, h = s·t + r, meet only
the taps with d·q − lo ≡ r (mod s), each at a fixed distance δ_q = (d·q − lo − r)/s: no zero is put between rows.

    spread   V[q, t] = g[t − δ_q]                       collect   y[p] = Σ_q Z[q, p + δ_q]

What lies outside an array is zero. Arrays are (groups, channels/groups, batch, *space), laid out ones (groups, *taps,
channels/groups, batch, *space). Letters as in `reference`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv.sizes.geometry import Geometry

FIRST = 3  # the first spatial axis of an array


class StridePhase(NamedTuple):
    """The rows of x with one remainder by the stride of the first axis.

    Attributes:
        remainder: r.
        height: how many such rows there are.
        taps: q that meet them.
        shifts: δ of each of these taps.
    """

    remainder: int
    height: int
    taps: tuple[int, ...]
    shifts: tuple[int, ...]


def stride_phases(geometry: Geometry) -> list[StridePhase]:
    """Every remainder that some tap meets."""
    n, s = geometry.input_size[0], geometry.stride[0]
    every = ((r, _met(geometry, 0, r)) for r in range(min(s, n)))
    return [StridePhase(r, -(-(n - r) // s), tuple(met), tuple(met.values())) for r, met in every if met]


def _met(geometry: Geometry, axis: int, r: int) -> dict[int, int]:
    """δ_q = (d·q − lo − r)/s of the taps q for which it is whole."""
    s, d, lo = geometry.stride[axis], geometry.dilation[axis], geometry.padding[axis][0]
    return {q: (d * q - lo - r) // s for q in range(geometry.kernel_size[axis]) if (d * q - lo - r) % s == 0}


def window(x: Array, axis: int, start: int, size: int, step: int = 1) -> Array:
    """x[start + step·p] for p < size along one axis, zero where that lies outside."""
    span = step * (size - 1) + 1
    if (start, span) != (0, x.shape[axis]):
        edges = [(0, 0, 0)] * x.ndim
        edges[axis] = (-start, start + span - x.shape[axis], 0)
        x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    return lax.slice_in_dim(x, 0, span, step, axis)


def padded(x: Array, axis: int, edges: Sequence[tuple[int, int]]) -> Array:
    """x with so many zeros before and behind on this axis and those after it; a negative number cuts off."""
    if all(pads == (0, 0) for pads in edges):
        return x
    still = [(0, 0, 0)]
    every = still * axis + [(lo, hi, 0) for lo, hi in edges] + still * (x.ndim - axis - len(edges))
    return lax.pad(x, jnp.zeros((), x.dtype), every)


# ------------------------------------------------------------------------------------------------ x, tap by tap


def unroll(x: Array, geometry: Geometry, axes: Sequence[int], gathered: bool = False) -> Array:
    """U[q, p] = x[s·p + d·q − lo] on these spatial axes; `gathered` compiles faster, and runs a quarter longer."""
    for axis in reversed(axes):
        k, s, d, (lo, _), m = _one_axis(geometry, axis)
        at = x.ndim - geometry.axes + axis
        if not overlaps(geometry, axis):  # then it is a reshape: blocks of s positions, of which k are read
            blocks = window(x, at, -lo, s * m)
            blocks = blocks.reshape(*blocks.shape[:at], m, s, *blocks.shape[at + 1 :])
            x = jnp.moveaxis(lax.slice_in_dim(blocks, 0, k, axis=at + 1), at + 1, 1)
            continue
        read = window(x, at, -lo, span(geometry, axis, m))
        if s == 1 and gathered and at < x.ndim - 1:
            x = _windows(read, at, [d * q for q in range(k)], m)
            continue
        # Remainders apart, once: reading every s-th position anew for each tap would not be vectorised.
        apart = [lax.slice_in_dim(read, r, read.shape[at], s, at) for r in range(min(s, read.shape[at]))]
        apart = lax.optimization_barrier(apart) if s > 1 else apart
        starts = (divmod(d * q, s) for q in range(k))
        x = jnp.stack([lax.slice_in_dim(apart[r], start, start + m, axis=at) for start, r in starts], axis=1)
    return x


def _windows(x: Array, axis: int, starts: Sequence[int], size: int) -> Array:
    """x[start + p] for p < size along one axis, for every start on a new axis 1: one operation for all starts."""
    sizes = list(x.shape)
    sizes[axis] = size
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(0, *range(2, x.ndim + 1)), collapsed_slice_dims=(), start_index_map=(axis,)
    )
    return lax.gather(x, np.asarray(starts, np.int32)[:, None], numbers, tuple(sizes), mode="clip")


def fold(unrolled: Array, geometry: Geometry, axes: Iterable[int]) -> Array:
    """x[j] = Σ_{q,p: s·p + d·q − lo = j} U[q, p], the adjoint of `unroll`."""
    for axis in axes:
        _, s, _, (lo, _), m = _one_axis(geometry, axis)
        n = geometry.input_size[axis]
        at = unrolled.ndim - geometry.axes + axis
        if not overlaps(geometry, axis):
            blocks = window(jnp.moveaxis(unrolled, 1, at), at, 0, s)
            unrolled = window(blocks.reshape(*blocks.shape[: at - 1], m * s, *blocks.shape[at + 1 :]), at - 1, lo, n)
            continue
        taps = list(_slices(unrolled, 1))
        remainders = (_met(geometry, axis, r) for r in range(s))
        parts = [_sum(taps, {q: -shift for q, shift in met.items()}, at - 1, -(-n // s)) for met in remainders]
        unrolled = interleave(parts, at - 1, n)
    return unrolled


def interleave(parts: Sequence[Array], axis: int, size: int) -> Array:
    """x[s·t + r] = parts[r][t] along one axis, cut to its size."""
    if len(parts) == 1:
        return lax.slice_in_dim(parts[0], 0, size, axis=axis)
    together = jnp.stack(parts, axis + 1)
    shape = together.shape
    return lax.slice_in_dim(together.reshape(*shape[:axis], -1, *shape[axis + 2 :]), 0, size, axis=axis)


def span(geometry: Geometry, axis: int, size: int) -> int:
    """s(size − 1) + d(k − 1) + 1, what that many output positions read along one axis."""
    return geometry.stride[axis] * (size - 1) + geometry.dilation[axis] * (geometry.kernel_size[axis] - 1) + 1


def overlaps(geometry: Geometry, axis: int) -> bool:
    """Whether two windows may read one position."""
    k, s, d, _, _ = _one_axis(geometry, axis)
    return k > s or d > 1 < k


# ------------------------------------------------------------------------------------------------ g, tap by tap


def shift_stack(g: Array, rows: StridePhase) -> Array:
    """V[q, t] = g[t − δ_q] on the first spatial axis."""
    return jnp.stack([window(g, FIRST, -shift, rows.height) for shift in rows.shifts], axis=1)


def shift_add(parts: Array, rows: StridePhase, size: int) -> Array:
    """y[p] = Σ_q Z[q, p + δ_q] on the first spatial axis, the adjoint of `shift_stack`."""
    return _sum(list(_slices(parts, 1)), dict(enumerate(rows.shifts)), FIRST, size)


def _sum(parts: Sequence[Array], shifts: dict[int, int], axis: int, size: int) -> Array:
    """Σ_q parts[q][p + shift_q] for p < size; zeros where there is no q."""
    if not shifts:
        return jnp.zeros_like(window(parts[0], axis, 0, size))
    return functools.reduce(lax.add, (window(parts[q], axis, shift, size) for q, shift in shifts.items()))


def _one_axis(geometry: Geometry, axis: int) -> tuple[int, int, int, tuple[int, int], int]:
    return (
        geometry.kernel_size[axis],
        geometry.stride[axis],
        geometry.dilation[axis],
        geometry.padding[axis],
        geometry.output_size[axis],
    )


def taps_of(parts: Sequence[Array], rows: Iterable[StridePhase], k: int, axis: int) -> Array:
    """The taps of every remainder in the order of the kernel along one axis, zero where no row meets a tap."""
    there: dict[int, Array] = {}
    for part, each in zip(parts, rows, strict=True):
        there.update(zip(each.taps, _slices(part, axis), strict=True))
    zero = jnp.zeros_like(next(iter(there.values())))
    return jnp.stack([there.get(q, zero) for q in range(k)], axis)


def _slices(x: Array, axis: int) -> Iterator[Array]:
    return (lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis]))
