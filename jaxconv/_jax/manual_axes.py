"""Inside ``jax.shard_map`` an array's type says over which mesh axes it varies, and a gradient has its input's type.

So the factors of a product are made to vary alike before a hand-written rule sees them. The derivative of that is a sum
over the shards, which JAX makes: a replicated kernel's gradient becomes one all-reduce.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import Array, lax

from jaxconv.sizes.arguments import wrong_kind, wrong_value


def axes_of(array: Any) -> frozenset:
    """The mesh axes that an array varies over; none outside ``jax.shard_map``, and none with check_vma=False."""
    held = jax.typeof(array)
    kind = getattr(held, "manual_axis_type", held)  # both JAX 0.10 and 0.12; the attribute itself is not documented
    axes: frozenset = getattr(kind, "varying", None) or getattr(kind, "vma", None) or frozenset()
    return axes


def partitioned() -> bool:
    """Whether the compiler may lay an axis over several devices: not where there is one, nor where every mesh axis is
    bound by ``jax.shard_map``.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return jax.device_count() > 1 and (mesh.empty or len(mesh.manual_axes) < len(mesh.axis_names))


def pcast_to(array: Array, axes: frozenset) -> Array:
    """`array`, which from here on varies over `axes` too."""
    missing = tuple(sorted(axes - axes_of(array), key=str))
    return lax.pcast(array, missing, to="varying") if missing else array


def match_vma(*trees: Any) -> tuple[Any, ...]:
    """The trees, every array of which varies over the axes that any of them varies over."""
    axes = frozenset().union(*map(axes_of, jax.tree.leaves(trees)))
    return trees if not axes else jax.tree.map(lambda each: pcast_to(each, axes), trees)


def names_of(axis_name: Any) -> tuple[Any, ...]:
    """The mesh axes of one array axis, which may be split over several: a name, or a tuple of names."""
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def num_shards(function: str, axis_name: Any) -> int:
    """How many shards there are along `axis_name`, a mesh axis of the surrounding ``jax.shard_map``."""
    rule = "`axis_name` must be a mesh axis of the surrounding jax.shard_map, or a tuple of them"
    if not all(isinstance(name, str) for name in names_of(axis_name)):
        wrong_kind(function, rule, f"axis_name={axis_name!r}")
    try:
        return int(lax.axis_size(axis_name))
    except NameError:
        wrong_value(function, rule, f"axis_name={axis_name!r}, which is bound to none")
