"""The layout that an algorithm computes in, and the rules that several algorithms keep.

channels_first: arrays (batch, channels, *space), kernels (out, in/groups, *taps); channels_last: (batch, *space,
channels), (*taps, in/groups, out). `space_to_depth` and `depth_to_space` move positions alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import Precision, accumulator
from jaxconv._jax.manual_axes import axes_of, pcast_to
from jaxconv._jax.row_major import row_major, transposed
from jaxconv.sizes.arithmetic import Layout
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

MapFunction = Callable[..., Array]  # of a, b, geometry and precision
# Of what is laid out of one position: of more, dw takes 0.3 to 0.96 of the time group by group, y and dx 0.2 to 1.24.
POSITION_BYTES = 1 << 15


def first_broken(*rules: tuple[bool, str]) -> str | None:
    """Why an algorithm cannot serve: the reason of the first rule that is broken."""
    return next((reason for broken, reason in rules if broken), None)


def too_long(problem: Problem) -> str | None:
    """Of an algorithm that writes down every tap of an axis, unless windows do not overlap."""
    taps = f"a kernel of so many taps would compile for minutes; got kernel_size={problem.geometry.kernel_size}"
    return taps if problem.long and problem.overlap else None


def to_accumulator(x: Array) -> Array:
    """x in the dtype that sums of it are made in."""
    return x.astype(accumulator(x.dtype))


def zeros(shape: Sequence[int], like: Array) -> Array:
    """What a loop's sums begin with; inside `jax.shard_map` it varies over the axes that the sums will vary over."""
    return pcast_to(jnp.zeros(shape, accumulator(like.dtype)), axes_of(like))


def in_layout(layout: Layout, at_once: bool = False) -> Callable[[MapFunction], MapFunction]:
    """One of the three maps, written for this layout alone, for arrays and a kernel of either; its name says which.

    `at_once`: arrays are moved before they are read, but those of a 1x1, whose product reads them in any order.
    """

    def decorate(f: MapFunction) -> MapFunction:
        of_kernel = f.__name__.endswith("conv_weight_vjp")

        @functools.wraps(f)
        def of_either(a: Array, b: Array, geometry: Geometry, precision: Precision = None) -> Array:
            came = geometry.layout
            if came == layout:
                return f(a, b, geometry, precision)
            of_arrays = transposed if at_once and geometry.taps > 1 else lax.transpose
            of_b, of_made = (of_arrays, lax.transpose) if of_kernel else (lax.transpose, of_arrays)
            a, b = of_arrays(a, _order(a.ndim, layout)), of_b(b, _order(b.ndim, layout, not of_kernel))
            made = f(a, b, replace(geometry, layout=layout), precision)
            return of_made(made, _order(made.ndim, came, of_kernel))

        return of_either

    return decorate


def group_by_group(f: MapFunction) -> MapFunction:
    """One of the three maps with channels first, each group of a sequence a step of a loop where its taps are many.

    What is laid out of one position, all channels' taps, is then so much that a piece has few positions, and its
    products few columns.
    """
    which = f.__name__.removeprefix("_")

    def groups(a: Array, count: int) -> Array:
        return jnp.moveaxis(a.reshape(len(a), count, -1, *a.shape[2:]), 1, 0)

    @functools.wraps(f)
    def of_every(a: Array, b: Array, geometry: Geometry, precision: Precision = None) -> Array:
        G = geometry.groups
        channels = b.shape[1] * G if which == "conv_input_vjp" else a.shape[1]
        nbytes = geometry.taps * channels * accumulator(a.dtype).itemsize
        if G == 1 or geometry.axes > 1 or nbytes <= POSITION_BYTES:
            return f(a, b, geometry, precision)
        of_b = groups(b, G) if which == "conv_weight_vjp" else b.reshape(G, -1, *b.shape[1:])
        one = replace(geometry, groups=1)
        made = lax.map(lambda pair: f(*pair, one, precision), (groups(a, G), of_b))
        if which == "conv_weight_vjp":  # (groups, out/groups, in/groups, *taps)
            return made.reshape(-1, *made.shape[2:])
        made = jnp.moveaxis(made, 0, 1)
        return made.reshape(len(made), -1, *made.shape[3:])

    return of_every


def _order(ndim: int, layout: Layout, kernel: bool = False) -> Sequence[int]:
    """Of the axes of an array, or a kernel, that came in the other layout, in this one."""
    if layout == "channels_last":
        return (*range(2, ndim), 1, 0) if kernel else (0, *range(2, ndim), 1)
    return (ndim - 1, ndim - 2, *range(ndim - 2)) if kernel else (0, ndim - 1, *range(1, ndim - 1))


def space_to_depth(x: Array, sizes: Sequence[int], taps: Sequence[int]) -> Array:
    """(batch, *(count · size), channels) → (batch, *counts, *taps, channels): of every block its first positions."""
    axes, batch, channels = len(sizes), len(x), x.shape[-1]
    counts = [n // size for n, size in zip(x.shape[1:], sizes, strict=False)]
    blocks = x.reshape(batch, *(each for pair in zip(counts, sizes, strict=True) for each in pair), channels)
    read = [batch, *(each for pair in zip(counts, taps, strict=True) for each in pair), channels]
    blocks = lax.slice(blocks, [0] * len(read), read)
    runs = blocks.reshape(*read[:-2], taps[-1] * channels)  # which are moved as one
    parts = runs.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes, 2), -1)
    parts = row_major(parts) if math.prod(taps[:-1]) > 1 else parts
    return parts.reshape(batch, *counts, *taps, channels)


def depth_to_space(parts: Array, axes: int) -> Array:
    """(batch, *counts, *sizes, channels) → (batch, *(count · size), channels)"""
    counts, sizes, channels = parts.shape[1 : axes + 1], parts.shape[axes + 1 : -1], parts.shape[-1]
    runs = parts.reshape(len(parts), *counts, *sizes[:-1], sizes[-1] * channels)
    x = runs.transpose(0, *(each for axis in range(1, axes + 1) for each in (axis, axes + axis)))
    return x.reshape(len(x), *(n * size for n, size in zip(counts, sizes, strict=True)), channels)
