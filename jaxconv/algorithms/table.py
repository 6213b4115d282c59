"""Which form of the three maps serves a call: one table, read from the top, the first row that fits.

    form         what it is
    reference    `lax.conv_general_dilated`, in `reference`
    canonical    the same in the layout that XLA's convolution is tuned for, in `canonical`
    planes       three axes as two, in `planes`
    patches      products for windows that do not overlap, channels last, in `patches`
    phases       a strided dx, channels last, as a convolution without a stride, in `phases`
    shifts       y and dx of groups of few channels, sums of shifted arrays, in `shifts`
    depthwise    dw of groups of one channel, of long kernels few, in `depthwise`
    taps         dw with channels last, a product for each tap of the first axis, in `taps`
    gemm         matrix products: in `gemm`, or in `blocks` where an axis may lie over several devices

The choice is made while tracing, from static facts. On a GPU and a TPU it is the reference: nothing else was measured
there. An exported function carries both forms where they differ, and its platform picks (`lax.platform_dependent`).
At the top of a program canonical is lax's own speed; inside a loop lax alone is 80 to 400 times slower with channels
first, and in every dw.

Ratios are lax's time over that of the row's form, or over gemm's where that is named or the row is lax's own, medians
of five interleaved calls on two AVX-512 cores, float32, JAX 0.12.0.1 where nothing else is said; they move by a third
with what else the machine does. With channels last those of few channels, fewer than 16, are of two AVX2 cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms import planes, taps
from jaxconv.algorithms.problem import SMALL, Problem


class Row(NamedTuple):
    """Where `fits` holds, `form` serves; `because` is the reason and what was measured."""

    fits: Callable[[Problem], bool]
    form: str
    because: str


LONG = 128  # taps, added up over the axes
LONG_CHANNELS = 8  # of a group: between more of them lax is faster than sums
TAPS_BYTES = 1 << 26  # that `taps` lays out of one image, where lax has left the cache, too
PLANES_OUTPUTS = 1 << 15  # of a batch, for dw
PLANES_TERMS = 128  # that dx folds, of few channels
PLANES_POSITIONS = 1 << 12  # of a batch, for few channels
# Since 0.11 lax's own convolution of images reaches its tuned product with channels first, too.
TUNED = jax.__version_info__ >= (0, 11)


def _long(call: Problem) -> bool:
    """Whether a form that writes down every tap of an axis would be a program of too many lines."""
    return sum(call.geometry.kernel_size) > LONG


def _in_loops(call: Problem) -> bool:
    """Which long kernels are gone through in loops: between few channels; windows that do not overlap are a reshape."""
    if call.geometry.groups == 1:
        return call.overlap and call.channels == call.filters == 1 and not call.dw
    if call.dw:
        return not call.overlap or call.channels == 1 or max(call.channels, call.filters) <= LONG_CHANNELS
    return not call.overlap or (call.dx and call.strided) or call.reduced_channels <= LONG_CHANNELS


def _as_shifts(call: Problem) -> bool:
    """Whether y or dx adds up so few terms that a product would cost more."""
    if call.dx and call.strided and not _as_sums_by_remainder(call):
        return False
    return call.reduced_channels == 1 or call.reduction_size <= (160 if call.last else 106)


def _as_sums_by_remainder(call: Problem) -> bool:
    """Whether a strided dx is a sum for every remainder by the strides; JAX 0.10 puts them together more slowly."""
    remainders = math.prod(call.geometry.stride)
    if call.geometry.axes == 1 or remainders > 16:
        return False
    if TUNED or call.last:
        return True
    if call.half:  # gemm takes three times as long as in float32, but for large windows that do not overlap
        return call.overlap or call.geometry.taps <= 4
    return call.overlap and call.reduction_size >= 18 and remainders <= 9


def _as_planes(call: Problem) -> bool:
    """Whether three axes are large enough for the tuned product of two, and small enough to fit."""
    geometry = call.geometry
    if call.pointwise and (call.dw or (call.dx and call.channels < 64)):
        return False  # one product of arrays as they lie
    by_images = call.last and TUNED and not call.dw  # else to move or to cut out images takes what the product gains
    elements = (1 if by_images else call.batch) * planes.elements(geometry, call.channels)
    if elements * (8 if call.double else 4) > planes.U_BYTES:
        return False
    if call.dw:
        return _dw_as_planes(call)
    return (call.y or not call.strided) and _tuned_planes(call)


def _tuned_planes(call: Problem) -> bool:
    """Whether XLA's product of two axes is tuned for such planes, and sums enough: of y and dx."""
    geometry = call.geometry
    line = geometry.taps == geometry.kernel_size[0] > 1  # a 1x1 on planes
    if not call.last and (line or not TUNED):
        return False
    if not TUNED and call.y and call.one_core:
        return False
    several_images = call.batch * call.positions >= PLANES_POSITIONS and not line
    return max(call.channels, call.filters) >= 32 or (several_images and geometry.taps * call.channels >= PLANES_TERMS)


def _dw_as_planes(call: Problem) -> bool:
    """Whether a plane has few channels, or many that are in place already."""
    channels = call.geometry.kernel_size[0] * call.channels
    if call.double or call.batch * call.filters * call.positions < PLANES_OUTPUTS:
        return False
    if call.last:
        return channels <= (64 if call.filters >= 32 else 36)
    return channels <= (36 if TUNED else 12)


def _as_patches(call: Problem) -> bool:
    """Whether windows that do not overlap are worth a product of their own: y is where lax has none that is tuned."""
    if call.dx and (call.single_patches or call.narrow):
        return False
    one_axis = call.double and call.geometry.axes == 1
    # Of half precision lax widens all of x, this what it reads.
    pointwise = call.pointwise and (call.half if call.strided else not TUNED)
    untuned = call.geometry.axes > 2 or one_axis or pointwise
    return untuned or not call.y


def _as_rows_of_patches(call: Problem) -> bool:
    """Whether dw of windows that do not overlap is better made from rows of a patch than from patches."""
    geometry = call.geometry
    columns = geometry.kernel_size[-1] * call.channels
    rows = geometry.axes == 2 and geometry.kernel_size[0] > 1 and not (call.overlap or call.double)
    return rows and columns >= 48 and call.filters <= columns and taps.fits(geometry, call.channels)


def _as_taps(call: Problem) -> bool:
    """Whether dw is better laid out tap by tap: where taps are few, or lax's own is slow."""
    if call.double:
        return False
    short = (call.strided or not TUNED) and taps.short(call.geometry, call.channels, call.filters)
    large = taps.laid_out(call.geometry, call.channels) > TAPS_BYTES
    runs = call.many_channels or call.geometry.dilation[-1] == 1  # in windows
    return short or (not large and (_few_images(call) or (runs and _leaves_cache(call))))


def _leaves_cache(call: Problem) -> bool:
    """Which dw lax makes from more than a cache holds; where many products of few numbers hide that, it is as fast."""
    return call.left_cache and not (call.double or (call.few_per_tap and call.geometry.taps > 25))


def _few_images(call: Problem) -> bool:
    """Which dw of few filters lax, that takes images for channels, makes slowly of few of those, too."""
    few = call.batch < (8 if call.strided or call.channels >= 8 else 3)
    return few and call.filters <= 16 and call.overlap and call.outweighs_steps


def _behind_padding(call: Problem) -> bool:
    """Whether a kernel longer than what it slides over meets it padded, in lax's product: on two axes the tuned one."""
    return call.kernel_longer and (TUNED or call.geometry.axes == 1) and not (call.dx and call.strided)


def _between_few(call: Problem) -> bool:
    """Which y and dx sum and make so little that a product wastes its width on them."""
    if call.dw or (call.double and call.last) or not (call.overlap and call.few_per_tap and call.outweighs_steps):
        return False
    if call.dx and call.strided:
        return call.last and call.geometry.axes == 2 and call.channels <= 4 and max(call.geometry.stride) == 2
    return call.y or call.few_channels or not call.last


def _line(call: Problem) -> bool:
    """The same on one axis with channels first, where gemm moves nothing and so pays for more of them."""
    if call.last or call.geometry.axes > 1 or not (call.overlap and call.outweighs_steps):
        return False
    if call.dw:
        return (call.filters <= 8 and call.channels >= 16) or (call.channels <= 4 and _leaves_cache(call))
    return call.geometry.taps <= 10 and (call.out_channels <= 8 or (call.y and call.channels == 1))


def _few_in_large_windows(call: Problem) -> bool:
    """Which strided dx with channels last come from so few filters that the zeros between their elements cost more."""
    by_twos = call.geometry.axes == 2 and max(call.geometry.stride) == 2 and call.overlap
    if not (call.dx and call.last and by_twos and call.outweighs_steps) or call.few_channels:
        return False
    return call.filters <= 32 if call.geometry.taps >= 25 else call.filters <= 8 and call.channels <= 32


def _in_phases(call: Problem) -> bool:
    """Whether a strided dx of few channels sums enough to pay for the zeros in its kernel."""
    return call.geometry.taps * call.channels >= (36 if call.pixels >= 2 * SMALL else 100)


def _ragged(call: Problem) -> bool:
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


def _tuned_value(call: Problem) -> bool:
    """Which y with channels first lax, where it is tuned, makes as fast as products."""
    return call.y and not (call.pointwise and call.strided and call.many_channels)


def _tuned_vjp(call: Problem) -> bool:
    """Which gradients with channels first lax, where it is tuned, makes as fast as products."""
    if call.dx:
        return not call.few_channels
    if not (call.dw and call.overlap) or _leaves_cache(call):
        return False
    if call.many_channels:  # its product has as many columns as there are filters, and a block of it 64
        return call.filters == 64 and call.batch >= 4 and call.pixels >= 1600 and not (call.strided or call.double)
    stem = call.few_channels and call.strided and call.filters >= 64
    few_images = call.batch < 8 and call.filters <= min(64, call.geometry.taps * call.channels)
    measured = not (call.dilated or call.double) and (call.strided or call.filters < 32)
    return not stem and not (few_images and measured)


def _on_one_core(call: Problem) -> bool:
    """Which y and dx with channels last lax made on one core before it was tuned: of about 64 channels, long sums. Of
    shorter ones, 3x3 of 64 channels, 1.3 at most would not pay for three to five times the compile time.
    """
    plain = call.geometry.axes == 2 and min(call.geometry.kernel_size) >= 3 and not call.strided
    measured = plain and call.batch > 1 and 784 <= call.pixels <= 4225 and not (call.double or call.half)
    return call.last and not call.dw and measured and call.one_core


def _small_dw(call: Problem) -> bool:
    """Which dw of small images lax makes as fast as products before it is tuned, too."""
    few_numbers = call.pixels < SMALL and call.batch <= 16
    return call.dw and call.overlap and few_numbers and not call.dilated and call.filters >= 32 >= call.channels


CPU = (
    Row(
        lambda call: _long(call) and (partitioned() or not _in_loops(call)),
        "canonical",
        "each tap would be a line of the program, and thousands of lines compile for minutes; over several devices, "
        "too, where rows and output channels must then not lie over two mesh axes",
    ),
    Row(
        lambda call: partitioned(),
        "gemm",
        "several devices, any axis across them, in blocks: lax's form is cut up wrongly where output channels and rows "
        "lie over two mesh axes (JAX 0.10.2 and 0.12.0.1), and gathers where it is grouped",
    ),
    Row(
        lambda call: _long(call) and call.overlap and not call.dw,
        "shifts",
        "long kernels between few channels, some taps at a time: depthwise 15 to 60, strided dx 200 and more, of eight "
        "channels 1.5 to 2, of one channel in all 4 to 8",
    ),
    Row(
        lambda call: _long(call) and call.overlap,
        "depthwise",
        "the same: depthwise 5 to 14, of two to eight channels 10 to 400",
    ),
    Row(
        lambda call: call.geometry.groups > 1 and not call.dw and _as_shifts(call),
        "shifts",
        "matrices too small for a product: gemm 0.1 to 1.0, of 4x4 images 1.3, strided dx 0.2 to 1.1, of "
        "JAX 0.10 with channels first 0.3 to 1.1; lax itself 0.01 to 0.3",
    ),
    Row(
        lambda call: call.geometry.groups > 1 and call.dw and call.channels == 1,
        "depthwise",
        "no matrices at all: gemm 0.1 to 1.0, of 11x11 1.3, of 31x31, compiled in five times as long, 0.8 to 1.9; lax "
        "itself less than 0.2",
    ),
    Row(
        lambda call: call.mapped,
        "gemm",
        "mapped, lax's form would be grouped; this stays one product of all examples' patches",
    ),
    Row(
        lambda call: call.geometry.groups == 1 and call.geometry.axes < 3 and call.handful,
        "canonical",
        "a handful of numbers: gemm 0.3 to 1.1, strided dx of whole vectors 1.2 to 1.4",
    ),
    Row(
        lambda call: call.dw and call.last and call.geometry.groups == 1 and _as_rows_of_patches(call),
        "taps",
        "windows that do not overlap, of long rows: 0.9 to 6, patches 0.3 to 1.1 of it",
    ),
    Row(
        lambda call: call.last and call.geometry.groups == 1 and not call.overlap and _as_patches(call),
        "patches",
        "no axis is moved: dx 1.2 to 2, with large patches 90, dw 1.1 to 14; on three axes y 0.8 to 2.4, dx and dw 1.3 "
        "to 110; JAX 0.10 y of a 1x1 1.1 to 2.6, dx 1.2 to 2.5; y of a strided 1x1 in bfloat16 1.2 to 2.8; dx of a 1x1 "
        "between few channels 0.2 to 1.1",
    ),
    Row(
        lambda call: call.geometry.groups == 1 and call.geometry.axes < 3 and _behind_padding(call),
        "canonical",
        "whose kernel is longer than what it slides over, as g is for dw where an even kernel is padded by half of it: "
        "lax itself is not tuned for that, y and dx 7 to 20, dw 3 to 40; gemm 0.7 to 1.4, compiled in two to five "
        "times as long",
    ),
    Row(
        lambda call: (
            call.geometry.groups == 1 and call.geometry.axes < 3 and call.kernel_longer and call.outweighs_steps
        ),
        "gemm",
        "the same of a strided dx, without inserted zeros, 3 to 11, and of two axes of JAX 0.10, 6 to 37, canonical "
        "0.4 to 1.2 of it",
    ),
    Row(
        lambda call: call.geometry.axes == 3 and call.geometry.groups == 1 and _as_planes(call),
        "planes",
        "gemm 0.7 to 1.2, channels last 0.4 to 1.1, and compiled in two to five times as long; JAX 0.10 0.5 to 1.8; of "
        "few channels 0.4 to 1.5; above 32 MB with channels last, by images, 0.4 to 1.1, with channels first 0.5 to "
        "1.7; of 3x1x1 with channels first 1.1 to 4; dw 0.3 to 1.0, JAX 0.10 0.4 to 1.1; of a 1x1 dw 0.7 to 10, dx of "
        "few channels 1.3 to 3.8",
    ),
    Row(
        lambda call: call.geometry.groups > 1 or call.geometry.axes > 2 or (call.double and call.geometry.axes == 1),
        "gemm",
        "lax has no tuned product: groups (dw 1500), three axes 2 to 7, float64 on one axis 18 to 28",
    ),
    Row(
        lambda call: call.dw and not call.strided and len(set(call.geometry.dilation)) > 1,
        "gemm",
        "lax is not tuned for unequal dilations, unless there are strides, too: 2 to 60",
    ),
    Row(
        lambda call: _between_few(call) or _line(call),
        "gemm",
        "few channels and filters: y and dx 1.0 to 13; on one axis with channels first y and dx of up to 8 1.1 to 14, "
        "y of one channel 1.0 to 4.7, dw of up to 8 filters 1.0 to 16, and of up to 4 channels where g leaves the "
        "cache 1.1 to 6",
    ),
    Row(
        _few_in_large_windows,
        "gemm",
        "no inserted zeros: of 5x5 and 7x7 1.4 to 15, of more filters 0.8 to 2.3; of smaller ones 1.0 to 2.1",
    ),
    Row(
        _ragged,
        "canonical",
        "small images: dx of 3x3 by twos gemm 0.6 to 1.0, of 28 pixels also 1.1; both gradients of windows that do not "
        "overlap 0.2 to 0.9, JAX 0.10 0.6 to 1.8",
    ),
    Row(
        lambda call: call.dx and call.strided and (not call.last or call.double or call.small or call.single_patches),
        "gemm",
        "no inserted zeros: 3x3 1.2 to 2.1, 7x7 2.4 to 5, 16x16 patches 40, float64 4 to 16; channels last "
        "float64, and alone small images of few channels, 0.8 to 3.1, and odd patches of one, 1.0 to 7",
    ),
    Row(
        lambda call: call.dx and call.strided and call.dilated and call.geometry.axes == 2 and call.filters >= 8,
        "gemm",
        "lax is not tuned for strides and dilations at once: channels last 1.0 to 3, few channels 2.8 to 17",
    ),
    Row(
        lambda call: call.dx and call.strided and call.few_channels and _in_phases(call),
        "phases",
        "no zeros, but more taps: 3x3 of 8 channels 1.1 to 2.0, 5x5 of 3 0.9 to 3.1, 7x7 of 3 1.1 to 5.8; what sums "
        "less would be 0.3 to 1.9",
    ),
    Row(
        lambda call: call.dw and call.pointwise and not call.last,
        "gemm",
        "dw of a 1x1 is one product: 1.1 to 4.7",
    ),
    Row(
        lambda call: call.dw and call.last and call.geometry.axes == 2 and _as_taps(call),
        "taps",
        "lax moves the axes of both arrays: with a stride 1.0 to 2.9, where they leave the cache 0.7 to 6, JAX 0.10 "
        "0.8 to 12; else 1.0 to 1.4, but 0.7 to 1.0 on a CPU of half the arithmetic (Zen 4); of few images and filters "
        "0.9 to 18; gemm compiles longer",
    ),
    Row(
        lambda call: call.dw and call.last and call.geometry.axes == 2 and call.many_channels and _leaves_cache(call),
        "gemm",
        "the same of images so large that taps would need much memory: 1.5 to 2.2",
    ),
    Row(
        lambda call: not TUNED and _on_one_core(call),
        "gemm",
        "JAX 0.10 makes y and dx of 49 to 64 channels on one core, in the time of 128: on two 1.2 to 2.0; a second "
        "core that is busy elsewhere leaves 0.8",
    ),
    Row(
        lambda call: call.last or call.geometry.axes == 1,
        "canonical",
        "lax's own layout, or as near: gemm 0.3 to 1.1",
    ),
    Row(
        lambda call: call.pointwise and not call.strided and call.reduced_channels >= 64 and call.large,
        "gemm",
        "y and dx of a 1x1 on large images are one product each, which nothing is moved for: 1.1 to 2.4",
    ),
    Row(
        lambda call: call.many_channels and call.overlap and not call.large,
        "gemm",
        "small images together are one product: 1.0 to 1.4",
    ),
    Row(
        lambda call: TUNED and (_tuned_value(call) or _tuned_vjp(call)),
        "canonical",
        "lax is near the peak: gemm 0.5 to 1.1, and 1.2 to 1.5 on JAX 0.10; dw of 64 filters 0.75 to 1.0",
    ),
    Row(
        lambda call: not TUNED and not call.double and _small_dw(call),
        "canonical",
        "dw of small images and few channels: gemm 0.4 to 1.1; of more than 16 images 1.1 to 2.5",
    ),
    Row(
        lambda call: True,
        "gemm",
        "JAX 0.10 0.8 to 2.2; later dw of wide ones 1.0 to 1.1, of few strided channels 1.3, of few images and filters "
        "0.7 to 3, where g leaves the cache 0.9 to 11, patches 1.1 to 1.5, strided 1x1 2.0",
    ),
)


def row(call: Problem) -> Row:
    """The first row of the table that fits."""
    return next(row for row in CPU if row.fits(call))
