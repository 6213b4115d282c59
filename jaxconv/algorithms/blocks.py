"""The three maps where an axis may lie over several devices: blocks of positions, each with what its windows reach.

Under jit the compiler cuts arrays up, and does not say where. An axis of n positions is written as D blocks of L = s·M,
a device's share each where s divides it and the outputs are no more than n/s (elsewhere the compiler moves what is out
of place); block r makes M outputs, and reads

    E    X[r, e] = x[r·L − lo + e],   e = 0 … L − s + d(k − 1)              (x is 0 outside)
         U[q, r, p] = X[r, s·p + d·q],   p = 0 … M − 1

E alone looks beyond a block: one permute for each neighbour reached, however many taps there are. The rest is within a
device, and one product over (batch, blocks, positions), axes that stay apart, since merged they would be gathered:

    conv            y  = W U
    conv_input_vjp  dx = Eᵀ fold(Wᵀ g)         fold the adjoint of the second line
    conv_weight_vjp dw = g Uᵀ

Arrays are (groups, channels/groups, batch, *space), laid out ones (groups, *taps, channels/groups, batch, D₁, M₁, …).
Letters as in `reference`.

Source: the ghost cells of `jaxconv.parallel.halo`, for the compiler to send.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms.layout import in_layout, to_accumulator, too_long
from jaxconv.algorithms.unroll import FIRST, Axis, padded, per_axis, window
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem


def unsupported(problem: Problem) -> str | None:
    """Each tap of an axis is a line of the program."""
    return too_long(problem)


@in_layout("channels_first")
def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y = W U"""
    both = range(geometry.axes + 1)  # taps and channels
    U = _unroll(_inner(x, geometry), geometry)
    y = _product(_matrices(w, geometry), U, [2 + i for i in both], [1 + i for i in both], precision)
    for i, blocks in enumerate(_blocks(geometry)):
        y = _joined(y, FIRST + i, blocks.axis.m)
    return _outer(y).astype(x.dtype)


@in_layout("channels_first")
def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx = Eᵀ fold(Wᵀ g)"""
    U = _product(_matrices(w, geometry), _outputs(g, geometry), [1], [1], precision)
    return _outer(_fold(U, geometry)).astype(g.dtype)


@in_layout("channels_first")
def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw = g Uᵀ"""
    U, g = _of_outputs(_unroll(_inner(x, geometry), geometry), geometry), _outputs(g, geometry)
    positions = range(2, g.ndim)  # of every image
    dw = _product(g, U, positions, [i + geometry.axes for i in positions], precision)
    dw = jnp.moveaxis(dw, -1, 2)  # (G, out/groups, in/groups, *taps)
    return dw.reshape(-1, *dw.shape[2:]).astype(x.dtype)


# ----------------------------------------------------------------------------------------------- blocks of an axis


class HaloBlocks(NamedTuple):
    """How one spatial axis is cut: `parts` = D blocks of `inputs` = L and `outputs` = M positions."""

    axis: Axis
    parts: int

    @property
    def outputs(self) -> int:
        return -(-max(self.axis.m, -(-self.axis.n // self.axis.s)) // self.parts)

    @property
    def inputs(self) -> int:
        return self.axis.s * self.outputs

    @property
    def reads(self) -> int:
        """Positions that a block reads: L − s + d(k − 1) + 1."""
        return self.axis.span(self.outputs)

    def hops(self) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
        """(h, (start, stop) in block r + h, (start, stop) in what block r reads) for each block that it reads from."""
        L, first = self.inputs, -self.axis.lo
        last = first + self.reads
        for h in range(first // L, -(-last // L)):
            start, stop = max(first, h * L), min(last, (h + 1) * L)
            yield h, (start - h * L, stop - h * L), (start - first, stop - first)

    def taps(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of what every tap reads in what its block reads."""
        d, s = self.axis.d, self.axis.s
        return ((d * q, d * q + s * (self.outputs - 1) + 1) for q in range(self.axis.k))


def _blocks(geometry: Geometry) -> list[HaloBlocks]:
    """So many blocks that where an axis is cut evenly, over any of the devices, the cuts fall between blocks."""
    return [HaloBlocks(axis, math.gcd(jax.device_count(), axis.n)) for axis in per_axis(geometry)]


def _overlap(x: Array, at: int, blocks: HaloBlocks) -> Array:
    """X[r, e] = x[r·L − lo + e], from (…, D, L, …) with D on axis `at`."""
    parts = [_shift(lax.slice_in_dim(x, *own, axis=at + 1), at, h) for h, own, _ in blocks.hops()]
    return lax.concatenate(parts, at + 1)


def _overlap_adjoint(X: Array, at: int, blocks: HaloBlocks) -> Array:
    """x[r·L + j] = Σ_{r',e: r'·L − lo + e = r·L + j} X[r', e]"""
    sent = ((_shift(lax.slice_in_dim(X, *there, axis=at + 1), at, -h), own) for h, own, there in blocks.hops())
    return functools.reduce(jnp.add, (window(part, at + 1, -own[0], blocks.inputs) for part, own in sent))


def _shift(x: Array, axis: int, h: int) -> Array:
    """x[r + h], zero where there is no such block."""
    return window(x, axis, max(-x.shape[axis], min(h, x.shape[axis])), x.shape[axis])


def _cut(x: Array, axis: int, count: int, length: int) -> Array:
    """(…, n, …) → (…, count, length, …), zeros behind."""
    x = window(x, axis, 0, count * length)
    return x.reshape(*x.shape[:axis], count, length, *x.shape[axis + 1 :])


def _joined(x: Array, axis: int, size: int) -> Array:
    """(…, count, length, …) → (…, size, …), what is behind cut off."""
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return lax.slice_in_dim(x, 0, size, axis=axis)


# -------------------------------------------------------------------------------------------------- taps laid out


def _unroll(x: Array, geometry: Geometry) -> Array:
    """U[q, r, p] = X[r, s·p + d·q] on every axis."""
    for done, (i, blocks) in enumerate(reversed(list(enumerate(_blocks(geometry))))):
        at = FIRST + done + i  # `done` axes of taps stand before it
        X = _overlap(_cut(x, at, blocks.parts, blocks.inputs), at, blocks)
        x = jnp.stack([lax.slice_in_dim(X, *read, blocks.axis.s, at + 1) for read in blocks.taps()], axis=1)
    return x


def _fold(U: Array, geometry: Geometry) -> Array:
    """x[j] = Σ_{q,r,p: r·L + s·p + d·q − lo = j} U[q, r, p] on every axis, the adjoint of `_unroll`."""
    at = FIRST + geometry.axes - 1  # of the blocks of one axis, where those before it are done and its taps apart
    for blocks in _blocks(geometry):
        every = enumerate(blocks.taps())
        taps = (padded(U[:, q], at + 1, [(a, blocks.reads - b)], blocks.axis.s - 1) for q, (a, b) in every)
        U = _joined(_overlap_adjoint(functools.reduce(jnp.add, taps), at, blocks), at, blocks.axis.n)
    return U


def _of_outputs(U: Array, geometry: Geometry) -> Array:
    """U, zero where a block has positions beyond the outputs: there g is zero, and zero times NaN is NaN."""
    for i, blocks in enumerate(_blocks(geometry)):
        if blocks.parts * blocks.outputs > blocks.axis.m:
            at = U.ndim - 2 * (geometry.axes - i)
            r, p = (lax.broadcasted_iota(np.int32, U.shape, axis) for axis in (at, at + 1))
            U = jnp.where(r * blocks.outputs + p < blocks.axis.m, U, jnp.zeros((), U.dtype))
    return U


# ---------------------------------------------------------------------------------------------- products and groups


def _product(a: Array, b: Array, of_a: Sequence[int], of_b: Sequence[int], precision: Precision) -> Array:
    """Σ over these axes of a and b, in every group."""
    if len(a) > 1:
        return lax.dot_general(a, b, ((of_a, of_b), ((0,), (0,))), precision=precision)
    one, other = ([i - 1 for i in axes] for axes in (of_a, of_b))
    return lax.dot_general(a[0], b[0], ((one, other), ((), ())), precision=precision)[None]


def _inner(x: Array, geometry: Geometry) -> Array:
    """(G, C/G, batch, *space)"""
    G = geometry.groups
    return jnp.moveaxis(to_accumulator(x).reshape(len(x), G, x.shape[1] // G, *x.shape[2:]), 0, 2)


def _outer(y: Array) -> Array:
    """The way back from `_inner`."""
    y = jnp.moveaxis(y, 2, 0)
    return y.reshape(len(y), -1, *y.shape[3:])


def _outputs(g: Array, geometry: Geometry) -> Array:
    """(G, out/groups, batch, D₁, M₁, …)"""
    g = _inner(g, geometry)
    for i, blocks in reversed(list(enumerate(_blocks(geometry)))):
        g = _cut(g, FIRST + i, blocks.parts, blocks.outputs)
    return g


def _matrices(w: Array, geometry: Geometry) -> Array:
    """W (G, out/groups, *taps, in/groups)"""
    G = geometry.groups
    return jnp.moveaxis(to_accumulator(w).reshape(G, len(w) // G, *w.shape[1:]), 2, -1)
