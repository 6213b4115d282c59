"""Which algorithm serves a call: what must serve it, what was measured of it, or what is estimated to be fastest.

    required    an algorithm that a call needs to be right, or to exchange little between devices; no other is asked
    wisdom      seconds measured of this very problem on this machine, where `jaxconv tune` has measured it
    estimates   seconds by `cost`, from coefficients fitted to measurements

The choice is made while tracing, from static facts. Calls with a symbolic size or without an image have the reference,
and so has every call on a GPU or a TPU that names no algorithm: nothing else was measured there. An exported function
carries both, and its platform picks (`lax.platform_dependent`).
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

import jax
from jax import Array, lax

from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms import blocks, canonical, cost, direct, gemm, onednn, patches, planes, reference, taps
from jaxconv.algorithms.measured import wisdom
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import Map
from jaxconv.sizes.arguments import is_symbolic
from jaxconv.sizes.geometry import Geometry

# Each is a module: the maps that it has, by name, and `unsupported(problem)`, why it cannot serve a call, or None.
ALGORITHMS: dict[str, ModuleType] = {
    "reference": reference,
    "canonical": canonical,
    "gemm": gemm,
    "planes": planes,
    "patches": patches,
    "taps": taps,
    "direct": direct,
    "blocks": blocks,
    "onednn": onednn,
}
Lowering = str  # "auto", or a name of these


def unsupported(name: str, problem: Problem) -> str | None:
    """Why this algorithm cannot serve a call; None if it can."""
    there = hasattr(ALGORITHMS[name], problem.which)
    return ALGORITHMS[name].unsupported(problem) if there else f"it has no {problem.which}"


def required(problem: Problem) -> str | None:
    """The algorithm that must serve a call, whatever its speed; None if the fastest may."""
    if problem.partitioned:
        # Loops over an axis that lies on several devices would gather it. lax's own convolution is cut up wrongly where
        # output channels and rows lie over two mesh axes (JAX 0.10.2 and 0.12.0.1), and gathers where it is grouped.
        # Blocks have a line for every tap: long kernels are left to lax, whose rows must then not lie so.
        return "canonical" if problem.long else "blocks"
    if problem.mapped:
        return "gemm"  # one product of all examples' patches: lax's own dw would be grouped, and take minutes
    return None


def estimates(problem: Problem) -> dict[str, float]:
    """Seconds that each algorithm takes, as estimated, of those that can serve a call."""
    return {name: time for name, time in cost.seconds(problem).items() if unsupported(name, problem) is None}


def measured(problem: Problem) -> dict[str, float]:
    """Seconds that each algorithm took on this machine, of those that can serve a call; none without wisdom."""
    known = wisdom.lookup(problem) or {}
    return {name: time for name, time in known.items() if name in ALGORITHMS and unsupported(name, problem) is None}


def choose(problem: Problem) -> str:
    """The algorithm that serves a call: argmin of its seconds, as measured on this machine or else as estimated."""
    if name := required(problem):
        return name
    times = measured(problem) or estimates(problem)
    return min(times, key=times.__getitem__, default="reference")


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
    """The map by the algorithm that serves it; jitted, so that it is traced once for a value and its derivative.

    Where an algorithm named for the value cannot serve this derivative of it, the choice is automatic.
    """
    plain = getattr(reference, which)
    if lowering == "reference" or not _static(a, b, geometry):
        return plain(a, b, geometry, precision)
    problem = Problem.of(which, a, b, geometry, mapped)
    lowering = "blocks" if lowering == "gemm" and problem.partitioned else lowering  # the same products
    named = lowering != "auto" and unsupported(lowering, problem) is None
    name = lowering if named else choose(problem)
    fast = getattr(ALGORITHMS[name], which)
    if named and name != "onednn":  # which a CPU alone has
        return fast(a, b, geometry, precision)
    here, elsewhere = (lambda a, b, f=f: f(a, b, geometry, precision) for f in (fast, plain))
    return lax.platform_dependent(a, b, cpu=here, default=elsewhere)


def _static(a: Array, b: Array, geometry: Geometry) -> bool:
    """Whether every size is a number, and none is zero: tiles are cut while tracing, and an empty batch has none."""
    return not any(map(is_symbolic, (*a.shape, *b.shape, *geometry.input_size))) and a.size > 0 and b.size > 0
