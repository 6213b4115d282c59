"""The connections of a geometry as integers, for whatever draws or prints them; imports neither jax nor matplotlib.

A connection (p, q, j): output p reads input j through tap q, where j = s·p + d·q − lo on every axis. An input in the
padding counts as one; `inside` tells.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from jaxconv.sizes.arguments import wrong_kind, wrong_value
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.reads import AxisLayer

Position = tuple[int, ...]


class Connection(NamedTuple):
    """Output p reads input j through tap q; each has one number per axis."""

    p: Position
    q: Position
    j: Position


def connections(
    geometry: Geometry, *, p: Position | None = None, q: Position | None = None, j: Position | None = None
) -> list[Connection]:
    """All of a geometry, or those of one output, tap or input; those into the padding too, by output and then by tap.

    >>> [c.j for c in connections(Geometry.of("conv", (3,), (2,), stride=2, padding=1))]
    [(-1,), (0,), (1,), (2,)]
    >>> [c.q for c in connections(Geometry.of("conv", (4,), (3,)), j=(1,))]
    [(1,), (0,)]
    """
    wanted = [[None if at is None else at[axis] for at in (p, q, j)] for axis in range(geometry.axes)]
    per_axis = []
    for m, (_, k, s, (lo, _), d), only in zip(geometry.output_size, geometry.per_axis, wanted, strict=True):
        reads = AxisLayer(False, k, s, lo, d).reads
        found = ((at, tap, read) for at in range(m) for tap, read in enumerate(reads(at)))
        per_axis.append([each for each in found if all(w in (None, has) for w, has in zip(only, each, strict=True))])
    return sorted(Connection(*zip(*axes, strict=True)) for axes in product(*per_axis))


def inside(geometry: Geometry, j: Position) -> bool:
    """Whether input j exists; else it is padding."""
    return all(0 <= at < n for at, n in zip(j, geometry.input_size, strict=True))


def check(function: str, geometry: object, axes: tuple[int, ...] = (1, 2)) -> Geometry:
    """`geometry`, where it is one that can be drawn."""
    if not isinstance(geometry, Geometry):
        wrong_kind(function, "`geometry` must be a Geometry", f"geometry of type {type(geometry).__name__}")
    if geometry.axes not in axes:
        rule = f"`geometry` must have {' or '.join(map(str, axes))} spatial axes to be drawn"
        wrong_value(function, rule, f"{geometry.axes} (kernel_size={geometry.kernel_size})")
    return geometry


def check_position(function: str, name: str, value: int | Position | None, sizes: Position) -> Position | None:
    """`value` as one position per axis, inside `sizes`; None stays None."""
    if value is None:
        return None
    position = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(position) != len(sizes) or not all(0 <= at < size for at, size in zip(position, sizes, strict=True)):
        wrong_value(function, f"`{name}` must be a position inside {sizes}", f"{name}={value!r}")
    return position
