"""Which form of the three maps serves a call: one table, read from the top, the first row that fits.

    form         what it is
    reference    `lax.conv_general_dilated`, in `jaxconv.reference`
    gemm         matrix products, in `jaxconv.gemm`

The choice is made while tracing, from static facts. On a GPU and a TPU it is the reference: nothing else was measured
there. An exported function carries both forms where they differ, and its platform picks (`lax.platform_dependent`).

Ratios are lax's time over gemm's, medians of five on two AVX2 cores, float32, channels first, JAX 0.12.0.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
from jax import Array, lax

from jaxconv import gemm, reference
from jaxconv.arguments import is_symbolic
from jaxconv.geometry import Geometry
from jaxconv.precision import Precision

Lowering = Literal["auto", "reference", "gemm"]
Map = Literal["conv", "conv_input_vjp", "conv_weight_vjp"]

LOWERINGS = ("auto", "reference", "gemm")


class Call(NamedTuple):
    """The static facts about one call that a row may ask for."""

    which: Map
    geometry: Geometry
    channels: int  # of the convolution's input, within one group
    filters: int  # of the convolution's output, within one group

    @property
    def depthwise(self) -> bool:
        return self.channels == 1 and self.geometry.groups > 1

    @property
    def phases(self) -> int:
        """Convolutions that the input gradient takes, one per phase of the stride; one product without overlap."""
        return math.prod(self.geometry.stride) if gemm.overlap(self.geometry) else 1


class Row(NamedTuple):
    """Where `fits` holds, `form` serves; `because` is the reason and what was measured."""

    fits: Callable[[Call], bool]
    form: str
    because: str


def _dense(call: Call) -> bool:
    geometry = call.geometry
    return (
        geometry.groups == 1 and geometry.taps > 1 and gemm.overlap(geometry) and min(call.channels, call.filters) >= 64
    )


def _few_channels(call: Call) -> bool:
    return call.geometry.groups == 1 and gemm.overlap(call.geometry) and call.channels < 16 <= call.filters


CPU = (
    Row(
        lambda call: jax.device_count() > 1 and call.geometry.groups == 1,
        "reference",
        "several devices: any axis may lie across them, and the partitioner knows lax's form",
    ),
    Row(
        lambda call: (call.geometry.taps > 64 and (gemm.overlap(call.geometry) or call.depthwise)) or call.phases > 16,
        "reference",
        "every tap and every phase of the stride is a line of the program: hundreds would compile for minutes",
    ),
    Row(
        lambda call: _dense(call) and call.which == "conv",
        "reference",
        "at the top of a program lax is near the peak: 0.73 (3x3), 0.87 (3x3 stride 2), 0.72 (1-D). "
        "Inside a loop it is not: there say lowering='gemm'",
    ),
    Row(
        lambda call: _dense(call) and call.which == "conv_input_vjp" and call.phases == 1,
        "reference",
        "without a stride the input gradient is such a convolution: 0.67 (3x3), 0.77 (1-D)",
    ),
    Row(
        lambda call: _dense(call) and call.which == "conv_weight_vjp" and call.geometry.axes == 1,
        "reference",
        "0.60 (1-D); images gain: 1.2 to 1.9",
    ),
    Row(
        lambda call: _few_channels(call) and call.which != "conv_weight_vjp",
        "reference",
        "products this narrow leave the cores idle: 0.53 and 0.61 (7x7 stride 2 on 3 channels; its dw 2.1)",
    ),
    Row(
        lambda call: True,
        "gemm",
        "no inserted zeros (3x3 stride 2 dx 1.3), no batch_group_count (grouped dw 171 to 475), tap by tap for "
        "depthwise (20 to 25, dw 10 to 14), a slice for 1x1 (1.3 to 7.0)",
    ),
)


def lowered(which: Map, a: Array, b: Array, geometry: Geometry, precision: Precision, lowering: Lowering) -> Array:
    """The map in the form that serves it."""
    plain = getattr(reference, which)
    if lowering == "reference" or not _static(a, b, geometry):
        return plain(a, b, geometry, precision)
    fast = getattr(gemm, which)
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
    call = Call(which, geometry, channels // geometry.groups, filters // geometry.groups)
    return next(row for row in CPU if row.fits(call))
