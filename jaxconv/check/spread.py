"""The spread: what rounding in the course of a derivative may cost each element of it, per unit of u.

    spread_i = √(mean_k |grad_i(noise_k) − grad_i|²) / u

It is bounded where noise leaves a branch, as that of (xᵃ⁺¹ − 1)/(a + 1) at a = −1: the deviation there says nothing of
rounding, since it does not shrink with the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import unit_roundoff
from jaxconv.accuracy.oracle import to_double
from jaxconv.check.call import Subject
from jaxconv.check.runs import noisy_draws, pull, pull_each, shaken_pull

NOISE = 2.0**-26  # small enough to be linear, large enough to drown float64's own rounding
FINER = 2.0**-12  # of it: shows whether a deviation is linear in the noise
LIMIT = 16  # times what is typical of a gradient: no rule may round more
Run = tuple[Sequence[Any], Sequence[Any]]  # values and gradients


class Spread(NamedTuple):
    """Of every value and every gradient, per unit of u; `jumps` says where noise leaves a branch."""

    values: list[np.ndarray]
    grads: list[np.ndarray]
    jumps: list[np.ndarray]


def spreads(
    call: Subject, xs: Any, data: Any, cotangents: Any, exact: Any, draws: int, u: float = NOISE
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Root of the mean square deviation of the values and of every gradient under noise, per unit of u.

    `exact` holds, for every cotangent, the values and the gradients without noise. A negative u leaves the inputs.
    """

    def pair(k: int) -> tuple[Run, Run]:
        return runs[k], exact[k % len(cotangents)]

    try:
        runs = noisy_draws(call, xs, data, cotangents, draws, u)
        return _deviations(pair, draws, abs(u))
    except Exception:  # a primitive that cannot be run by itself: the inputs alone are disturbed, by the caller
        return None


def steady(call: Subject, xs: Any, data: Any, cotangents: Any, exact: Any, draws: int) -> Spread | None:
    """As `spreads`; where noise leaves a branch, of the noise that leaves the inputs, at most `LIMIT`."""
    found = spreads(call, xs, data, cotangents, exact, draws)
    if found is None:
        return None
    values, grads = found
    most = [0.01 / NOISE * typical(g) for g in exact[0][1]]
    wild = [~(s <= m) for s, m in zip(grads, most, strict=True)]
    if not any(w.any() for w in wild):
        return Spread(values, grads, wild)
    few = max(draws // 2, 4)
    finer = spreads(call, xs, data, cotangents, exact, few, NOISE * FINER)
    held = spreads(call, xs, data, cotangents, exact, few, -NOISE)
    if finer is None or held is None:
        return Spread(values, grads, wild)
    jumps = [w & ~(b <= a / FINER / 64) for w, a, b in zip(wild, grads, finer[1], strict=True)]
    bound = [LIMIT * typical(g) for g in exact[0][1]]
    least = [np.where(h <= m, h, b) for h, m, b in zip(held[1], most, bound, strict=True)]
    finite = [
        np.where(np.isfinite(a), a, np.where(np.isfinite(b), b, c))
        for a, b, c in zip(grads, finer[1], bound, strict=True)
    ]
    return Spread(values, [np.where(j, p, q) for j, p, q in zip(jumps, least, finite, strict=True)], jumps)


def typical(values: Any) -> float:
    """Root of the mean square of what is finite."""
    values = to_double(values)
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(np.abs(known) ** 2))) if known.size else 0.0


def of_constants(call: Subject, xs: Any, data: Any, cotangents: Any, i: int) -> np.ndarray | float:
    """Root of the mean square deviation of gradient i where constants are known to float32 only; 0 without any."""

    def pair(k: int) -> tuple[Run, Run]:
        g = cotangents[k % len(cotangents)]
        return shaken_pull(call, xs, data, g, k, unit_roundoff(jnp.float32)), quiet[k % len(cotangents)]

    try:
        quiet = pull_each(pull, call, xs, data, cotangents[:6], "constants")
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
        return pull(call, disturbed(xs), data, disturbed(g)), quiet[k % len(cotangents)]

    quiet = pull_each(pull, call, xs, data, cotangents[:draws], "what rounding may cost")
    return _deviations(pair, draws, u)


def _deviations(
    pair: Callable[[int], tuple[Run, Run]], draws: int, u: float = 1.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Root of the mean square of what the two runs of each pair are apart, per unit of u: of every value and gradient.

    By hypot, since the squares of large float64 overflow. 0 where the second run has no number, infinite where the
    first alone has none.
    """
    total: list[list[np.ndarray]] = [[], []]
    for k in range(draws):
        for kept, new, old in zip(total, *pair(k), strict=True):
            off = [_apart(to_double(a), to_double(b)) for a, b in zip(new, old, strict=True)]
            kept[:] = [np.hypot(a, b) for a, b in zip(kept, off, strict=True)] if kept else off
    values, grads = ([each / np.sqrt(draws) / u for each in kept] for kept in total)
    return values, grads


def _apart(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(old), np.nan_to_num(np.abs(new - old), nan=np.inf, posinf=np.inf), 0.0)
