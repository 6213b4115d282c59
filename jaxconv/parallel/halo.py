"""Halos: what a shard of a split axis must see of its neighbours, sent to it, and the adjoint, sent back and added.

An axis of n positions lies over P shards in pieces of L = n/P; shard r holds the positions r·L … r·L + L − 1.

    E    y_r[e] = x[r·L − before + e],   e = 0 … before + L + after − 1      (x is 0 outside, or goes round)
    Eᵀ   dx[j]  = Σ_{r,e: r·L − before + e = j} g_r[e]

E is linear, so the derivative of E is Eᵀ and that of Eᵀ is E: two registrations of one line close the system, to any
order. Shard r sends what shard r + h lacks: a hop of h shards is one collective permute, and a halo of w positions
takes ⌈w/L⌉ hops on its side. Nothing else is sent.

Source: the exchange of ghost cells in domain decomposition, W. Gropp, E. Lusk and A. Skjellum, "Using MPI", 1994, §4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from jax import Array, lax

from jaxconv._jax.manual_axes import names_of, num_shards, pcast_to
from jaxconv.convolution.padding import zeros_around
from jaxconv.sizes.arguments import integer, one_of, wrong_kind, wrong_value

# ------------------------------------------------------------------------------------------------- the exchange


class Hop(NamedTuple):
    """One collective permute: `width` positions, from `own` on, go to the shard `shift` further, there from `at` on."""

    shift: int
    width: int
    own: int
    at: int


class Halo(NamedTuple):
    """All that is static about an exchange: the array's axis, the mesh axis, the widths, and whether ends meet."""

    axis: int
    axis_name: Any
    shards: int
    before: int
    after: int
    periodic: bool

    def hops(self, own: int) -> list[Hop]:
        """In the order of the positions they bring; the shard's own L = `own` are the hop of 0."""
        reach = self.before + self.after + own if self.periodic else (self.shards - 1) * own
        made = [Hop(0, own, 0, self.before)]
        for sign, halo in ((1, min(self.before, reach)), (-1, min(self.after, reach))):
            for h in range(1, -(-halo // own) + 1):
                width = min(own, halo - (h - 1) * own)
                start = own - width if sign > 0 else 0
                made.append(Hop(sign * h, width, start, self.before - sign * h * own + start))
        return sorted(made, key=lambda hop: hop.at)

    def send(self, piece: Array, shift: int) -> Array:
        """`piece` of every shard r at shard r + shift; 0 where no shard sends."""
        if not shift:
            return piece
        ends = ((r, r + shift) for r in range(self.shards))
        pairs = [(r, to % self.shards) for r, to in ends if self.periodic or 0 <= to < self.shards]
        return lax.ppermute(piece, self.axis_name, pairs)

    def cut(self, array: Array, start: int, width: int) -> Array:
        return lax.slice_in_dim(array, start, start + width, axis=self.axis)

    def pad(self, array: Array, low: int, high: int) -> Array:
        return zeros_around(array, self.axis, low, high) if low or high else array


def _exchange_plain(x: Array, halo: Halo) -> Array:
    """y_r[e] = x[r·L − before + e]"""
    own = x.shape[halo.axis]
    hops = halo.hops(own)
    y = lax.concatenate([halo.send(halo.cut(x, hop.own, hop.width), hop.shift) for hop in hops], halo.axis)
    return halo.pad(y, hops[0].at, halo.before + own + halo.after - hops[-1].at - hops[-1].width)


def _send_back_plain(g: Array, halo: Halo) -> Array:
    """dx[j] = Σ_{r,e: r·L − before + e = j} g_r[e]"""
    own = g.shape[halo.axis] - halo.before - halo.after
    back = [(hop, halo.send(halo.cut(g, hop.at, hop.width), -hop.shift)) for hop in halo.hops(own)]
    return sum(halo.pad(piece, hop.own, own - hop.own - hop.width) for hop, piece in back)  # type: ignore[return-value]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _exchange(x: Array, halo: Halo) -> Array:
    return _exchange_plain(x, halo)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _send_back(g: Array, halo: Halo) -> Array:
    return _send_back_plain(g, halo)


# The whole calculus: a linear map keeps nothing, and either is the other's derivative.
_exchange.defvjp(lambda x, halo: (_exchange(x, halo), None), lambda halo, _, g: (_send_back(g, halo),))
_send_back.defvjp(lambda g, halo: (_send_back(g, halo), None), lambda halo, _, t: (_exchange(t, halo),))


@partial(jax.jit, static_argnames=("f", "halo"))
def _jitted(f: Callable[[Array, Halo], Array], x: Array, halo: Halo) -> Array:
    return f(pcast_to(x, frozenset(names_of(halo.axis_name))), halo)


def halo_exchange(
    x: Array,
    *,
    axis: int,
    axis_name: Any,
    before: int,
    after: int,
    periodic: bool = False,
    derivative: Literal["hand", "jax"] = "hand",
) -> Array:
    """Inside `jax.shard_map`: a shard's piece of a split axis with what lies before and after it on other shards.

        y_r[e] = x[r·L − before + e],   e = 0 … before + L + after − 1;   adjoint: dx[j] = Σ_{r,e: …= j} g_r[e]

    The gradient is `halo_exchange_vjp`: halos go back to where they came from and are added there.

    Args:
        x: this shard's piece; L positions on `axis`, the same on every shard.
        axis: the axis of x that is split.
        axis_name: the mesh axis it is split over, or a tuple of mesh axes, the major one first.
        before, after: positions to see beyond either end, 0 or more. One wider than L comes in ⌈width/L⌉ hops.
        periodic: whether the last position is followed by the first; else there are zeros outside.
        derivative: "hand", the adjoint above; "jax" leaves it to JAX, so that jvp works too.

    Returns:
        y, as x with before + L + after positions on `axis`.

    Raises:
        TypeError, ValueError: an argument has the wrong kind or value, or `axis_name` is not bound.

    Source: E of the module docstring.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], "space")
    >>> split = jax.sharding.PartitionSpec("space")
    >>> see = lambda x: halo_exchange(x, axis=0, axis_name="space", before=2, after=1, periodic=True)
    >>> jax.shard_map(see, mesh=mesh, in_specs=split, out_specs=split)(jnp.arange(4.0))
    Array([2., 3., 0., 1., 2., 3., 0.], dtype=float32)
    """
    halo = _read_halo("halo_exchange", "x", x, axis, axis_name, before, after, periodic, derivative)
    return _jitted(_exchange if derivative == "hand" else _exchange_plain, x, halo)


def halo_exchange_vjp(
    g: Array,
    *,
    axis: int,
    axis_name: Any,
    before: int,
    after: int,
    periodic: bool = False,
    derivative: Literal["hand", "jax"] = "hand",
) -> Array:
    """The adjoint of `halo_exchange`: every halo goes back to the shard that it came from and is added there.

        dx[j] = Σ_{r,e: r·L − before + e = j} g_r[e]

    Its gradient is `halo_exchange`. By itself it joins pieces that overlap: windows that reach over their shard's end,
    as those of a transposed convolution do.

    Args:
        g: this shard's cotangent, before + L + after positions on `axis`.
        axis, axis_name, before, after, periodic, derivative: those of the exchange, as in `halo_exchange`.

    Returns:
        dx, as g with L positions on `axis`.

    Raises:
        TypeError, ValueError: as `halo_exchange`; also where g has no position but the halos'.

    Source: Eᵀ of the module docstring.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], "space")
    >>> split = jax.sharding.PartitionSpec("space")
    >>> add = lambda g: halo_exchange_vjp(g, axis=0, axis_name="space", before=2, after=1, periodic=True)
    >>> jax.shard_map(add, mesh=mesh, in_specs=split, out_specs=split)(jnp.ones(7))
    Array([2., 1., 2., 2.], dtype=float32)
    """
    function = "halo_exchange_vjp"
    halo = _read_halo(function, "g", g, axis, axis_name, before, after, periodic, derivative)
    if g.shape[halo.axis] <= before + after:
        rule = "`g` must have more positions on `axis` than the halos before + after"
        wrong_value(function, rule, f"g.shape={g.shape}, axis={axis}, before={before}, after={after}")
    return _jitted(_send_back if derivative == "hand" else _send_back_plain, g, halo)


def _read_halo(
    function: str,
    name: str,
    x: Any,
    axis: int,
    axis_name: Any,
    before: int,
    after: int,
    periodic: bool,
    derivative: str,
) -> Halo:
    if not isinstance(x, Array):
        wrong_kind(function, f"`{name}` must be an array", f"{name} of type {type(x).__name__}")
    at = integer(function, "axis", axis)
    if not -x.ndim <= at < x.ndim:
        wrong_value(function, f"`axis` must be an axis of `{name}`", f"axis={axis}, {name}.shape={x.shape}")
    if not x.shape[at]:
        wrong_value(function, f"`{name}` must have a position on `axis`", f"axis={axis}, {name}.shape={x.shape}")
    widths = integer(function, "before", before, least=0), integer(function, "after", after, least=0)
    if not isinstance(periodic, bool):
        wrong_kind(function, "`periodic` must be True or False", f"periodic={periodic!r}")
    one_of(function, "derivative", derivative, ("hand", "jax"))
    axis_name = tuple(axis_name) if isinstance(axis_name, list) else axis_name
    return Halo(at % x.ndim, axis_name, num_shards(function, axis_name), *widths, periodic)
