"""The receptive field of every array of a program, carried from the inputs on as long as the program is a chain.

An array has a field where it comes from an input through convolutions, pooling, padding, and operations of each number
with itself: output p of its spatial axes reads the inputs start + p·stride … start + p·stride + size − 1. Paths that
meet are merged. What is broadcast, like a bias or the statistics of a normalisation, counts as a constant; what else
moves numbers about ends the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxconv.lax.read import READINGS, Call, Reading
from jaxconv.sizes.receptive import ReceptiveField, TransposedWindow, Window, merge_receptive_fields, receptive_field


class Seen(NamedTuple):
    """The field of an array, per axis of `space`, its spatial axes; an input has no space yet, and reads itself."""

    field: ReceptiveField
    space: tuple[int, ...] | None = None


INPUT = Seen(receptive_field([]))

# Of the shape of their operand, but they move numbers.
MOVING = ("cum", "sort", "rev", "fft", "scatter", "dynamic", "triangular", "cholesky", "all_", "ppermute", "gather")


def after(equation: Any, seen: Sequence[Seen | None], reading: Reading | str | None, call: Call | None) -> Seen | None:
    """The field of an equation's result, or None."""
    name, params = equation.primitive.name, equation.params
    shapes = [tuple(each.aval.shape) for each in equation.invars]
    shape = tuple(equation.outvars[0].aval.shape)
    try:
        if call is not None:
            return None if seen[0] is None else _convolved(seen[0], reading, call)
        if name.startswith("reduce_window"):
            return _pooled(seen[0], params)
        if name == "transpose" and seen[0] is not None:
            order = params["permutation"]
            return seen[0] if seen[0].space is None else seen[0]._replace(space=_found(order, seen[0].space))
        if name == "pad":
            return _padded(seen[0], params)
        if len(equation.outvars) > 1 or name.startswith(MOVING):
            return None
        if name == "concatenate":
            same = [each for each in seen if each is not None]
            joined = all(each.space is None or params["dimension"] not in each.space for each in same)
            return _merged(same) if joined else None
        return _merged([each for each, of in zip(seen, shapes, strict=True) if each is not None and of == shape])
    except ValueError:  # strides or axes that differ: no chain
        return None


def _convolved(seen: Seen, reading: Reading | str | None, call: Call) -> Seen | None:
    space = call.specs[0][2:]
    if not isinstance(reading, Reading) or (seen.space is not None and set(seen.space) != set(space)):
        return None
    g = reading.geometry
    if reading.roles == READINGS[0]:
        layer: Any = Window(g.kernel_size, g.stride, g.padding, g.dilation)
    elif reading.roles == READINGS[1]:
        layer = TransposedWindow(g.kernel_size, g.stride, g.padding, g.dilation)
    else:
        return None
    return Seen(receptive_field([layer], after=_ordered(seen, space)), call.specs[2][2:])


def _pooled(seen: Seen | None, params: Any) -> Seen | None:
    windows = params.get("window_dimensions")
    if seen is None or windows is None or any(d != 1 for d in params["base_dilation"]):
        return None
    moving = [
        axis for axis, (k, s) in enumerate(zip(windows, params["window_strides"], strict=True)) if (k, s) != (1, 1)
    ]
    space = tuple(moving) if seen.space is None else seen.space
    if not space:
        return seen
    if not set(moving) <= set(space):
        return None
    names = "window_dimensions", "window_strides", "padding", "window_dilation"
    layer = Window(*(tuple(params[name][axis] for axis in space) for name in names))
    return Seen(receptive_field([layer], after=_ordered(seen, space)), space)


def _padded(seen: Seen | None, params: Any) -> Seen | None:
    widths = params["padding_config"]
    if seen is None or any(between for _, _, between in widths):
        return None
    padded = [axis for axis, width in enumerate(widths) if width != (0, 0, 0)]
    space = tuple(padded) if seen.space is None else seen.space
    if not set(padded) <= set(space):
        return None
    layer = Window((1,) * len(space), padding=[widths[axis][:2] for axis in space])
    return Seen(receptive_field([layer], after=_ordered(seen, space)), space) if space else seen


def _merged(seen: list[Seen]) -> Seen | None:
    """Paths that meet. An input that does not fit is a parameter."""
    traced = [each for each in seen if each.space is not None]
    if not traced:
        return seen[0] if seen else None
    if len({each.space for each in traced}) > 1:
        return None
    fields = [each.field for each in traced]
    if len(traced) < len(seen):
        try:
            return Seen(merge_receptive_fields(*fields, INPUT.field), traced[0].space)
        except ValueError:
            pass
    return Seen(merge_receptive_fields(*fields), traced[0].space)


def _ordered(seen: Seen, space: Sequence[int]) -> ReceptiveField:
    """The field with its axes in the order of `space`."""
    if seen.space is None or tuple(seen.space) == tuple(space):
        return seen.field
    raise ValueError("spatial axes in another order")


def _found(order: Sequence[int], space: Sequence[int]) -> tuple[int, ...]:
    """Where a transposition puts the axes of `space`."""
    return tuple(list(order).index(axis) for axis in space)
