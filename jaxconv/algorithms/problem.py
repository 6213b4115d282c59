"""The static facts about one call of a map, under the names that the table of `choose` asks by."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxconv.algorithms.gemm import POSITIONS
from jaxconv.algorithms.reference import Map
from jaxconv.algorithms.unroll import per_axis
from jaxconv.sizes.geometry import Geometry

HANDFUL = 512  # numbers of an array
WORTH = 1 << 17  # products of two numbers
SMALL = 2048  # pixels of an image, for a strided dx of few channels
LEFT_CACHE = 3 << 20  # outputs of a batch, 12 MB of float32
LEFT_CACHE_FEW = 7 << 19  # of up to 16 images, 14 MB


class Problem(NamedTuple):
    """The static facts about one call that a row may ask for."""

    which: Map
    geometry: Geometry
    channels: int  # of the convolution's input, within one group
    filters: int  # of the convolution's output, within one group
    batch: int = 1
    double: bool = False  # whether a real number has 64 bits
    mapped: bool = False  # whether `vmap` maps both factors of a dw
    half: bool = False  # whether a real number has 16 bits

    @classmethod
    def of(cls, which: Map, a: Array, b: Array, geometry: Geometry, mapped: bool = False) -> Problem:
        """Of `which` map's two arrays: (x, w) of y, (g, w) of dx, (x, g) of dw."""
        first, kernel_in, kernel_out = (1, 1, 0) if geometry.channels_first else (-1, -2, -1)
        if which == "conv":
            channels, filters = a.shape[first], b.shape[kernel_out]
        elif which == "conv_input_vjp":
            channels, filters = b.shape[kernel_in] * geometry.groups, a.shape[first]
        else:
            channels, filters = a.shape[first], b.shape[first]
        bits = jnp.finfo(a.dtype).bits
        per_group = channels // geometry.groups, filters // geometry.groups
        return cls(which, geometry, *per_group, a.shape[0], bits == 64, mapped, bits == 16)

    @property
    def bits(self) -> int:
        """Of a real number."""
        return 64 if self.double else 16 if self.half else 32

    @property
    def long(self) -> bool:
        """Whether a program with a line for every tap of an axis would compile for minutes."""
        return sum(self.geometry.kernel_size) > 128

    @property
    def y(self) -> bool:
        return self.which == "conv"

    @property
    def dx(self) -> bool:
        return self.which == "conv_input_vjp"

    @property
    def dw(self) -> bool:
        return self.which == "conv_weight_vjp"

    @property
    def last(self) -> bool:
        return not self.geometry.channels_first

    @property
    def strided(self) -> bool:
        return max(self.geometry.stride) > 1

    @property
    def dilated(self) -> bool:
        return max(self.geometry.dilation) > 1

    @property
    def pointwise(self) -> bool:
        return self.geometry.taps == 1

    @property
    def overlap(self) -> bool:
        return any(axis.overlaps for axis in per_axis(self.geometry))

    @property
    def reduced_channels(self) -> int:
        """Channels that y and dx sum over."""
        return self.filters if self.dx else self.channels

    @property
    def out_channels(self) -> int:
        """Channels that y and dx have."""
        return self.channels if self.dx else self.filters

    @property
    def reduction_size(self) -> int:
        """Of one sum, of y or dx."""
        return self.geometry.taps * self.reduced_channels

    @property
    def one_core(self) -> bool:
        """Whether lax's product of y or dx, before it was tuned, ran on one core: long sums of about 64 channels."""
        return self.reduction_size >= 1024 and 48 < self.out_channels <= 64

    @property
    def few_channels(self) -> bool:
        return self.channels < 16

    @property
    def few_per_tap(self) -> bool:
        """Between so few channels and filters, on one or two axes, that lax's product is mostly padding."""
        most = 48 if self.last else 64  # numbers of a tap
        short = self.geometry.axes == 2 or self.geometry.taps <= 10
        return short and max(self.channels, self.filters) <= 16 and self.channels * self.filters <= most

    @property
    def kernel_longer(self) -> bool:
        """Whether the kernel of lax's convolution, g where it makes dw, is longer than what it slides over."""
        n, k, m = self.geometry.input_size, self.geometry.kernel_size, self.geometry.output_size
        kernel, over = (m, n) if self.dw else (k, m) if self.dx else (k, n)
        return any(a > b for a, b in zip(kernel, over, strict=True))

    @property
    def pixels(self) -> int:
        """Of an image of the convolution's input."""
        return math.prod(self.geometry.input_size)

    @property
    def positions(self) -> int:
        """Of an image of the convolution's output."""
        return math.prod(self.geometry.output_size)

    @property
    def outweighs_steps(self) -> bool:
        """Whether the arithmetic takes longer than what a form of several steps begins and ends with."""
        numbers = self.channels * self.filters * self.geometry.taps
        return numbers * self.batch * self.positions >= WORTH

    @property
    def handful(self) -> bool:
        """Input and output of so few numbers that the call takes longer than its arithmetic."""
        numbers = self.batch * max(self.channels * self.pixels, self.filters * self.positions)
        return numbers < HANDFUL and not self.double

    @property
    def small(self) -> bool:
        """Images of few pixels and channels, but a thousand numbers: for fewer lax's single call is best."""
        return self.few_channels and self.pixels < SMALL and self.batch * self.channels * self.pixels >= 1024

    @property
    def single_patches(self) -> bool:
        """One channel has one layout, so that gemm moves nothing either, and folds rows of no whole vectors faster."""
        return self.channels == 1 and not self.overlap and self.geometry.kernel_size[-1] % 4 > 0

    @property
    def narrow(self) -> bool:
        """A 1x1 of images between so few channels that lax's one loop beats a product."""
        plain = self.pointwise and self.geometry.axes <= 2 and not (self.strided or self.double)
        return plain and self.few_channels and self.filters <= (16 if self.channels > 8 else 4)

    @property
    def large(self) -> bool:
        return self.positions >= POSITIONS

    @property
    def many_channels(self) -> bool:
        return min(self.channels, self.filters) >= 64

    @property
    def left_cache(self) -> bool:
        """Whether lax's own dw works on more than a cache holds."""
        outputs = self.batch * self.filters * self.positions
        return outputs > (LEFT_CACHE if self.batch > 16 else LEFT_CACHE_FEW)
