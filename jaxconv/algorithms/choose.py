"""Stand-in for the planner: ALGORITHMS, estimates, choose, lowered."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms import blocks, canonical, depthwise, gemm, planes, reference, wisdom
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import Map
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

Lowering = str

LOWERINGS = ("auto", "reference", "gemm")


def _planes(problem: Problem) -> str | None:
    return None if problem.geometry.axes == 3 and problem.geometry.groups == 1 else "it needs three axes and one group"


def _depthwise(problem: Problem) -> str | None:
    return None if problem.channels == 1 and problem.geometry.groups > 1 else "it needs groups of one channel"


ALGORITHMS: dict[str, Any] = {
    "reference": reference,
    "canonical": canonical,
    "gemm": gemm,
    "planes": planes,
    "depthwise": depthwise,
    "blocks": blocks,
}
for _module in ALGORITHMS.values():
    _module.unsupported = lambda problem: None
planes.unsupported = _planes  # type: ignore[attr-defined]
depthwise.unsupported = _depthwise  # type: ignore[attr-defined]
blocks.unsupported = lambda problem: None if problem.partitioned else "it is for several devices"  # type: ignore[attr-defined]


def unsupported(name: str, problem: Problem) -> str | None:
    if not hasattr(ALGORITHMS[name], problem.which):
        return f"it has no {problem.which}"
    return str(why) if (why := ALGORITHMS[name].unsupported(problem)) else None


def required(problem: Problem) -> str | None:
    return "blocks" if problem.partitioned else "gemm" if problem.mapped else None


_COST = {"reference": 2.0, "canonical": 1.1, "gemm": 1.0, "planes": 0.9, "depthwise": 0.8}


def estimates(problem: Problem) -> dict[str, float]:
    able = (name for name in _COST if unsupported(name, problem) is None)
    return {name: _COST[name] * (1e-5 + problem.multiply_adds / 1e11) for name in able}


def choose(problem: Problem) -> str:
    if needed := required(problem):
        return needed
    measured = wisdom.lookup(problem) or {}
    able = {n: s for n, s in measured.items() if n in ALGORITHMS and unsupported(n, problem) is None} or estimates(
        problem
    )
    return min(able, key=lambda name: able[name])


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
    plain = getattr(reference, which)
    if lowering == "reference" or not _static(a, b, geometry):
        return plain(a, b, geometry, precision)
    if partitioned():
        return getattr(blocks, which)(a, b, geometry, precision)
    problem = Problem.of(which, a, b, geometry, mapped)
    named = lowering != "auto" and unsupported(lowering, problem) is None
    fast = getattr(ALGORITHMS[lowering if named else choose(problem)], which)
    return lax.platform_dependent(
        a,
        b,
        cpu=lambda a, b: fast(a, b, geometry, precision),
        default=lambda a, b: plain(a, b, geometry, precision),
    )


def _static(a: Array, b: Array, geometry: Geometry) -> bool:
    return not any(map(is_symbolic, (*a.shape, *b.shape, *geometry.input_size))) and a.size > 0 and b.size > 0
