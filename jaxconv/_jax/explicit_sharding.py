"""JAX's explicit sharding, where an array's type says how it lies over the devices.

Every operation then has to infer how its result lies, and a loop over blocks or a product of two split axes cannot. So
a function runs with the partitioner left free within (``jax.sharding.auto_axes``), and says how its results lie; the
cotangents lie as their primals do, since JAX differentiates the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv._jax.manual_axes import names_of
from jaxconv.sizes.arguments import wrong_value


def split(array: Any) -> tuple[Any, ...]:
    """For every axis of an array the mesh axes that its type says it is split over, or None."""
    sharding = getattr(jax.typeof(array), "sharding", None)
    spec = tuple(sharding.spec) if isinstance(sharding, NamedSharding) else ()
    return spec + (None,) * (array.ndim - len(spec))


def is_split(*trees: Any) -> bool:
    """Whether any array's type says that it is split: only in explicit mode."""
    return any(each is not None for leaf in jax.tree.leaves(trees) for each in split(leaf))


def num_shards_of(*trees: Any) -> Callable[[Any], int]:
    """A function from an entry of a PartitionSpec to its number of shards, on the mesh of the array that is split."""
    shape = _mesh(trees).shape

    def count(entry: Any) -> int:
        return math.prod(shape[name] for name in names_of(entry) if name is not None)

    return count


def as_primal(cotangent: Any, primal: Any) -> Any:
    """The cotangent, lying as its primal does."""
    if split(cotangent) == split(primal):
        return cotangent
    return jax.sharding.reshard(cotangent, jax.typeof(primal).sharding)


def _mesh(trees: Any) -> Any:
    held = (getattr(jax.typeof(leaf), "sharding", None) for leaf in jax.tree.leaves(trees))
    return next(each.mesh for each in held if isinstance(each, NamedSharding) and any(e is not None for e in each.spec))


def under_auto_axes(f: Callable[..., Any], results: tuple[Any, ...], *trees: Any) -> Any:
    """f(*trees) with the partitioner left free within; its results lie as `results` say: of an array one entry per
    axis, of a list of arrays a list of these.
    """
    mesh = _mesh(trees)

    def lying(result: Any) -> Any:
        return tuple(map(lying, result)) if isinstance(result, list) else NamedSharding(mesh, PartitionSpec(*result))

    shardings = tuple(map(lying, results))
    return jax.sharding.auto_axes(f, out_sharding=shardings)(*trees)


def check_once(function: str, spec: tuple[Any, ...], what: str, advice: str) -> None:
    """Raise where a result would have to be split twice over one mesh axis."""
    flat = [name for each in spec if each is not None for name in names_of(each)]
    twice = sorted({name for name in flat if flat.count(name) > 1})
    if twice:
        rule = f"{what} must not be split over one mesh axis twice: {advice}"
        wrong_value(function, rule, f"the mesh axis {twice[0]!r} in {spec}")
