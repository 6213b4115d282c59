"""One gradient beside the right one: distances in units of the error model, and the row that the report shows.

    units_i = |got_i − right_i| / (guard · u · (|right_i| + spread_i) + apart_i + underflow)   right is at most C

spread is measured (`jaxconv.check.interpret.noisy`), per unit of u. Where u is float64's, guard is 2¹⁰: float64 has
digits to spare, and what is looked for there is algebra. apart is what the right answer itself may be off by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import C, underflow, unit_roundoff
from jaxconv.check.faces.report import VjpRow
from jaxconv.check.patterns import pattern

GUARD = 2.0**10


class Found(NamedTuple):
    """One gradient, the right one, and how far apart they are."""

    got: np.ndarray
    right: np.ndarray
    units: np.ndarray

    @property
    def worst(self) -> float:
        return float(self.units.max()) if self.units.size else 0.0


def to_double(value: Any) -> np.ndarray:
    """As float64 or complex128 of NumPy."""
    value = np.asarray(value)
    return value.astype(np.complex128 if jnp.issubdtype(value.dtype, jnp.complexfloating) else np.float64)


def pooled(spread: np.ndarray) -> np.ndarray:
    """A spread drawn a few times may be small by accident: no element is surer than the surest line through it."""
    if not spread.size or not spread.ndim:
        return spread
    square = np.where(np.isfinite(spread), spread, 0.0) ** 2
    lines = [np.broadcast_to(square.mean(axis, keepdims=True), square.shape) for axis in range(square.ndim)]
    long = [line for axis, line in enumerate(lines) if square.shape[axis] >= 32] or [
        np.full_like(square, square.mean())
    ]
    return np.sqrt(np.maximum(square, np.min(long, axis=0)))


def floor(dtype: Any, length: int) -> float:
    """What may be lost of a gradient below the smallest normal number: of its own dtype, and of each term of a sum."""
    return max(float(jnp.finfo(dtype).tiny), underflow(dtype, length))


def compare(got: Any, right: Any, spread: np.ndarray, dtype: Any, apart: Any = 0.0, length: int = 1) -> Found:
    """Distances of a gradient computed in `dtype`, whose longest sum has `length` terms.

    An element where the right one is no number is not judged.
    """
    got, right = to_double(got), to_double(right)
    u, info = unit_roundoff(dtype), jnp.finfo(dtype)
    exact = u < 1e-15
    guard = GUARD if exact else 1.0
    scale = spread if exact else pooled(spread)
    with np.errstate(all="ignore"):
        size = np.abs(right)
        allowed = guard * u * (size + np.nan_to_num(scale, posinf=1e300)) + np.asarray(apart) + floor(dtype, length)
        units = np.abs(got - right) / allowed
        units = np.where(np.isnan(units) | np.isinf(got), np.inf, units)
        over = np.isinf(got) & (size > 0.9 * float(info.max))
        same = np.isinf(got) & np.isinf(right) & (got == right)
    return Found(got, right, np.where(~np.isfinite(right) & ~np.isinf(right) | over | same, 0.0, units))


def scalar(value: Any) -> Any:
    return np.asarray(value)[()]


def ulp(difference: Any, right: Any, dtype: Any) -> float:
    """|difference| in units in the last place of `dtype` at `right`."""
    info = jnp.finfo(dtype)
    size = max(float(np.abs(right)), float(info.tiny))
    return (
        float(np.abs(difference)) / (2.0 ** np.floor(np.log2(size)) * float(info.eps)) if np.isfinite(size) else np.inf
    )


def row(
    path: str, x: Any, found: Found, cause: str, method: str, others: dict[str, np.ndarray], own: bool = False
) -> VjpRow:
    """The row of one input. `cause` is what it is put down to where it fails; `own`: compared in its own dtype."""
    passed, size = found.worst <= C, found.units.size
    shape, dtype = tuple(x.shape), str(x.dtype)
    common: dict[str, Any] = {"units": found.worst, "size": size, "method": method, "got_array": found.got}
    common |= {"expected_array": found.right, "units_array": found.units}
    if not size:
        return VjpRow(path, shape, dtype, True, "right: it has no elements", **common)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(found.units)), found.units.shape))
    got, right = found.got[index], found.right[index]
    with np.errstate(all="ignore"):
        difference = got - right
    common |= {"index": index, "got": scalar(got), "expected": scalar(right), "difference": scalar(difference)}
    common |= {"ulp": ulp(difference, right, x.dtype)}
    if passed:
        judged = int(np.isfinite(found.right).sum())
        rest = "" if judged == size else f"; {size - judged} of {size} not judged: JAX's derivative is no number there"
        return VjpRow(path, shape, dtype, True, f"right: within {found.worst:.2g} units, {C:g} allowed{rest}", **common)
    wrong = int((found.units > C).sum())
    close = 1e-9 if cause == "algebra" and not own else min(32 * unit_roundoff(x.dtype), 1e-4)
    name = pattern(found.got, found.right, found.units > C, others, close)
    if name and name.startswith("rounded"):
        cause = "rounding"
    what = "rounds too much" if cause == "rounding" else "is wrong"
    verdict = f"the gradient {what} in {wrong:,} of {size:,} elements" + (f": {name}" if name else "")
    return VjpRow(path, shape, dtype, False, verdict, wrong=wrong, pattern=name, cause=cause, **common)


def named(found: VjpRow, pattern: str | None) -> VjpRow:
    return replace(found, pattern=pattern, verdict=f"{found.verdict}: {pattern}") if pattern else found


def measured(by_jax: Any, answers: Any, i: int) -> np.ndarray | float:
    """What JAX's own derivative is off by in the same dtype: its root mean square, and at each element."""
    largest: np.ndarray | float = 0.0
    for grads, right in zip(by_jax or [], answers, strict=False):
        with np.errstate(all="ignore"):
            off = np.abs(grads[i] - right[i])
        finite = np.where(np.isfinite(off), off, 0.0)
        largest = np.maximum(largest, np.maximum(finite, np.sqrt(np.mean(finite**2)) if finite.size else 0.0))
    return largest
