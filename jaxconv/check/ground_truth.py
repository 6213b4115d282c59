"""What is right: JAX's derivative, in float64, of the reference or of the function without its rule; else differences.

Beside it the spread, per unit of u: what rounding in the course of the same derivative may cost each element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import unit_roundoff
from jaxconv.accuracy.oracle import to_double
from jaxconv.check import numeric
from jaxconv.check.call import Subject, grads_of, noisy_pull, outputs, program, pull, pull_each, push, shaken_pull
from jaxconv.check.compare import doubles
from jaxconv.check.interpret import narrowest
from jaxconv.terminal.progress import step

NOISE = 2.0**-26  # small enough to be linear, large enough to drown float64's own rounding
LARGE = 200_000  # elements from which fewer draws are made
Run = tuple[Sequence[Any], Sequence[Any]]  # values and gradients


class Truth(NamedTuple):
    """grads[c][i] of cotangent c and input i; None with a method where only single directions can be had."""

    grads: list[list[np.ndarray]] | None
    values: list[np.ndarray] | None
    method: str
    call: Subject | None
    uncertainty: list[list[Any]] | None = None
    dtype: Any = np.float64  # the coarsest that it passes through


def to_x64(values: Sequence[Any]) -> list[Any]:
    """As float64 or complex128, inside ``jax.enable_x64(True)``."""
    return [jax.device_put(v) for v in doubles(values)]


def size_of(xs: Sequence[Any]) -> int:
    return sum(int(np.size(x)) for x in xs)


def by_jax(call: Subject, xs: Any, data: Any, cotangents: Any, method: str) -> Truth:
    """JAX's own derivative of `call`, in whatever precision the arguments have."""
    runs = pull_each(pull, call, xs, data, cotangents, "JAX's derivative")
    dtype = narrowest(program(call, xs, data, cotangents[0]).jaxpr)
    return Truth(grads_of(runs), doubles(runs[0][0]), method, call, None, dtype)


def confirmed(call: Subject, bare: Subject, xs: Any, data: Any, random: np.random.Generator, directions: int) -> bool:
    """Whether differences of f's values agree with JAX's derivative of f without its rule, along random directions."""
    at = doubles(xs)
    for _ in range(directions):
        step("differences of the values")
        vs = [direction(x, random) for x in at]
        exact = doubles(push(bare, xs, data, [jnp.asarray(v) for v in vs]))
        found, error = numeric.directional(values_of(call, data), at, vs)
        for a, b, e in zip(exact, found, error, strict=True):
            typical = np.sqrt(np.mean(np.abs(a) ** 2)) if a.size else 0.0
            bad = ~(np.abs(a - b) <= 10 * e + 1e-6 * (np.abs(a) + typical))
            if bad.mean() > 0.01 if bad.size else False:
                return False
    return True


def direction(x: Any, random: np.random.Generator) -> np.ndarray:
    """Normal numbers of the shape of x, an array or what one looks like; complex where x is."""
    v = random.standard_normal(x.shape)
    return v + 1j * random.standard_normal(x.shape) if np.iscomplexobj(x) else v


def without_reference(
    call: Subject, xs: Any, data: Any, cotangents: Any, random: np.random.Generator, directions: int, differences: bool
) -> Truth | None:
    """The best that can be had: see the module; None where that is differences and they are not wanted."""
    bare = replace(call, bare=True)
    count = min(directions, 4) if size_of(xs) < LARGE else 1
    try:
        coarse = narrowest(program(bare, xs, data, cotangents[0]).jaxpr)
        if unit_roundoff(coarse) > 1e-6:  # its values are steps: differences say nothing
            method = f"JAX's derivative of the function without its rule; it passes through {coarse}"
            return by_jax(bare, xs, data, cotangents, method)
        if confirmed(call, bare, xs, data, random, count):
            method = "JAX's derivative of the function without its rule, in float64"
            method += f", confirmed by differences of its values along {count} random direction{'s' * (count > 1)}"
            truth = by_jax(bare, xs, data, cotangents, method)
            if all(np.isfinite(g).all() for grads in truth.grads or [] for g in grads):
                return truth
    except Exception:  # whatever stands in the way of JAX's derivative, values can still be had
        bare = call
    if not differences:
        return None
    at, values = doubles(xs), doubles(outputs(call, xs, data))
    if len(numeric.basis(at)) > numeric.FULL:
        return Truth(None, values, f"differences of its float64 values along {directions} random directions", None)
    grads, errors = numeric.gradient(values_of(call, data), at, [doubles(g) for g in cotangents])
    return Truth(grads, values, "differences of its float64 values, extrapolated, element by element", None, errors)


def values_of(call: Subject, data: Any) -> numeric.Values:
    return lambda at: doubles(outputs(call, [jnp.asarray(x) for x in at], data))


def along_directions(
    call: Subject, xs: Any, data: Any, i: int, g: Any, grad: np.ndarray, random: np.random.Generator, directions: int
) -> list[tuple[int, float, float]]:
    """The wrong elements of one gradient, told from values alone; empty where every direction agrees."""
    at, g = doubles(xs), doubles(g)
    for _ in range(directions):
        v = direction(at[i], random)
        vs = [v if k == i else np.zeros_like(x) for k, x in enumerate(at)]
        d, off = numeric.directional(values_of(call, data), at, vs)
        if not abs(numeric.pairing([grad], [v]) - numeric.pairing(g, d)) <= numeric.tolerance(g, d, off, grad, v):
            return numeric.bisect(values_of(call, data), at, i, g, grad, v) or [(0, np.nan, np.nan)]
    return []


def spreads(
    call: Subject, xs: Any, data: Any, cotangents: Any, exact: Any, draws: int, u: float = NOISE
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Root of the mean square deviation of the values and of every gradient under noise, per unit of u.

    `exact` holds, for every cotangent, the values and the gradients without noise.
    """

    def pair(k: int) -> tuple[Run, Run]:
        step("what rounding may cost")
        c = k % len(cotangents)
        return noisy_pull(call, xs, data, cotangents[c], k, u), exact[c]

    try:
        return _deviations(pair, draws, u)
    except Exception:  # a primitive that cannot be run by itself: the inputs alone are disturbed, by the caller
        return None


def of_constants(call: Subject, xs: Any, data: Any, cotangents: Any, i: int) -> np.ndarray | float:
    """Root of the mean square deviation of gradient i where constants are known to float32 only; 0 without any."""

    def pair(k: int) -> tuple[Run, Run]:
        g = cotangents[k % len(cotangents)]
        return shaken_pull(call, xs, data, g, k, unit_roundoff(jnp.float32)), pull(call, xs, data, g)

    try:
        return _deviations(pair, 6)[1][i]
    except Exception:  # as in `spreads`
        return 0.0


def spreads_of_inputs(
    call: Subject, xs: Any, data: Any, cotangents: Any, draws: int, dtype: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """As `spreads`, with inputs and cotangents alone disturbed, in their own dtype."""
    u = 4 * unit_roundoff(dtype)
    random = np.random.default_rng(0)

    def disturbed(values: Any) -> list[Any]:
        return [
            jnp.asarray(to_double(v) * (1 + u * random.choice([-1, 1], np.shape(v)))).astype(v.dtype) for v in values
        ]

    def pair(k: int) -> tuple[Run, Run]:
        g = cotangents[k % len(cotangents)]
        return pull(call, disturbed(xs), data, disturbed(g)), pull(call, xs, data, g)

    return _deviations(pair, draws, u)


def _deviations(
    pair: Callable[[int], tuple[Run, Run]], draws: int, u: float = 1.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Root of the mean square of what the two runs of each pair are apart, per unit of u: of every value and gradient.

    By hypot, since the squares of large float64 overflow.
    """
    total: list[list[np.ndarray]] = [[], []]
    for k in range(draws):
        for kept, new, old in zip(total, *pair(k), strict=True):
            off = [np.abs(to_double(a) - to_double(b)) for a, b in zip(new, old, strict=True)]
            kept[:] = [np.hypot(a, b) for a, b in zip(kept, off, strict=True)] if kept else off
    values, grads = ([each / np.sqrt(draws) / u for each in kept] for kept in total)
    return values, grads


def own_dtype(xs: Sequence[Any]) -> Any:
    """The coarsest dtype among the inputs."""
    return max((x.dtype for x in xs), key=lambda dtype: float(jnp.finfo(dtype).eps))
