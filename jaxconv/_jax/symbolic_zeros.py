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


class WithRule:
    """A ``jax.custom_vjp`` whose rule knows which derivatives are asked for.

    A second registration differentiates every input: under ``jax.disable_jit`` inside ``jax.shard_map`` JAX does not
    support ``symbolic_zeros``.
    """

    def __init__(self, f: Callable[..., Any], nondiff_argnums: tuple[int, ...]) -> None:
        self.fixed = nondiff_argnums
        self.asked, self.all = (jax.custom_vjp(f, nondiff_argnums=nondiff_argnums) for _ in range(2))

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """`forward` takes arguments that `primals` and `perturbed` read, `backward` cotangents that `instantiate_zeros`
        or `none_if_zero` reads.
        """

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


def primals(primals: Any) -> Any:
    """The arrays of a forward rule's arguments."""
    return jax.tree.map(lambda primal: primal.value, primals, is_leaf=_is_primal)


def perturbed(primals: Any) -> Any:
    """For every array of a forward rule's arguments an empty array that tells whether it is being differentiated."""
    return jax.tree.map(lambda primal: jnp.zeros((int(primal.perturbed), 0)), primals, is_leaf=_is_primal)


def is_perturbed(mark: Array) -> bool:
    """Whether a mark made by `perturbed` says that its array is differentiated."""
    return mark.shape[0] == 1


def instantiate_zeros(cotangents: Any) -> Any:
    """Cotangents as arrays, also those that JAX knows to be zero."""

    def is_zero(t: Any) -> bool:
        return isinstance(t, jax.custom_derivatives.SymbolicZero)

    return jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype) if is_zero(t) else t, cotangents, is_leaf=is_zero)


def none_if_zero(cotangent: Any) -> Any:
    """A cotangent, or None where JAX knows it to be zero."""
    return None if isinstance(cotangent, jax.custom_derivatives.SymbolicZero) else cotangent
