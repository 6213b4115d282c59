"""What the hand-written rules share: knowing, while tracing, which derivatives were asked for.

With ``symbolic_zeros=True`` a forward rule is told which inputs are being differentiated, and the backward rule has to
know too. The answer travels as the shape of an empty array: one that travels in the structure of what is kept goes
stale, since inside a shared jit JAX pulls every trace back with the structure of the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


class Ruled:
    """A function with a hand-written rule that knows which derivatives are asked for: as ``jax.custom_vjp``.

    It is registered a second time, with a rule that is asked for all: under ``jax.disable_jit``, where
    ``jax.shard_map`` runs one operation after the other, JAX takes no rule that it would have to tell.
    """

    def __init__(self, f: Callable[..., Any], nondiff_argnums: tuple[int, ...]) -> None:
        self.fixed = nondiff_argnums
        self.asked, self.all = (jax.custom_vjp(f, nondiff_argnums=nondiff_argnums) for _ in range(2))

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """The rule: `forward` takes what `values` and `wanted` read, `backward` cotangents as `dense` or `given` do."""

        def forward_for_all(*args: Any) -> Any:
            return forward(*(each if k in self.fixed else _all_wanted(each) for k, each in enumerate(args)))

        self.asked.defvjp(forward, backward, symbolic_zeros=True)
        self.all.defvjp(forward_for_all, backward)

    def __call__(self, *args: Any) -> Any:
        untold = getattr(jax.config, "jax_disable_jit", False) and jax.sharding.get_abstract_mesh().manual_axes
        return (self.all if untold else self.asked)(*args)


def _all_wanted(arrays: Any) -> Any:
    return jax.tree.map(lambda value: jax.custom_derivatives.CustomVJPPrimal(value, True), arrays)


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, jax.custom_derivatives.CustomVJPPrimal)


def values(primals: Any) -> Any:
    """The arrays of a forward rule's arguments."""
    return jax.tree.map(lambda primal: primal.value, primals, is_leaf=_is_primal)


def wanted(primals: Any) -> Any:
    """For every array of a forward rule's arguments an empty array that tells whether it is being differentiated."""
    return jax.tree.map(lambda primal: jnp.zeros((int(primal.perturbed), 0)), primals, is_leaf=_is_primal)


def is_wanted(mark: Array) -> bool:
    """What a mark made by `wanted` tells."""
    return mark.shape[0] == 1


def dense(cotangents: Any) -> Any:
    """Cotangents as arrays, also those that JAX knows to be zero."""

    def is_zero(t: Any) -> bool:
        return isinstance(t, jax.custom_derivatives.SymbolicZero)

    return jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype) if is_zero(t) else t, cotangents, is_leaf=is_zero)


def given(cotangent: Any) -> Any:
    """A cotangent, or None where JAX knows it to be zero."""
    return None if isinstance(cotangent, jax.custom_derivatives.SymbolicZero) else cotangent
