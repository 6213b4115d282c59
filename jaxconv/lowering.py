"""Which form of the three maps serves a call: one table, read from the top, the first row that fits.

    form         what it is
    reference    `lax.conv_general_dilated`, in `jaxconv.reference`
    gemm         matrix products: in `jaxconv.gemm`, or in `jaxconv.blocks` where an axis may lie over several devices

The choice is made while tracing, from static facts. On a GPU and a TPU it is the reference: nothing else was measured
there. An exported function carries both forms where they differ, and its platform picks (`lax.platform_dependent`).

Ratios are lax's time over gemm's, medians of five interleaved calls on two AVX-512 cores, float32, JAX 0.12.0.1 where
nothing else is said; they move by a third with what else the machine does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv import blocks, gemm, reference, unroll
from jaxconv.arguments import is_symbolic
from jaxconv.geometry import Geometry
from jaxconv.precision import Precision
from jaxconv.varying import several

Lowering = Literal["auto", "reference", "gemm"]
Map = Literal["conv", "conv_input_vjp", "conv_weight_vjp"]

LOWERINGS = ("auto", "reference", "gemm")


class Call(NamedTuple):
    """The static facts about one call that a row may ask for."""

    which: Map
    geometry: Geometry
    channels: int  # of the convolution's input, within one group
    filters: int  # of the convolution's output, within one group
    double: bool = False  # whether a real number has 64 bits

    @property
    def last(self) -> bool:
        return not self.geometry.channels_first

    @property
    def strided(self) -> bool:
        return max(self.geometry.stride) > 1

    @property
    def overlap(self) -> bool:
        return any(unroll.overlaps(self.geometry, axis) for axis in range(self.geometry.axes))


class Row(NamedTuple):
    """Where `fits` holds, `form` serves; `because` is the reason and what was measured."""

    fits: Callable[[Call], bool]
    form: str
    because: str


def _dense(call: Call) -> bool:
    return call.geometry.groups == 1 and call.overlap and min(call.channels, call.filters) >= 64


# Since 0.11 lax's own convolution of images reaches its tuned product in both layouts.
TUNED = jax.__version_info__ >= (0, 11)

CPU = (
    Row(
        lambda call: several(),
        "gemm",
        "several devices, any axis across them, in blocks: lax's form is cut up wrongly where output channels and rows "
        "lie over two mesh axes (JAX 0.10.2 and 0.12.0.1), and gathers where it is grouped",
    ),
    Row(
        lambda call: _dense(call) and call.geometry.axes == 1 and not call.double,
        "reference",
        "lax is at the peak: 0.8 to 1.0, dx 0.9, dw 0.5 to 0.8 (float64: 18 to 28, so not there)",
    ),
    Row(
        lambda call: (
            _dense(call)
            and call.geometry.axes == 2
            and (call.which == "conv" or (call.which == "conv_input_vjp" and not call.strided))
            and (TUNED or (call.last and call.strided))
        ),
        "reference",
        "at the top of a program lax is near the peak: 0.7 to 1.0 (JAX 0.10: 1.2 to 1.8). Inside a loop it is not: "
        "there say lowering='gemm'",
    ),
    Row(
        lambda call: (
            call.geometry.groups == 1
            and call.which == "conv"
            and (call.channels < 16 <= call.filters if call.overlap else call.geometry.taps > 1)
            and (TUNED or call.last)
        ),
        "reference",
        "few channels, 0.5 to 1.4 (7x7 stride 2; JAX 0.10 1.5), or patches that do not overlap, 0.8 to 0.95",
    ),
    Row(
        lambda call: (
            call.last and call.geometry.groups == 1 and call.geometry.taps == 1 and call.which != "conv_weight_vjp"
        ),
        "reference",
        "1x1 with channels last is one product as it stands, and lax makes it so: 0.3 to 0.8 with axes moved",
    ),
    Row(
        lambda call: True,
        "gemm",
        "no inserted zeros (3x3 stride 2 dx 1.6, 7x7 stride 2 dx 2.4 to 5, patches 40), no batch_group_count (grouped "
        "dw 1500), 1x1 1.0 to 3.4, three axes 2 to 6; dense dw 0.7 to 1.2, and 1.5 where lax was measured on AVX2",
    ),
)


def lowered(which: Map, a: Array, b: Array, geometry: Geometry, precision: Precision, lowering: Lowering) -> Array:
    """The map in the form that serves it."""
    plain = getattr(reference, which)
    if lowering == "reference" or not _static(a, b, geometry):
        return plain(a, b, geometry, precision)
    fast = getattr(blocks if several() else gemm, which)
    if lowering == "gemm":
        return fast(a, b, geometry, precision)
    if _row(which, a, b, geometry).form == "reference":
        return plain(a, b, geometry, precision)
    return lax.platform_dependent(
        a,
        b,
        cpu=lambda a, b: fast(a, b, geometry, precision),
        default=lambda a, b: plain(a, b, geometry, precision),
    )


def _static(a: Array, b: Array, geometry: Geometry) -> bool:
    """Whether every size is a number, and none is zero: tiles are cut while tracing, and an empty batch has none."""
    return not any(map(is_symbolic, (*a.shape, *b.shape, *geometry.input_size))) and a.size > 0 and b.size > 0


def _row(which: Map, a: Array, b: Array, geometry: Geometry) -> Row:
    """The first row of the table that fits."""
    first = 1 if geometry.channels_first else -1
    kernel_out = 0 if geometry.channels_first else -1
    if which == "conv":
        channels, filters = a.shape[first], b.shape[kernel_out]
    elif which == "conv_input_vjp":
        channels, filters = b.shape[1 if geometry.channels_first else -2] * geometry.groups, a.shape[first]
    else:
        channels, filters = a.shape[first], b.shape[first]
    double = jnp.finfo(a.dtype).bits == 64
    call = Call(which, geometry, channels // geometry.groups, filters // geometry.groups, double)
    return next(row for row in CPU if row.fits(call))
