"""The facts about one call of a map, without its numbers: what an algorithm is chosen by."""

from __future__ import annotations

import math
from typing import NamedTuple

from jax import Array

from jaxconv._jax.dtypes import accumulator
from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms.reference import Map
from jaxconv.algorithms.unroll import per_axis
from jaxconv.sizes.geometry import Geometry

LONG = 128  # taps, added up over the axes: a program with a line or more for each compiles for minutes


class Problem(NamedTuple):
    """One call.

    Attributes:
        which: the map.
        geometry: sizes and options.
        channels: of the convolution's input, within one group.
        filters: of the convolution's output, within one group.
        batch: images.
        dtype: of the arrays, by name.
        partitioned: whether the compiler may lay an axis over several devices.
        mapped: of a dw, whether `vmap` maps both factors: one product of many examples, none of which is a group.
    """

    which: Map
    geometry: Geometry
    channels: int
    filters: int
    batch: int = 1
    dtype: str = "float32"
    partitioned: bool = False
    mapped: bool = False

    @classmethod
    def of(cls, which: Map, a: Array, b: Array, geometry: Geometry, mapped: bool = False) -> Problem:
        """Of `which` map's two arrays, with any number of batch axes: (x, w) of y, (g, w) of dx, (x, g) of dw."""
        leading = a.ndim - geometry.axes - 1  # axes of the batch
        channel, kernel_in, kernel_out = (leading, 1, 0) if geometry.channels_first else (-1, -2, -1)
        if which == "conv":
            channels, filters = a.shape[channel], b.shape[kernel_out]
        elif which == "conv_input_vjp":
            channels, filters = b.shape[kernel_in] * geometry.groups, a.shape[channel]
        else:
            channels, filters = a.shape[channel], b.shape[channel]
        per_group = channels // geometry.groups, filters // geometry.groups
        return cls(which, geometry, *per_group, math.prod(a.shape[:leading]), str(a.dtype), partitioned(), mapped)

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the dtype that sums are made in."""
        return accumulator(self.dtype).itemsize

    @property
    def overlap(self) -> bool:
        """Whether two windows may read one position."""
        return any(axis.overlaps for axis in per_axis(self.geometry))

    @property
    def long(self) -> bool:
        """Whether a program with a line for every tap of an axis would compile for minutes."""
        return sum(self.geometry.kernel_size) > LONG

    @property
    def positions(self) -> int:
        """Of an image of the output."""
        return math.prod(self.geometry.output_size)

    @property
    def multiply_adds(self) -> int:
        """b·g·c·f·Πk·Πm"""
        g = self.geometry
        return self.batch * g.groups * self.channels * self.filters * g.taps * self.positions
