"""The three maps of the one trilinear form as matrix products: the form for a CPU.

The taps of the first spatial axis may be laid out on the side of g, those of the others on the side of x, so that few
copies are made of each and the product is nearly square (`unroll` says how):

    T(x, w, g) = ⟨V, W U⟩    V = spread(g) (k₁·out, positions), W (k₁·out, k₂·in), U = unroll(x) (k₂·in, positions)

    conv            y  = collect(W U)
    conv_input_vjp  dx = fold(Wᵀ V)
    conv_weight_vjp dw = V Uᵀ

With all taps on the side of x, V is g itself, and U what each output reads: the better split for few input channels.
It is done for a few images at a time, so that U and V stay in a cache; large images in pieces along one axis.
Within this module arrays are (batch, channels, *space), kernels (out, in/groups, *taps) in the accumulator's dtype,
and a piece of an array (groups, channels/groups, images, *space). Letters as in `reference`; k₁ taps on the
side of g, k₂ on that of x.

For arrays on one device: where an axis may lie over several its loops would gather it, and `blocks` serves.

Source: K. Chellapilla et al. 2006 (convolution as a matrix product); the remainders by the stride are the polyphase
decomposition of P. P. Vaidyanathan 1993, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax import loops
from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv.accuracy.nonfinite import unless_finite
from jaxconv.algorithms import layout
from jaxconv.algorithms.reference import flip_kernel, transposed_geometry
from jaxconv.algorithms.unroll import (
    FIRST,
    StridePhase,
    fold,
    interleave,
    shift_add,
    shift_stack,
    span,
    taps_of,
    unroll,
    window,
)
from jaxconv.sizes.geometry import Geometry

MOVED_BYTES = 10 << 20  # of x and g that have their channels moved at a time, for dw
TURNED = 256  # terms that dx of three axes folds
# Stacks of slices compile twice as long, which is too long beside lax's own convolution from JAX 0.11 on.
GATHERED = jax.__version_info__ >= (0, 11)
# JAX 0.10 makes the products of two groups one after the other: there a pair is 5 to 16 % slower than its images.
PAIRED = jax.__version_info__ >= (0, 11)


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    y = _conv(layout.first(x, geometry), layout.kernel_first(w, geometry), geometry, precision)
    return layout.from_first(y, geometry)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    dx = _input_vjp(layout.first(g, geometry), layout.kernel_first(w, geometry), geometry, precision)
    return layout.from_first(dx, geometry)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    together = _moved_together(x, g, geometry)

    def made(first: bool) -> Array:
        def of(x: Array, g: Array) -> Array:
            return _weight_vjp(layout.first(x, geometry), layout.first(g, geometry), geometry, precision, first)

        if together == len(x):
            return of(x, g)
        total = _zeros((g.shape[-1], x.shape[-1] // geometry.groups, *geometry.kernel_size), x)
        return loops.chunked_sum(lambda total, x, g: total + of(x, g), total, (x, g), together)

    channel = 1 if geometry.channels_first else -1
    first = layout.first_with_g(x.shape[channel], g.shape[channel], geometry, "dw")
    dw = made(first)
    if first:  # V holds zeros for the rows of x that a tap does not meet
        dw = unless_finite(dw, lambda: made(False))
    return layout.kernel_from_first(dw, geometry).astype(x.dtype)


# ---------------------------------------------------------------------------------------------- images and pieces


def _moved_together(x: Array, g: Array, geometry: Geometry) -> int:
    """How many images at a time have their channels moved first: whole large batches would be new memory in every call.

    One alone takes up to twice as long as two.
    """
    if geometry.channels_first or len(x) % 2 or math.prod(geometry.output_size) < layout.POSITIONS:
        return len(x)
    of_image = (x.size + g.size) // len(x) * accumulator(x.dtype).itemsize
    return max(2, loops.largest_chunk(len(x), of_image, MOVED_BYTES))


def _cut(geometry: Geometry, axis: int, size: int) -> Geometry:
    """Of a piece of that many output positions along one axis, which is padded already."""
    if size == geometry.output_size[axis]:
        return geometry
    n, pads = list(geometry.input_size), list(geometry.padding)
    n[axis], pads[axis] = span(geometry, axis, size), (0, 0)
    return replace(geometry, input_size=tuple(n), padding=tuple(pads))


def _read_by(x: Array, split: layout.Split) -> Array:
    """x padded to what is read along the axis that pieces are cut along."""
    axis, geometry = split.axis, split.geometry
    m = geometry.output_size[axis]
    if split.piece == m:
        return x
    return window(x, FIRST + axis, -geometry.padding[axis][0], span(geometry, axis, m))


def _pieces(split: layout.Split, carry: Array, one: Callable[[Array, Array | int, Geometry], Array]) -> Array:
    """carry = one(carry, start, geometry of a piece), from piece to piece; a shorter one may be left at the end."""
    m, size = split.geometry.output_size[split.axis], split.piece
    whole = _cut(split.geometry, split.axis, size)
    if size == m:
        return one(carry, 0, whole)
    carry = lax.fori_loop(0, m // size, lambda t, carry: one(carry, t * size, whole), carry)
    rest = m % size
    return one(carry, m - rest, _cut(split.geometry, split.axis, rest)) if rest else carry


def _each(f: Callable[[Array], Array], split: layout.Split, x: Array) -> Array:
    """f of some images at a time, (G, C/G, images, *space), put together as (batch, C, *space)."""

    def images(x: Array) -> Array:
        y = jnp.moveaxis(f(_grouped(split, x)), 2, 0)
        return y.reshape(len(y), -1, *y.shape[3:])

    return loops.chunked_map(images, x, split.images)


def _grouped(split: layout.Split, x: Array) -> Array:
    """(images, C, *space) → (G, C/G, images, *space)"""
    return jnp.moveaxis(x.reshape(len(x), split.geometry.groups, -1, *x.shape[2:]), 0, 2)


# ------------------------------------------------------------------------------------------------- the three maps


def _conv(x: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    first = layout.first_with_g(x.shape[1], w.shape[0], geometry, "y")
    split = layout.split(x.shape[0], x.shape[1], w.shape[0], geometry, w.dtype.itemsize, first)
    matrices = _matrices(w, split)

    def images(narrow: Array) -> Array:
        x = layout.to_accumulator(narrow)
        padded = _read_by(x, split)

        def one(y: Array, start: Array | int, part: Geometry) -> Array:
            x = _cut_out(padded, split, start * part.stride[split.axis], part.input_size[split.axis])
            made = _value(x, matrices, split._replace(geometry=part), precision)
            return (
                made if made.shape == y.shape else lax.dynamic_update_slice_in_dim(y, made, start, FIRST + split.axis)
            )

        y = _zeros((x.shape[0], w.shape[0] // geometry.groups, x.shape[2], *geometry.output_size), x)
        return _pieces(split, y, one).astype(narrow.dtype)

    return _each(images, split, x)


def _value(x: Array, matrices: Sequence[Array], split: layout.Split, precision: Precision) -> Array:
    """y = collect(W U) of one piece."""
    geometry = split.geometry
    m, images = geometry.output_size, x.shape[2]
    if split.rows is None:
        return _product(matrices[0], _columns(unroll(x, geometry, split.axes), geometry), precision)
    total = None
    for W, rows in zip(matrices, split.rows, strict=True):
        Z = _product(W, _columns(unroll(_rows(x, rows, geometry), geometry, split.axes), geometry), precision)
        Z = Z.reshape(len(Z), len(rows.taps), -1, images, rows.height, *m[1:])
        y = shift_add(Z, rows, m[0])
        total = y if total is None else total + y
    assert total is not None
    return total


def _input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    if _by_flipped_kernel(w, geometry):
        around = flip_kernel(w, replace(geometry, layout="channels_first"))
        return _conv(g, around, transposed_geometry(geometry), precision)
    channels = w.shape[1] * geometry.groups
    first = layout.first_with_g(channels, w.shape[0], geometry, "dx")
    split = layout.split(g.shape[0], channels, w.shape[0], geometry, w.dtype.itemsize, first)
    matrices = [W.swapaxes(1, 2) for W in _matrices(w, split)]

    def images(narrow: Array) -> Array:
        g = layout.to_accumulator(narrow)

        def one(dx: Array, start: Array | int, part: Geometry) -> Array:
            g_part = _cut_out(g, split, start, part.output_size[split.axis])
            made = _pulled_back(g_part, matrices, split._replace(geometry=part), precision)
            return made if made.shape == dx.shape else _add(dx, made, start * part.stride[split.axis], split.axis)

        axis, m, n = split.axis, geometry.output_size[split.axis], list(geometry.input_size)
        if split.piece < m:
            n[axis] = span(geometry, axis, m)
        dx = _pieces(split, _zeros((len(g), w.shape[1], g.shape[2], *n), g), one)
        if split.piece < m:
            dx = window(dx, FIRST + axis, geometry.padding[axis][0], geometry.input_size[axis])
        return dx.astype(narrow.dtype)

    return _each(images, split, g)


def _by_flipped_kernel(w: Array, geometry: Geometry) -> bool:
    """Whether dx is better made as the y of the kernel turned round: on three axes, to fold what many taps of many
    channels give takes 1.0 to 1.6 times as long with 3x3x3, four times with 5x5x5.
    """
    return geometry.axes > 2 and max(geometry.stride) == 1 and w.shape[1] * geometry.taps >= TURNED


def _pulled_back(g: Array, matrices: Sequence[Array], split: layout.Split, precision: Precision) -> Array:
    """dx = fold(Wᵀ V) of one piece; the matrices are transposed already."""
    geometry = split.geometry
    k, n, m, images = geometry.kernel_size, geometry.input_size, geometry.output_size, g.shape[2]
    if split.rows is None:
        U = _product(matrices[0], _columns(g, geometry), precision)
        return fold(U.reshape(len(U), *k, -1, images, *m), geometry, split.axes)
    parts = {}
    s, height = geometry.stride[0], -(-n[0] // geometry.stride[0])
    for W, rows in zip(matrices, split.rows, strict=True):
        U = _product(W, _columns(shift_stack(g, rows), geometry), precision)
        U = U.reshape(len(U), *k[1:], -1, images, rows.height, *m[1:])
        parts[rows.remainder] = window(fold(U, geometry, split.axes), FIRST, 0, height)
    zero = jnp.zeros_like(next(iter(parts.values())))
    return interleave([parts.get(r, zero) for r in range(s)], FIRST, n[0])


def _weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision, first: bool) -> Array:
    if _in_pairs(x, geometry):  # two images are two groups, whose sums are added up
        x, g = (each.reshape(-1, 2 * each.shape[1], *each.shape[2:]) for each in (x, g))
        dw = _weight_vjp(x, g, replace(geometry, groups=2), precision, first)
        return jnp.sum(dw.reshape(2, -1, *dw.shape[1:]), 0)
    split = layout.split(x.shape[0], x.shape[1], g.shape[1], geometry, accumulator(x.dtype).itemsize, first)

    def images(total: list[Array], x: Array, g: Array) -> list[Array]:
        x, g = (layout.to_accumulator(_grouped(split, each)) for each in (x, g))
        padded = _read_by(x, split)

        def one(total: list[Array], start: Array | int, part: Geometry) -> list[Array]:
            x = _cut_out(padded, split, start * part.stride[split.axis], part.input_size[split.axis])
            g_part = _cut_out(g, split, start, part.output_size[split.axis])
            made = _outer_products(x, g_part, split._replace(geometry=part), precision)
            return [a + b for a, b in zip(total, made, strict=True)]

        return _pieces(split, total, one)  # type: ignore[arg-type, return-value]

    G, k = geometry.groups, geometry.kernel_size
    filters, channels, columns = g.shape[1] // G, x.shape[1] // G, math.prod(k[i] for i in split.axes)
    counts = [1] if split.rows is None else [len(rows.taps) for rows in split.rows]
    zeros = [_zeros((G, count * filters, columns * channels), x) for count in counts]
    total = loops.chunked_sum(images, zeros, (x, g), split.images)
    parts = [each.reshape(G, -1, filters, columns, channels) for each in total]
    dw = parts[0] if split.rows is None else taps_of(parts, split.rows, k[0], 1)
    return dw.transpose(0, 2, 4, 1, 3).reshape(G * filters, channels, *k)


def _in_pairs(x: Array, geometry: Geometry) -> bool:
    """Whether V Uᵀ is made for two large images at once: its few rows and columns do not fill two cores.

    From JAX 0.11 on.
    """
    large = math.prod(geometry.output_size) >= layout.POSITIONS
    return PAIRED and geometry.groups == 1 and len(x) % 2 == 0 and large


def _outer_products(x: Array, g: Array, split: layout.Split, precision: Precision) -> list[Array]:
    """dw = V Uᵀ of one piece, for every remainder."""
    geometry, gathered = split.geometry, GATHERED and split.geometry.axes > 2
    if split.rows is None:
        U = _columns(unroll(x, geometry, split.axes, gathered), geometry)
        return [_product_over_positions(_columns(g, geometry), U, precision)]
    made = []
    for rows in split.rows:
        U = _columns(unroll(_rows(x, rows, geometry), geometry, split.axes, gathered), geometry)
        made.append(_product_over_positions(_columns(shift_stack(g, rows), geometry), U, precision))
    return made


def _matrices(w: Array, split: layout.Split) -> list[Array]:
    """W (G, k₁·out/groups, k₂·in/groups) for every remainder; k₁ = 1 where all taps are on the side of x."""
    G, (out, channels) = split.geometry.groups, w.shape[:2]
    taps = w.reshape(G, out // G, channels, 1 if split.rows is None else split.geometry.kernel_size[0], -1)
    taps = taps.transpose(0, 3, 1, 4, 2)  # (G, k₁, out/groups, k₂, in/groups)
    every = [taps] if split.rows is None else [jnp.stack([taps[:, q] for q in rows.taps], 1) for rows in split.rows]
    return [each.reshape(G, each.shape[1] * each.shape[2], -1) for each in every]


def _product(a: Array, b: Array, precision: Precision) -> Array:
    """a b in every group: (G, rows, inner) and (G, inner, *positions) → (G, rows, *positions)."""
    if len(a) == 1:
        return lax.dot_general(a[0], b[0], (((1,), (0,)), ((), ())), precision=precision)[None]
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), precision=precision)


def _product_over_positions(a: Array, b: Array, precision: Precision) -> Array:
    """a bᵀ in every group: (G, rows, *positions) and (G, columns, *positions) → (G, rows, columns)."""
    a, b = (each.reshape(*each.shape[:2], -1) for each in (a, b))  # over several axes the compiler copies both
    if len(a) == 1:
        return lax.dot_general(a[0], b[0], (((1,), (1,)), ((), ())), precision=precision)[None]
    return lax.dot_general(a, b, (((2,), (2,)), ((0,), (0,))), precision=precision)


def _columns(x: Array, geometry: Geometry) -> Array:
    """(G, *taps, channels, images, *space) → (G, taps · channels, images, *space)"""
    return x.reshape(len(x), -1, *x.shape[-geometry.axes - 1 :])


def _rows(x: Array, rows: StridePhase, geometry: Geometry) -> Array:
    """The rows of x with one remainder by the stride."""
    return lax.slice_in_dim(x, rows.remainder, x.shape[FIRST], geometry.stride[0], FIRST)


def _cut_out(x: Array, split: layout.Split, start: Array | int, size: int) -> Array:
    axis = FIRST + split.axis
    return x if size == x.shape[axis] else lax.dynamic_slice_in_dim(x, start, size, axis)


def _zeros(shape: Sequence[int], like: Array) -> Array:
    """What a loop begins with: inside `jax.shard_map` it varies over the axes that its sums will vary over."""
    return pcast_to(jnp.zeros(shape, accumulator(like.dtype)), axes_of(like))


def _add(total: Array, part: Array, start: Array | int, axis: int) -> Array:
    """total[start + j] += part[j] along one spatial axis."""
    there = lax.dynamic_slice_in_dim(total, start, part.shape[FIRST + axis], FIRST + axis)
    return lax.dynamic_update_slice_in_dim(total, there + part, start, FIRST + axis)
