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
from jaxconv.sizes.arithmetic import Layout
from jaxconv.sizes.geometry import Geometry

if TYPE_CHECKING:
    from jaxconv.algorithms.problem import Problem

MOST_SLICES = 32  # that `space_to_depth` stacks: each is a line of the program

MapFunction = Callable[..., Array]  # of a, b, geometry and precision


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


def in_layout(layout: Layout) -> Callable[[MapFunction], MapFunction]:
    """One of the three maps, written for this layout alone, for arrays and a kernel of either; its name says which."""

    def decorate(f: MapFunction) -> MapFunction:
        of_kernel = f.__name__.endswith("conv_weight_vjp")

        @functools.wraps(f)
        def of_either(a: Array, b: Array, geometry: Geometry, precision: Precision = None) -> Array:
            came, inner = geometry.layout, replace(geometry, layout=layout)
            made = f(_moved(a, came, layout), _moved(b, came, layout, not of_kernel), inner, precision)
            return _moved(made, layout, came, of_kernel)

        return of_either

    return decorate


def _moved(a: Array, came: Layout, layout: Layout, kernel: bool = False) -> Array:
    """An array, or a kernel, that came in one layout, in the other."""
    if came == layout:
        return a
    first, last = ((0, 1), (-1, -2)) if kernel else ((1,), (-1,))
    return jnp.moveaxis(a, first, last) if layout == "channels_last" else jnp.moveaxis(a, last, first)


def space_to_depth(x: Array, sizes: Sequence[int]) -> Array:
    """(batch, *(count · size), channels) → (batch, *counts, *sizes, channels)

    A run of numbers that stay together is moved as one. The compiler unrolls a short one number by number, up to five
    times slower, unless it is made of vectors or is a slice.
    """
    axes, channels = len(sizes), x.shape[-1]
    counts = [n // size for n, size in zip(x.shape[1:], sizes, strict=False)]
    pairs = [each for pair in zip(counts, sizes, strict=True) for each in pair]
    run = sizes[-1] * channels
    vector = run & -run  # the largest power of two that divides it
    if vector >= 4 or math.prod(sizes[:-1]) > MOST_SLICES:
        vectors = x.reshape(len(x), *pairs[:-1], run // vector, vector)
        parts = vectors.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), -1)
    else:
        slices = [x.reshape(len(x), *pairs[:-1], run)]
        for axis in reversed(range(2, 2 * axes, 2)):
            slices = [lax.index_in_dim(each, q, axis, False) for q in range(pairs[axis - 1]) for each in slices]
        parts = jnp.stack(slices, -2)
    return parts.reshape(len(x), *counts, *sizes, channels)


def depth_to_space(parts: Array, axes: int) -> Array:
    """(batch, *counts, *sizes, channels) → (batch, *(count · size), channels)"""
    counts, sizes, channels = parts.shape[1 : axes + 1], parts.shape[axes + 1 : -1], parts.shape[-1]
    runs = parts.reshape(len(parts), *counts, *sizes[:-1], sizes[-1] * channels)
    x = runs.transpose(0, *(each for axis in range(1, axes + 1) for each in (axis, axes + axis)))
    return x.reshape(len(x), *(n * size for n, size in zip(counts, sizes, strict=True)), channels)
