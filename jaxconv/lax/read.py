"""Reading a `lax.conv_general_dilated` back as one of the three maps, or saying why it is none.

Per spatial axis lax's call, with lhs_dilation λ, window stride σ, rhs_dilation δ and padding lo, is the sum

    out[j] = Σ_q rhs[q] · lhs[p]      over all p, q with   λ·p = σ·j + δ·q − lo

and the trilinear form relates its three indices by i = s·p + d·q − lo, where i runs over x, p over g and q over w. So
the array whose index has the coefficient 1 on every axis may be x, and the two others are g and w, in either order:
six readings at most. Where a sign is wrong, an array runs backwards:

    x is lhs:  i = σ·j + δ·q − lo                                        (λ = 1)
    x is out:  j = λ·p + δ·q' − (δ(k − 1) − lo),   q' = k − 1 − q        (σ = 1, rhs runs backwards)
    x is rhs:  q = λ·p + σ·j' − (σ(m − 1) − lo),   j' = m − 1 − j        (δ = 1, out runs backwards)

The map is the one that makes what out is: g `conv`, x `conv_input_vjp`, w `conv_weight_vjp`. Any two of the arrays
share one of the letters batch, input and output channels, in lax as in the form, which says how the other two axes lie.
lax's groups stand beside one letter in each array, the form's perhaps beside the other: then they are moved.

Of several readings the one serves that (1) takes at most twice the multiply-adds of the least, (2) moves the fewest
numbers, (3) has the smallest kernel, (4) stands first in `READINGS`. So a forward convolution is `conv`, JAX's
gradients in x are `conv_input_vjp` and those in w, whose kernel is a large array, `conv_weight_vjp`.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxconv.algorithms.reference import Map
from jaxconv.lax.moves import Move, move
from jaxconv.sizes.arithmetic import Layout
from jaxconv.sizes.geometry import Geometry

Name = Literal["lhs", "rhs", "out"]

READINGS: tuple[tuple[Name, Name, Name], ...] = (  # which of lax's arrays are x, w and g
    ("lhs", "rhs", "out"),
    ("out", "rhs", "lhs"),
    ("lhs", "out", "rhs"),
    ("rhs", "out", "lhs"),
    ("out", "lhs", "rhs"),
    ("rhs", "lhs", "out"),
)
MAPS: dict[str, Map] = {"x": "conv_input_vjp", "w": "conv_weight_vjp", "g": "conv"}
FACTORS = {"conv": ("x", "w"), "conv_input_vjp": ("g", "w"), "conv_weight_vjp": ("x", "g")}
MOST_WORK = 4  # times the multiply-adds of lax's own call, at most


class Call(NamedTuple):
    """What is static about a `lax.conv_general_dilated`: its shapes and parameters, all integers."""

    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    window_strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    specs: tuple[tuple[int, ...], ...]  # of lhs (batch, features, *space), rhs (out, in, *space), out
    feature_group_count: int = 1
    batch_group_count: int = 1

    @classmethod
    def of(cls, lhs_shape: Any, rhs_shape: Any, out_shape: Any, how: dict[str, Any]) -> Call:
        """Of the shapes and the primitive's parameters."""
        return cls(
            tuple(lhs_shape),
            tuple(rhs_shape),
            tuple(out_shape),
            tuple(how["window_strides"]),
            tuple((_plain(lo), _plain(hi)) for lo, hi in how["padding"]),
            tuple(how["lhs_dilation"]),
            tuple(how["rhs_dilation"]),
            tuple(map(tuple, how["dimension_numbers"])),
            how["feature_group_count"],
            how["batch_group_count"],
        )

    @property
    def groups(self) -> int:
        return max(self.feature_group_count, self.batch_group_count)

    @property
    def shapes(self) -> dict[Name, tuple[int, ...]]:
        return {"lhs": self.lhs_shape, "rhs": self.rhs_shape, "out": self.out_shape}

    @property
    def space(self) -> dict[Name, tuple[int, ...]]:
        """The spatial sizes of each array, in the order of the parameters."""
        pairs = zip(self.shapes.items(), self.specs, strict=True)
        return {name: tuple(shape[axis] for axis in spec[2:]) for (name, shape), spec in pairs}

    @property
    def coefficients(self) -> dict[Name, tuple[int, ...]]:
        """λ, δ and σ per axis; of an axis of one position, where it says nothing, 1."""
        how = {"lhs": self.lhs_dilation, "rhs": self.rhs_dilation, "out": self.window_strides}
        return {
            name: tuple(c if n > 1 else 1 for c, n in zip(how[name], self.space[name], strict=True))
            for name in self.shapes
        }


class Reading(NamedTuple):
    """A call as one of the maps: `first` and `second` make its two arrays, `result` is undone on what it makes."""

    which: Map
    geometry: Geometry
    roles: tuple[Name, Name, Name]
    first: Move
    second: Move
    result: Move

    @property
    def factors(self) -> tuple[Name, ...]:
        """Which of lax's arrays is the map's first, and which its second."""
        names = dict(zip("xwg", self.roles, strict=True))
        return tuple(names[each] for each in FACTORS[self.which])


def read(call: Call) -> Reading | str:
    """The reading that serves, or why there is none."""
    if reason := _unreadable(call):
        return reason
    readable = [roles for roles in READINGS if set(call.coefficients[roles[0]]) == {1}]
    if not readable:
        return "lhs_dilation, rhs_dilation and window_strides all exceed 1: no array can be x"
    least = min(_work(call, roles) for roles in readable)
    if least > MOST_WORK * _work(call, READINGS[0]):
        return f"window_strides and lhs_dilation both exceed 1: a map would take {MOST_WORK} times the multiply-adds"
    last = call.specs[0][1] == len(call.lhs_shape) - 1
    layouts: tuple[Layout, ...] = ("channels_last", "channels_first")
    layouts = layouts if last else layouts[::-1]
    few = [roles for roles in readable if _work(call, roles) <= 2 * least]
    return min((_reading(call, roles, layout) for roles, layout in product(few, layouts)), key=lambda r: _cost(call, r))


def _plain(width: Any) -> Any:
    """NumPy's integers as Python's; a symbolic one as it is."""
    return int(width) if isinstance(width, np.integer) else width


def _unreadable(call: Call) -> str | None:
    sizes = (*call.lhs_shape, *call.rhs_shape, *call.out_shape, *(width for pair in call.padding for width in pair))
    axes = len(call.lhs_shape) - 2
    if axes == 0:
        return "no spatial axis: a matrix product"
    if any(len(each) != axes for each in (call.window_strides, call.padding, call.lhs_dilation, call.rhs_dilation)):
        return "parameters of another number of axes"  # which JAX refuses later on
    if not all(isinstance(size, int) for size in sizes):
        return "a symbolic size"
    if 0 in (*call.lhs_shape, *call.rhs_shape, *call.out_shape):
        return "an array without numbers"
    return None


def _work(call: Call, roles: tuple[Name, Name, Name]) -> int:
    """Taps times positions: the multiply-adds of one pair of channels."""
    return math.prod(call.space[roles[1]]) * math.prod(call.space[roles[2]])


def _cost(call: Call, reading: Reading) -> tuple[int, int, int]:
    moved = sum(each.moved for each in (reading.first, reading.second, reading.result))
    return moved, reading.geometry.taps, READINGS.index(reading.roles)


def _reading(call: Call, roles: tuple[Name, Name, Name], layout: Layout) -> Reading:
    x = roles[0]
    which = MAPS["xwg"[roles.index("out")]]
    geometry = _geometry(call, roles, layout)
    backwards = {"lhs": None, "out": "rhs", "rhs": "out"}[x]
    moves = {
        name: move(call.shapes[name], spec, letters, call.groups, layout, role, name == backwards)
        for name, spec, letters, role in _axes(call, roles)
    }
    names: dict[str, Name] = dict(zip("xwg", roles, strict=True))
    a, b = FACTORS[which]
    return Reading(which, geometry, roles, moves[names[a]], moves[names[b]], moves["out"])


def _axes(call: Call, roles: tuple[Name, Name, Name]) -> list[tuple[Name, tuple[int, ...], str, str]]:
    """Of each of lax's arrays: name, spec, and the form's letters of its two axes, the one with lax's groups in
    capitals; and the role.

    lhs and out share lax's batch, lhs and rhs its input channels, rhs and out its output channels; x and g share the
    form's b, x and w its i, w and g its o.
    """
    role = dict(zip(roles, "xwg", strict=True))
    pairs: tuple[tuple[Name, Name], ...] = (("lhs", "out"), ("lhs", "rhs"), ("rhs", "out"))
    shared = {frozenset("xg"): "b", frozenset("xw"): "i", frozenset("wg"): "o"}
    batch, channels, filters = (shared[frozenset((role[a], role[b]))] for a, b in pairs)
    lhs = batch.upper() + channels if call.batch_group_count > 1 else batch + channels.upper()
    letters: dict[Name, str] = {"lhs": lhs, "rhs": filters.upper() + channels, "out": batch + filters.upper()}
    return [(name, spec, letters[name], role[name]) for name, spec in zip(call.shapes, call.specs, strict=True)]


def _geometry(call: Call, roles: tuple[Name, Name, Name], layout: Layout) -> Geometry:
    x = roles[0]
    n, k, m = (call.space[name] for name in roles)
    _, d, s = (call.coefficients[name] for name in roles)
    padding = []
    for axis, (lo, hi) in enumerate(call.padding):
        if x == "out":
            lo = call.coefficients["rhs"][axis] * (call.space["rhs"][axis] - 1) - lo
        elif x == "rhs":
            lo = call.coefficients["out"][axis] * (call.space["out"][axis] - 1) - lo
        least = s[axis] * (m[axis] - 1) + d[axis] * (k[axis] - 1) + 1 - n[axis] - lo
        asked = hi if roles == READINGS[0] else 0
        padding.append((lo, min(max(least, asked), least + s[axis] - 1)))  # each makes m outputs
    return Geometry(n, k, s, tuple(padding), d, call.groups, layout)
