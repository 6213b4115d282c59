"""The three maps of the one trilinear form as matrix products: the form for a CPU.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

What each output reads, its patch X[p, (q,i)] = x[i, s·p + d·q − lo], is laid out as a row of a matrix; then

    conv            y  = X W
    conv_weight_vjp dw = Xᵀ g
    conv_input_vjp  dx = the overlapping sum of g Wᵀ, which is again one `conv` per phase of the stride

Patches are made for a tile of output positions at a time, small enough to stay in a cache, with the whole batch inside.
Within this module arrays are (batch, *space, channels) and kernels (*taps, in/groups, out), in the accumulator's dtype.
Letters as in `jaxconv.reference`; G groups, T output positions of a tile along the first spatial axis.

Source: K. Chellapilla et al. 2006 (convolution as a matrix product); the phases are the polyphase decomposition of
P. P. Vaidyanathan 1993, section 4.3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv import depthwise
from jaxconv.geometry import Geometry
from jaxconv.precision import Precision, accumulator

TILE_BYTES = 1 << 20  # patches of one tile; 256 KiB to 4 MiB differ by less than a fifth on four workloads


def conv(x: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    if is_depthwise(geometry, x.shape[depthwise.channel_axis(geometry)]):
        return depthwise.conv(_wide(x), _wide(w), geometry).astype(x.dtype)
    y = _conv(_inner(x, geometry), _inner_kernel(w, geometry), geometry, precision)
    return _outer(y, geometry).astype(x.dtype)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    one_to_one = w.shape[1 if geometry.channels_first else -2] == 1 and is_depthwise(
        geometry, g.shape[depthwise.channel_axis(geometry)]
    )
    if one_to_one and set(geometry.stride) == {1}:
        return depthwise.conv_input_vjp(_wide(g), _wide(w), geometry).astype(g.dtype)
    dx = _input_vjp(_inner(g, geometry), _inner_kernel(w, geometry), geometry, precision)
    return _outer(dx, geometry).astype(g.dtype)


def conv_weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision = None) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    if is_depthwise(geometry, x.shape[depthwise.channel_axis(geometry)]):
        return depthwise.conv_weight_vjp(_wide(x), _wide(g), geometry).astype(x.dtype)
    dw = _weight_vjp(_inner(x, geometry), _inner(g, geometry), geometry, precision)
    if geometry.channels_first:
        dw = jnp.moveaxis(dw, (-1, -2), (0, 1))
    return dw.astype(x.dtype)


# --------------------------------------------------------------------------------------------- channels last within


def _conv(x: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    """Σ_q X_q W_q: elementwise where each group has one input channel, else as a product of patches."""
    if w.shape[-2] == 1 and geometry.groups > 1:
        return depthwise.conv(x, w, replace(geometry, layout="channels_last"))
    padded, m = _padded(x, geometry), geometry.output_size
    matrix = _split_out(w.reshape(-1, *w.shape[-2:]), geometry)  # (taps, in/groups, G, out/groups)

    def tile(start: Array | int, size: int) -> Array:
        patches = _patches(padded, geometry, start, size)  # (batch, T, *m', taps, G, in/groups)
        return _product(patches, matrix, precision)

    y = jnp.zeros((x.shape[0], *m, w.shape[-1]), x.dtype)
    count, size = _tiles(x, w, geometry)
    if count == 1 and size == m[0]:
        return tile(0, size)
    y = lax.fori_loop(
        0, count, lambda t, y: lax.dynamic_update_slice_in_dim(y, tile(t * size, size), t * size, axis=1), y
    )
    rest = m[0] - count * size
    return lax.dynamic_update_slice_in_dim(y, tile(count * size, rest), count * size, axis=1) if rest else y


def _weight_vjp(x: Array, g: Array, geometry: Geometry, precision: Precision) -> Array:
    """Σ_{b,p} X[p]ᵀ g[p], tile by tile."""
    padded, m = _padded(x, geometry), geometry.output_size
    G, channels, out = geometry.groups, x.shape[-1], g.shape[-1]
    shape = (*geometry.kernel_size, channels // G, out)

    def tile(start: Array | int, size: int) -> Array:
        patches = _patches(padded, geometry, start, size)
        rows = lax.dynamic_slice_in_dim(g, start, size, axis=1)
        return _outer_product(patches, rows.reshape(*rows.shape[:-1], G, out // G), precision)

    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    count, size = _tiles(x, kernel, geometry)
    if count == 1 and size == m[0]:
        dw = tile(0, size)
    else:
        zero = jnp.zeros((geometry.taps, channels // G, G, out // G), x.dtype)
        dw = lax.fori_loop(0, count, lambda t, dw: dw + tile(t * size, size), zero)
        rest = m[0] - count * size
        dw = dw + tile(count * size, rest) if rest else dw
    return dw.reshape(shape)


def _input_vjp(g: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    """One convolution of g per phase of the stride, interleaved: no zero is ever put between the elements of g.

    With c = gcd(s, d), the positions j = s·t + r − lo are fed by the taps q with d·q ≡ r (mod s): every (s/c)-th tap
    from the first such one, q₀, at steps of d/c in g: dx[j] = Σ_u w[q₀ + u·s/c] · g[t − (d·q₀ − r)/s − u·d/c].
    """
    n, s = geometry.input_size, geometry.stride
    lo = [before for before, _ in geometry.padding]
    if overlap(geometry):
        steps = [max(0, -(-(size + first) // step)) for size, first, step in zip(n, lo, s, strict=True)]
        flipped = _exchanged(w, geometry)
        every = itertools.product(*map(range, s))
        phases = jnp.stack([_phase(g, flipped, geometry, r, steps, precision) for r in every], axis=-2)
        phases = phases.reshape(*phases.shape[:-2], *s, phases.shape[-1])
    else:
        phases = _spread(g, w, geometry, precision)
    dx = _interleave(phases, geometry.axes)
    # dx begins at position −lo and may end before n or behind it.
    edges = [
        (0, 0, 0),
        *((-first, size + first - there, 0) for size, first, there in zip(n, lo, dx.shape[1:-1], strict=True)),
    ]
    return lax.pad(dx, jnp.zeros((), dx.dtype), [*edges, (0, 0, 0)])


def _spread(g: Array, w: Array, geometry: Geometry, precision: Precision) -> Array:
    """g Wᵀ where windows do not overlap: what each output sends back to the s positions of its block."""
    G, k, s = geometry.groups, geometry.kernel_size, geometry.stride
    parts = g.reshape(*g.shape[:-1], G, -1)
    kernel = _split_out(w.reshape(-1, *w.shape[-2:]), geometry)
    sent = jnp.einsum("...Go,qiGo->...qGi", parts, kernel, precision=precision)
    sent = sent.reshape(*g.shape[:-1], *k, -1)
    gaps = [(0, step - size, 0) for size, step in zip(k, s, strict=True)]
    return lax.pad(sent, jnp.zeros((), g.dtype), [(0, 0, 0)] * (geometry.axes + 1) + gaps + [(0, 0, 0)])


def _phase(
    g: Array, w: Array, geometry: Geometry, r: Sequence[int], steps: Sequence[int], precision: Precision
) -> Array:
    """dx at the positions s·t + r − lo; zeros where no tap reaches them. w has its channels exchanged."""
    read = [_phase_axis(geometry, axis, r[axis], steps[axis]) for axis in range(geometry.axes)]
    kernel = w[tuple(taps for taps, _ in read)]
    if not kernel.size or not all(steps):
        return jnp.zeros((g.shape[0], *steps, w.shape[-1]), g.dtype)
    one = replace(
        geometry,
        input_size=g.shape[1:-1],
        kernel_size=kernel.shape[:-2],
        stride=(1,) * geometry.axes,
        padding=tuple(pads for _, pads in read),
        dilation=tuple(d // math.gcd(s, d) for s, d in zip(geometry.stride, geometry.dilation, strict=True)),
    )
    return _conv(g, lax.rev(kernel, tuple(range(geometry.axes))), one, precision)


def _phase_axis(geometry: Geometry, axis: int, r: int, steps: int) -> tuple[slice, tuple[int, int]]:
    """The taps of phase r on one axis, and the padding of g with which they give `steps` positions."""
    k, s, d = geometry.kernel_size[axis], geometry.stride[axis], geometry.dilation[axis]
    every = s // math.gcd(s, d)
    first = next((q for q in range(min(k, every)) if d * q % s == r), k)
    reach = (len(range(first, k, every)) - 1) * d * every // s  # from the first tap to the last, in positions of g
    before = (d * first - r) // s + reach
    return slice(first, None, every), (before, steps - geometry.output_size[axis] - before + reach)


def _interleave(phases: Array, axes: int) -> Array:
    """(batch, *t, *r, channels) → (batch, *(s·t + r), channels)"""
    shape = phases.shape
    pairs = [(1 + axis, 1 + axes + axis) for axis in range(axes)]
    together = phases.transpose(0, *itertools.chain.from_iterable(pairs), 2 * axes + 1)
    return together.reshape(shape[0], *(shape[t] * shape[r] for t, r in pairs), shape[-1])


# ------------------------------------------------------------------------------------------------- patches and tiles


def _tiles(x: Array, w: Array | jax.ShapeDtypeStruct, geometry: Geometry) -> tuple[int, int]:
    """How many whole tiles there are, and T. Without overlap a patch is read once, and one product does it all."""
    m = geometry.output_size
    if not overlap(geometry) or jax.device_count() > 1:
        # With several devices any axis may lie across them, and a loop over a sharded one would gather it.
        return 1, m[0]
    row = x.shape[0] * math.prod(m[1:]) * geometry.taps * x.shape[-1] * x.dtype.itemsize
    size = max(1, min(m[0], TILE_BYTES // max(1, row)))
    return m[0] // size, size


def _patches(padded: Array, geometry: Geometry, start: Array | int, size: int) -> Array:
    """X[b, p, q, G, i] for `size` output positions from `start` along the first axis."""
    s, d, k = geometry.stride[0], geometry.dilation[0], geometry.kernel_size[0]
    if not overlap(geometry):
        return _blocks(padded, geometry)
    rows = padded
    if size != geometry.output_size[0]:
        rows = lax.dynamic_slice_in_dim(padded, start * s, (size - 1) * s + d * (k - 1) + 1, axis=1)
    shifts = [shift for _, shift in _shifts(rows, geometry, (size, *geometry.output_size[1:]))]
    patches = jnp.stack(shifts, axis=-2)
    return patches.reshape(*patches.shape[:-1], geometry.groups, -1)


def overlap(geometry: Geometry) -> bool:
    """Whether a position may be read by two windows; where not, patches are a reshape of x."""
    return any(
        k > s or d > 1 < k for k, s, d in zip(geometry.kernel_size, geometry.stride, geometry.dilation, strict=True)
    )


def _blocks(padded: Array, geometry: Geometry) -> Array:
    """X[b, p, q, G, i] of windows that do not overlap: x in blocks of s positions, of which k are read."""
    m, s, k = geometry.output_size, geometry.stride, geometry.kernel_size
    sizes = zip(m, s, padded.shape[1:-1], strict=True)
    # The last block may reach beyond x, where nothing is read.
    whole = lax.pad(
        padded,
        jnp.zeros((), padded.dtype),
        [(0, 0, 0), *((0, size * step - n, 0) for size, step, n in sizes), (0, 0, 0)],
    )
    blocks = whole.reshape(whole.shape[0], *(v for pair in zip(m, s, strict=True) for v in pair), whole.shape[-1])
    for axis, size in enumerate(k):
        blocks = lax.slice_in_dim(blocks, 0, size, axis=2 * axis + 2)
    axes = geometry.axes
    order = (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    return blocks.transpose(order).reshape(whole.shape[0], *m, geometry.taps, geometry.groups, -1)


def _shifts(x: Array, geometry: Geometry, m: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Array]]:
    """For each tap q the inputs x[b, s·p + d·q, i] of m output positions."""
    for q in itertools.product(*map(range, geometry.kernel_size)):
        axes = list(zip(q, m, geometry.stride, geometry.dilation, strict=True))
        starts = [0, *(d * tap for tap, _, _, d in axes), 0]
        ends = [x.shape[0], *(d * tap + s * (size - 1) + 1 for tap, size, s, d in axes), x.shape[-1]]
        yield q, lax.slice(x, starts, ends, [1, *geometry.stride, 1])


def _product(patches: Array, matrix: Array, precision: Precision) -> Array:
    """y[…, G, o] = Σ_{q,i} X[…, q, G, i] · W[q, i, G, o]"""
    if patches.shape[-2] == 1:
        y = jnp.matmul(
            patches.reshape(-1, matrix.shape[0] * matrix.shape[1]),
            matrix.reshape(-1, matrix.shape[-1]),
            precision=precision,
        )
    else:
        y = jnp.einsum("...qGi,qiGo->...Go", patches, matrix, precision=precision)
    return y.reshape(*patches.shape[:-3], -1)


def _outer_product(patches: Array, g: Array, precision: Precision) -> Array:
    """dW[q, i, G, o] = Σ_{b,p} X[b, p, q, G, i] · g[b, p, G, o]"""
    if patches.shape[-2] == 1:
        *_, taps, _, channels = patches.shape
        rows = patches.reshape(-1, taps * channels)
        dw = lax.dot_general(rows, g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())), precision=precision)
        return dw.reshape(taps, channels, 1, -1)
    rows = patches.reshape(-1, *patches.shape[-3:])
    return jnp.einsum("pqGi,pGo->qiGo", rows, g.reshape(-1, *g.shape[-2:]), precision=precision)


# ------------------------------------------------------------------------------------------------------------ layout


def _padded(x: Array, geometry: Geometry) -> Array:
    if all(pads == (0, 0) for pads in geometry.padding):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.padding), (0, 0, 0)])


def is_depthwise(geometry: Geometry, channels: int) -> bool:
    """Whether every one of several groups has one input channel."""
    return channels == geometry.groups > 1


def _wide(x: Array) -> Array:
    """x in the dtype that sums of it are made in."""
    return x.astype(accumulator(x.dtype))


def _inner(x: Array, geometry: Geometry) -> Array:
    return jnp.moveaxis(_wide(x), 1, -1) if geometry.channels_first else _wide(x)


def _outer(y: Array, geometry: Geometry) -> Array:
    return jnp.moveaxis(y, -1, 1) if geometry.channels_first else y


def _inner_kernel(w: Array, geometry: Geometry) -> Array:
    return jnp.moveaxis(_wide(w), (0, 1), (-1, -2)) if geometry.channels_first else _wide(w)


def _split_out(w: Array, geometry: Geometry) -> Array:
    """(…, out) → (…, G, out/groups)"""
    return w.reshape(*w.shape[:-1], geometry.groups, -1)


def _exchanged(w: Array, geometry: Geometry) -> Array:
    """(*taps, in/groups, out) → (*taps, out/groups, in): input and output channels exchanged within each group."""
    parts = jnp.moveaxis(_split_out(w, geometry), -1, -3)  # (*taps, out/groups, in/groups, G)
    parts = jnp.swapaxes(parts, -1, -2)
    return parts.reshape(*parts.shape[:-2], -1)
