"""Conditions of the rows of `choose`: which calls an algorithm is faster for, as far as it was measured.

They ask for the facts of a call (`problem`) alone. Constants are counts of numbers, bytes or taps, as each says.
"""

from __future__ import annotations

import math

import jax

from jaxconv.algorithms import planes
from jaxconv.algorithms.problem import SMALL, Problem
from jaxconv.sizes.geometry import Geometry

LONG = 128  # taps, added up over the axes
LONG_CHANNELS = 8  # of a group: between more of them lax is faster than sums
TAPS_BYTES = 1 << 26  # that `taps` lays out of one image, where lax has left the cache, too
PLANES_OUTPUTS = 1 << 15  # of a batch, for dw
PLANES_TERMS = 128  # that dx folds, of few channels
PLANES_POSITIONS = 1 << 12  # of a batch, for few channels
# Since 0.11 lax's own convolution of images reaches its tuned product with channels first, too.
TUNED = jax.__version_info__ >= (0, 11)


def long(call: Problem) -> bool:
    """Whether a form that writes down every tap of an axis would be a program of too many lines."""
    return sum(call.geometry.kernel_size) > LONG


def in_loops(call: Problem) -> bool:
    """Which long kernels are gone through in loops: between few channels; windows that do not overlap are a reshape."""
    if call.geometry.groups == 1:
        return call.overlap and call.channels == call.filters == 1 and not call.dw
    if call.dw:
        return not call.overlap or call.channels == 1 or max(call.channels, call.filters) <= LONG_CHANNELS
    return not call.overlap or (call.dx and call.strided) or call.reduced_channels <= LONG_CHANNELS


def as_shifts(call: Problem) -> bool:
    """Whether y or dx adds up so few terms that a product would cost more."""
    if call.dx and call.strided and not as_sums_by_remainder(call):
        return False
    return call.reduced_channels == 1 or call.reduction_size <= (160 if call.last else 106)


def as_sums_by_remainder(call: Problem) -> bool:
    """Whether a strided dx is a sum for every remainder by the strides; JAX 0.10 puts them together more slowly."""
    remainders = math.prod(call.geometry.stride)
    if call.geometry.axes == 1 or remainders > 16:
        return False
    if TUNED or call.last:
        return True
    if call.half:  # gemm takes three times as long as in float32, but for large windows that do not overlap
        return call.overlap or call.geometry.taps <= 4
    return call.overlap and call.reduction_size >= 18 and remainders <= 9


def as_planes(call: Problem) -> bool:
    """Whether three axes are large enough for the tuned product of two, and small enough to fit."""
    geometry = call.geometry
    if call.pointwise and (call.dw or (call.dx and call.channels < 64)):
        return False  # one product of arrays as they lie
    by_images = call.last and TUNED and not call.dw  # else to move or to cut out images takes what the product gains
    elements = (1 if by_images else call.batch) * planes._elements(geometry, call.channels)
    if elements * (8 if call.double else 4) > planes.U_BYTES:
        return False
    if call.dw:
        return dw_as_planes(call)
    return (call.y or not call.strided) and tuned_planes(call)


def tuned_planes(call: Problem) -> bool:
    """Whether XLA's product of two axes is tuned for such planes, and sums enough: of y and dx."""
    geometry = call.geometry
    line = geometry.taps == geometry.kernel_size[0] > 1  # a 1x1 on planes
    if not call.last and (line or not TUNED):
        return False
    if not TUNED and call.y and call.one_core:
        return False
    several_images = call.batch * call.positions >= PLANES_POSITIONS and not line
    return max(call.channels, call.filters) >= 32 or (several_images and geometry.taps * call.channels >= PLANES_TERMS)


def dw_as_planes(call: Problem) -> bool:
    """Whether a plane has few channels, or many that are in place already."""
    channels = call.geometry.kernel_size[0] * call.channels
    if call.double or call.batch * call.filters * call.positions < PLANES_OUTPUTS:
        return False
    if call.last:
        return channels <= (64 if call.filters >= 32 else 36)
    return channels <= (36 if TUNED else 12)


def as_patches(call: Problem) -> bool:
    """Whether windows that do not overlap are worth a product of their own: y is where lax has none that is tuned."""
    if call.dx and (call.single_patches or call.narrow):
        return False
    one_axis = call.double and call.geometry.axes == 1
    # Of half precision lax widens all of x, this what it reads.
    pointwise = call.pointwise and (call.half if call.strided else not TUNED)
    untuned = call.geometry.axes > 2 or one_axis or pointwise
    return untuned or not call.y


def as_rows_of_patches(call: Problem) -> bool:
    """Whether dw of windows that do not overlap is better made from rows of a patch than from patches."""
    geometry = call.geometry
    columns = geometry.kernel_size[-1] * call.channels
    rows = geometry.axes == 2 and geometry.kernel_size[0] > 1 and not (call.overlap or call.double)
    return rows and columns >= 48 and call.filters <= columns and runs(geometry, call.channels)


def laid_out(geometry: Geometry, channels: int) -> int:
    """Bytes that `taps` lays out of one image in float32."""
    return math.prod((*geometry.output_size, *geometry.kernel_size[1:], channels)) * 4


def runs(geometry: Geometry, channels: int) -> bool:
    """Whether windows are runs of numbers, and images so small that what is laid out of one stays in a cache."""
    return geometry.dilation[-1] == 1 and laid_out(geometry, channels) <= 1 << 24


def short_taps(geometry: Geometry, channels: int, filters: int) -> bool:
    """Whether so few taps, of so many channels, that lax's one product has no advantage, and images so small."""
    return max(geometry.kernel_size) <= 4 and min(channels, filters) >= 32 and runs(geometry, channels)


def as_taps(call: Problem) -> bool:
    """Whether dw is better laid out tap by tap: where taps are few, or lax's own is slow."""
    if call.double:
        return False
    short = (call.strided or not TUNED) and short_taps(call.geometry, call.channels, call.filters)
    large = laid_out(call.geometry, call.channels) > TAPS_BYTES
    in_runs = call.many_channels or call.geometry.dilation[-1] == 1  # in windows
    return short or (not large and (few_images(call) or (in_runs and leaves_cache(call))))


def leaves_cache(call: Problem) -> bool:
    """Which dw lax makes from more than a cache holds; where many products of few numbers hide that, it is as fast."""
    return call.left_cache and not (call.double or (call.few_per_tap and call.geometry.taps > 25))


def few_images(call: Problem) -> bool:
    """Which dw of few filters lax, that takes images for channels, makes slowly of few of those, too."""
    few = call.batch < (8 if call.strided or call.channels >= 8 else 3)
    return few and call.filters <= 16 and call.overlap and call.outweighs_steps


def behind_padding(call: Problem) -> bool:
    """Whether a kernel longer than what it slides over meets it padded, in lax's product: on two axes the tuned one."""
    return call.kernel_longer and (TUNED or call.geometry.axes == 1) and not (call.dx and call.strided)


def between_few(call: Problem) -> bool:
    """Which y and dx sum and make so little that a product wastes its width on them."""
    if call.dw or (call.double and call.last) or not (call.overlap and call.few_per_tap and call.outweighs_steps):
        return False
    if call.dx and call.strided:
        return call.last and call.geometry.axes == 2 and call.channels <= 4 and max(call.geometry.stride) == 2
    return call.y or call.few_channels or not call.last


def line(call: Problem) -> bool:
    """The same on one axis with channels first, where gemm moves nothing and so pays for more of them."""
    if call.last or call.geometry.axes > 1 or not (call.overlap and call.outweighs_steps):
        return False
    if call.dw:
        return (call.filters <= 8 and call.channels >= 16) or (call.channels <= 4 and leaves_cache(call))
    return call.geometry.taps <= 10 and (call.out_channels <= 8 or (call.y and call.channels == 1))


def few_in_large_windows(call: Problem) -> bool:
    """Which strided dx with channels last come from so few filters that the zeros between their elements cost more."""
    by_twos = call.geometry.axes == 2 and max(call.geometry.stride) == 2 and call.overlap
    if not (call.dx and call.last and by_twos and call.outweighs_steps) or call.few_channels:
        return False
    return call.filters <= 32 if call.geometry.taps >= 25 else call.filters <= 8 and call.channels <= 32


def ragged(call: Problem) -> bool:
    """Which gradients with channels first put so few terms together, in rows that end within a vector, that lax's one
    call is faster, zeros between the elements of dx or not.
    """
    geometry = call.geometry
    if call.y or call.last or call.double or geometry.axes != 2:
        return False
    if not call.overlap:
        odd = TUNED and geometry.output_size[-1] % 8 > 0 and not call.large
        return odd and geometry.taps <= 9 and min(call.channels, call.filters) < 16
    by_twos = call.dx and set(geometry.stride) == {2} and max(geometry.kernel_size) <= 3 and not call.dilated
    odd = geometry.input_size[-1] % 8 > 0 and call.pixels <= (784 if TUNED else 400)
    return by_twos and odd and not call.many_channels


def tuned_value(call: Problem) -> bool:
    """Which y with channels first lax, where it is tuned, makes as fast as products."""
    return call.y and not (call.pointwise and call.strided and call.many_channels)


def tuned_vjp(call: Problem) -> bool:
    """Which gradients with channels first lax, where it is tuned, makes as fast as products."""
    if call.dx:
        return not call.few_channels
    if not (call.dw and call.overlap) or leaves_cache(call):
        return False
    if call.many_channels:  # its product has as many columns as there are filters, and a block of it 64
        return call.filters == 64 and call.batch >= 4 and call.pixels >= 1600 and not (call.strided or call.double)
    stem = call.few_channels and call.strided and call.filters >= 64
    few_images = call.batch < 8 and call.filters <= min(64, call.geometry.taps * call.channels)
    measured = not (call.dilated or call.double) and (call.strided or call.filters < 32)
    return not stem and not (few_images and measured)


def on_one_core(call: Problem) -> bool:
    """Which y and dx with channels last lax made on one core before it was tuned: of about 64 channels, long sums. Of
    shorter ones, 3x3 of 64 channels, 1.3 at most would not pay for three to five times the compile time.
    """
    plain = call.geometry.axes == 2 and min(call.geometry.kernel_size) >= 3 and not call.strided
    measured = plain and call.batch > 1 and 784 <= call.pixels <= 4225 and not (call.double or call.half)
    return call.last and not call.dw and measured and call.one_core


def small_dw(call: Problem) -> bool:
    """Which dw of small images lax makes as fast as products before it is tuned, too."""
    few_numbers = call.pixels < SMALL and call.batch <= 16
    return call.dw and call.overlap and few_numbers and not call.dilated and call.filters >= 32 >= call.channels
