"""An array that XLA makes in a loop of its own, and does not make anew inside each loop that reads it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to

BARRIERS = jax.__version_info__ >= (0, 11)  # keep loops apart on a CPU: before, they were dropped too early


def in_place() -> bool:
    """Whether XLA adds in place to what `materialize` makes: not where that falls back on a branch."""
    return BARRIERS


def materialize(make: Callable[[], Array], like: Array) -> Array:
    """make(), in a loop of its own; it varies over the same mesh axes as `like`.

    JAX 0.10 drops the barrier too early. There a branch whose predicate XLA cannot foresee keeps the array from being
    fused.
    """
    if BARRIERS:
        return lax.optimization_barrier(make())
    made = jax.eval_shape(make)
    other = pcast_to(jnp.zeros(made.shape, made.dtype), axes_of(like))
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), make, lambda: other)


def materialize_operand(make: Callable[[], Array], x: Array) -> Array:
    """make(), an operand that several loops read: padded or widened once, and not anew for every tap.

    Where x has the accumulator's dtype already, JAX 0.10 does not fuse it, and a branch would cost a fifth more time.
    """
    return lax.optimization_barrier(make()) if x.dtype == accumulator(x.dtype) else materialize(make, x)
