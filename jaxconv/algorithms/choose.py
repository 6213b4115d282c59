"""Which form of a map serves a call: the one named, or the one that `table` picks, on the platform that runs it."""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms import blocks, canonical, depthwise, gemm, patches, phases, planes, reference, shifts, taps
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import Map
from jaxconv.algorithms.table import row
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

Lowering = Literal["auto", "reference", "gemm"]

LOWERINGS = ("auto", "reference", "gemm")


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
        "phases": phases,
        "shifts": shifts,
        "depthwise": depthwise,
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
