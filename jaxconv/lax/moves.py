"""How one of lax's arrays becomes an array of the form, and back: axes put in order, groups moved, space reversed.

The axes of the form's arrays (the groups G stand outside of the letter behind them):

    x (b, G·i, *space)    w (G·o, i, *taps)    g (b, G·o, *space)        channels first
    x (b, *space, G·i)    w (*taps, i, G·o)    g (b, *space, G·o)        channels last
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

AXES = {"x": ("b", "Gi"), "w": ("Go", "i"), "g": ("b", "Go")}


class Move(NamedTuple):
    """From lax's array to the form's: reverse, split the groups off, put the axes in order, merge the groups.

    Attributes:
        shape: of lax's array.
        parts: its shape with the groups as an axis of their own.
        order: of the parts in the form's array.
        merged: the shape of the form's array.
        backwards: the axes of lax's array that are reversed.
    """

    shape: tuple[int, ...]
    parts: tuple[int, ...]
    order: tuple[int, ...]
    merged: tuple[int, ...]
    backwards: tuple[int, ...]

    @property
    def moved(self) -> int:
        """Numbers that change their place, reversing apart."""
        long = [part for part in self.order if self.parts[part] > 1]
        return 0 if long == sorted(long) else math.prod(self.shape)

    def to_form(self, array: Array) -> Array:
        array = lax.rev(array, self.backwards) if self.backwards else array
        return _reshaped(_ordered(_reshaped(array, self.parts), self.order), self.merged)

    def from_form(self, array: Array) -> Array:
        parts = _reshaped(array, tuple(self.parts[part] for part in self.order))
        back = tuple(self.order.index(part) for part in range(len(self.parts)))
        array = _reshaped(_ordered(parts, back), self.shape)
        return lax.rev(array, self.backwards) if self.backwards else array


def move(
    shape: tuple[int, ...],
    spec: tuple[int, ...],
    letters: str,
    groups: int,
    layout: str,
    role: str,
    backwards: bool,
) -> Move:
    """The move of an array of `shape` to the form's array `role`.

    Args:
        spec: its axes: the two of `letters`, then space.
        letters: the form's letters of the first two of `spec`; beside the one in capitals stand lax's groups.
    """
    parts: list[int] = []
    at: dict[Any, int] = {}  # letter, "G" or a spatial axis → part
    names = {spec[0]: letters[0], spec[1]: letters[1], **{axis: i for i, axis in enumerate(spec[2:])}}
    for axis, size in enumerate(shape):
        name = names[axis]
        if groups > 1 and isinstance(name, str) and name.isupper():
            at["G"] = len(parts)
            parts.append(groups)
            size //= groups
        at[name.lower() if isinstance(name, str) else name] = len(parts)
        parts.append(size)
    space = list(range(len(spec) - 2))
    one, two = AXES[role]
    if layout == "channels_first":
        axes: list[Any] = [one, two, *space]
    else:
        axes = [*space, two, one] if role == "w" else [one, *space, two]
    made = [[at[part] for part in (axis if isinstance(axis, str) else [axis]) if part in at] for axis in axes]
    order = [part for axis in made for part in axis]
    merged = [math.prod(parts[part] for part in axis) for axis in made]
    return Move(shape, tuple(parts), tuple(order), tuple(merged), tuple(spec[2:]) if backwards else ())


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.shape == shape else array.reshape(shape)


def _ordered(array: Array, order: tuple[int, ...]) -> Array:
    return array if order == tuple(range(len(order))) else jnp.transpose(array, order)
