"""Which form of the three maps serves a call: one table, read from the top, the first row that fits.

    form         what it is
    reference    `lax.conv_general_dilated`, in `reference`
    canonical    the same in the layout that XLA's convolution is tuned for, in `canonical`
    planes       three axes as two, in `planes`
    patches      products for windows that do not overlap, channels last, in `patches`
    direct       groups of few channels, sums of shifted arrays, in `direct`
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

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms import blocks, canonical, direct, gemm, patches, planes, reference, taps
from jaxconv.algorithms import conditions as when
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import Map
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

Lowering = Literal["auto", "reference", "gemm"]

LOWERINGS = ("auto", "reference", "gemm")


class Row(NamedTuple):
    """Where `fits` holds, `form` serves; `because` is the reason and what was measured."""

    fits: Callable[[Problem], bool]
    form: str
    because: str


CPU = (
    Row(
        lambda call: when.long(call) and (partitioned() or not when.in_loops(call)),
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
        lambda call: when.long(call) and call.overlap and not call.dw,
        "direct",
        "long kernels between few channels, some taps at a time: depthwise 15 to 60, strided dx 200 and more, of eight "
        "channels 1.5 to 2, of one channel in all 4 to 8",
    ),
    Row(
        lambda call: when.long(call) and call.overlap,
        "direct",
        "the same: depthwise 5 to 14, of two to eight channels 10 to 400",
    ),
    Row(
        lambda call: call.geometry.groups > 1 and not call.dw and when.as_shifts(call),
        "direct",
        "matrices too small for a product: gemm 0.1 to 1.0, of 4x4 images 1.3, strided dx 0.2 to 1.1, of "
        "JAX 0.10 with channels first 0.3 to 1.1; lax itself 0.01 to 0.3",
    ),
    Row(
        lambda call: call.geometry.groups > 1 and call.dw and call.channels == 1,
        "direct",
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
        lambda call: call.dw and call.last and call.geometry.groups == 1 and when.as_rows_of_patches(call),
        "taps",
        "windows that do not overlap, of long rows: 0.9 to 6, patches 0.3 to 1.1 of it",
    ),
    Row(
        lambda call: call.last and call.geometry.groups == 1 and not call.overlap and when.as_patches(call),
        "patches",
        "no axis is moved: dx 1.2 to 2, with large patches 90, dw 1.1 to 14; on three axes y 0.8 to 2.4, dx and dw 1.3 "
        "to 110; JAX 0.10 y of a 1x1 1.1 to 2.6, dx 1.2 to 2.5; y of a strided 1x1 in bfloat16 1.2 to 2.8; dx of a 1x1 "
        "between few channels 0.2 to 1.1",
    ),
    Row(
        lambda call: call.geometry.groups == 1 and call.geometry.axes < 3 and when.behind_padding(call),
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
        lambda call: call.geometry.axes == 3 and call.geometry.groups == 1 and when.as_planes(call),
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
        lambda call: when.between_few(call) or when.line(call),
        "gemm",
        "few channels and filters: y and dx 1.0 to 13; on one axis with channels first y and dx of up to 8 1.1 to 14, "
        "y of one channel 1.0 to 4.7, dw of up to 8 filters 1.0 to 16, and of up to 4 channels where g leaves the "
        "cache 1.1 to 6",
    ),
    Row(
        when.few_in_large_windows,
        "gemm",
        "no inserted zeros: of 5x5 and 7x7 1.4 to 15, of more filters 0.8 to 2.3; of smaller ones 1.0 to 2.1",
    ),
    Row(
        when.ragged,
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
        lambda call: call.dw and call.pointwise and not call.last,
        "gemm",
        "dw of a 1x1 is one product: 1.1 to 4.7",
    ),
    Row(
        lambda call: call.dw and call.last and call.geometry.axes == 2 and when.as_taps(call),
        "taps",
        "lax moves the axes of both arrays: with a stride 1.0 to 2.9, where they leave the cache 0.7 to 6, JAX 0.10 "
        "0.8 to 12; else 1.0 to 1.4, but 0.7 to 1.0 on a CPU of half the arithmetic (Zen 4); of few images and filters "
        "0.9 to 18; gemm compiles longer",
    ),
    Row(
        lambda call: (
            call.dw and call.last and call.geometry.axes == 2 and call.many_channels and when.leaves_cache(call)
        ),
        "gemm",
        "the same of images so large that taps would need much memory: 1.5 to 2.2",
    ),
    Row(
        lambda call: not when.TUNED and when.on_one_core(call),
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
        lambda call: when.TUNED and (when.tuned_value(call) or when.tuned_vjp(call)),
        "canonical",
        "lax is near the peak: gemm 0.5 to 1.1, and 1.2 to 1.5 on JAX 0.10; dw of 64 filters 0.75 to 1.0",
    ),
    Row(
        lambda call: not when.TUNED and not call.double and when.small_dw(call),
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


@partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def lowered(
    which: Map,
    a: Array,
    b: Array,
    geometry: Geometry,
    precision: Precision,
    lowering: Lowering,
    mapped: bool = False,
) -> Array:
    """The map in the form that serves it; jitted, so that it is traced once for a value and its derivative."""
    plain = getattr(reference, which)
    if lowering == "reference" or not _static(a, b, geometry):
        return plain(a, b, geometry, precision)
    forms = {
        "canonical": canonical,
        "planes": planes,
        "patches": patches,
        "direct": direct,
        "taps": taps,
        "gemm": blocks if partitioned() else gemm,
    }
    if lowering == "gemm":
        return getattr(forms["gemm"], which)(a, b, geometry, precision)
    form = row(Problem.of(which, a, b, geometry, mapped)).form
    if form == "reference":
        return plain(a, b, geometry, precision)
    fast = getattr(forms[form], which)
    return lax.platform_dependent(
        a,
        b,
        cpu=lambda a, b: fast(a, b, geometry, precision),
        default=lambda a, b: plain(a, b, geometry, precision),
    )


def _static(a: Array, b: Array, geometry: Geometry) -> bool:
    """Whether every size is a number, and none is zero: tiles are cut while tracing, and an empty batch has none."""
    return not any(map(is_symbolic, (*a.shape, *b.shape, *geometry.input_size))) and a.size > 0 and b.size > 0
