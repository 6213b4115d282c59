"""A mapped axis of the three maps becomes batch, channels or groups, so that `vmap` never loops over examples.

    x[b, i, …]    w[o, i, …]    g[b, o, …]        any two of them share one letter, and make the third

Let v be the axis that `vmap` maps. Where one factor has it, v joins the letter that this factor does not share with the
other one, and is found there in the result:

    conv             x mapped: (v b)    w mapped: (v o)
    conv_input_vjp   g mapped: (v b)    w mapped: (v i)
    conv_weight_vjp  x mapped: (v i)    g mapped: (v o)

so that the other factor is read once for all examples. Where both have it, v joins the groups: V examples with G groups
are one convolution with V·G groups. Gradients example by example, ``vmap(grad)``, are conv_weight_vjp with both mapped.

The channels of a group are contiguous: v stands between group and channel, (G v c), where it joins channels, and before
the group, (v G c), where it joins groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

MAPS = {"conv": "xwg", "conv_input_vjp": "gwx", "conv_weight_vjp": "xgw"}  # two factors, and what they make
LETTERS = {"x": "bi", "w": "oi", "g": "bo"}


def folded(
    product: Callable[[Any, Array, Array, Geometry], Array],
    which: Any,
    factors: Sequence[Array],
    mapped: Sequence[bool],
    geometry: Geometry,
) -> Array:
    """The map of factors of which at least one is `mapped`, on its axis 0, and so is the result."""
    *names, made = tuple(MAPS[which])
    size = next(factor.shape[0] for factor, is_mapped in zip(factors, mapped, strict=True) if is_mapped)
    if not is_symbolic(size) and size == 0:  # `vmap` maps over nothing; a symbolic number of examples is some
        return empty(lambda a, b: product(which, a, b, geometry), factors, mapped)
    if all(mapped):
        a, b = (_join(factor, *_place(name, "G", geometry)) for name, factor in zip(names, factors, strict=True))
        result = product(which, a, b, replace(geometry, groups=size * geometry.groups))
        return _part(result, size, *_place(made, "G", geometry))
    here, there = (0, 1) if mapped[0] else (1, 0)
    (letter,) = set(LETTERS[names[here]]) - set(LETTERS[names[there]])
    joined = list(factors)
    joined[here] = _join(factors[here], *_place(names[here], letter, geometry))
    return _part(product(which, joined[0], joined[1], geometry), size, *_place(made, letter, geometry))


def empty(f: Callable[..., Any], factors: Sequence[Array], mapped: Sequence[bool]) -> Array:
    """The result of f over no examples: of the shape and dtype that one would have, (0, …)."""
    parts = zip(factors, mapped, strict=True)
    one = [jax.ShapeDtypeStruct(f.shape[1:] if is_mapped else f.shape, f.dtype) for f, is_mapped in parts]
    made = jax.eval_shape(f, *one)
    axes = frozenset().union(*map(axes_of, factors))
    return pcast_to(jnp.zeros((0, *made.shape), made.dtype), axes)


def spec(
    which: Any, a: Sequence[Any], b: Sequence[Any], geometry: Geometry, num_shards: Callable[[Any], int]
) -> tuple[Any, ...]:
    """How the result of a map lies over a mesh in explicit mode: each letter as in the factor that has it.

    Space lies as that of the image it comes from where the `num_shards` it is split divide it; taps are never split.
    """
    *names, made = tuple(MAPS[which])
    lies: dict[str, Any] = {}
    for name, factor in zip(names, (a, b), strict=True):
        for letter in LETTERS[name]:
            lies[letter] = lies.get(letter) or factor[_place(name, letter, geometry)[0]]
    result: list[Any] = [None] * (geometry.axes + 2)
    for letter in LETTERS[made]:
        result[_place(made, letter, geometry)[0]] = lies[letter]
    if made != "w":
        image = a if names[0] != "w" else b
        sizes = geometry.output_size if made == "g" else geometry.input_size
        first = 2 if geometry.channels_first else 1
        for axis, size in enumerate(sizes, first):
            result[axis] = image[axis] if size % num_shards(image[axis]) == 0 else None
    if geometry.groups > 1:  # channels of a group are not those of the whole
        at = _place(made, "i", geometry)[0]
        if made == "x":
            result[at] = lies["o"]
        elif made == "w":
            result[at] = None
    return tuple(result)


def _place(name: str, letter: str, geometry: Geometry) -> tuple[int, int]:
    """The axis of an array on which a letter, or the groups G, stand, and the groups that are outside of v there."""
    axes, first = geometry.axes, geometry.channels_first
    if name == "w":
        out, per_group = (0, 1) if first else (axes + 1, axes)
        return (per_group, 1) if letter == "i" else (out, geometry.groups if letter == "o" else 1)
    if letter == "b":
        return 0, 1
    return 1 if first else axes + 1, 1 if letter == "G" else geometry.groups


def _join(array: Array, axis: int, outer: int) -> Array:
    """(v, …, outer·c, …) → (…, outer·v·c, …)"""
    shape = array.shape[1:]
    parts = array.reshape(array.shape[0], *shape[:axis], outer, shape[axis] // outer, *shape[axis + 1 :])
    return jnp.moveaxis(parts, 0, axis + 1).reshape(*shape[:axis], array.shape[0] * shape[axis], *shape[axis + 1 :])


def _part(array: Array, size: int, axis: int, outer: int) -> Array:
    """(…, outer·v·c, …) → (v, …, outer·c, …)"""
    shape = array.shape
    inner = shape[axis] // (outer * size)
    parts = array.reshape(*shape[:axis], outer, size, inner, *shape[axis + 1 :])
    return jnp.moveaxis(parts, axis + 1, 0).reshape(size, *shape[:axis], outer * inner, *shape[axis + 1 :])


# ------------------------------------------------------------------------------------ batch axes of one call


def fold_batch(x: Array, axes: int) -> tuple[tuple[int, ...], Array]:
    """The batch axes, and x with all of them made one."""
    batch = x.shape[: x.ndim - axes - 1]
    return batch, x if len(batch) == 1 else x.reshape(math.prod(batch), *x.shape[len(batch) :])


def unfold_batch(y: Array, batch: tuple[int, ...]) -> Array:
    return y if len(batch) == 1 else y.reshape(*batch, *y.shape[1:])
