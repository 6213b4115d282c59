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
    """Whether an array made alone may be added to in place: a branch does not do so to its operand."""
    return BARRIERS


def materialize(make: Callable[[], Array], like: Array) -> Array:
    """make(), in a loop of its own; it varies over the same mesh axes as an array.

    What JAX 0.10 does not merge is a branch that it cannot foresee.
    """
    if BARRIERS:
        return lax.optimization_barrier(make())
    made = jax.eval_shape(make)
    other = pcast_to(jnp.zeros(made.shape, made.dtype), axes_of(like))
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), make, lambda: other)


def materialize_operand(make: Callable[[], Array], x: Array) -> Array:
    """make(), what several loops read of x, padded or widened once and not anew for every tap.

    Of what is not widened JAX 0.10 keeps it apart by itself, and a branch would take a fifth longer.
    """
    return lax.optimization_barrier(make()) if x.dtype == accumulator(x.dtype) else materialize(make, x)
