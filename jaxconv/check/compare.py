"""One gradient beside the right one: distances in units of the error model, and the row that the report shows.

    units_i = |got_i − right_i| / (guard · u · (|right_i| + spread_i) + uncertainty_i + underflow)   right is at most C

spread is measured (`jaxconv.check.interpret.noisy`), per unit of u. Where u is float64's, guard is 2¹⁰: float64 has
digits to spare, and what is looked for there is algebra. uncertainty is what the right answer itself may be off by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import C, underflow, unit_roundoff
from jaxconv.accuracy.oracle import to_double
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

    @property
    def at(self) -> tuple[int, ...]:
        """The index of the worst element."""
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(self.units)), self.units.shape))

    def but_for(self, forgiven: np.ndarray) -> Found:
        """The same where the `forgiven` elements are right."""
        return self._replace(units=np.where(forgiven, 0.0, self.units))


def worst_of(found: Iterable[Found]) -> Found:
    return max(found, key=lambda each: each.worst)


def doubles(values: Iterable[Any]) -> list[np.ndarray]:
    return [to_double(v) for v in values]


def pooled(spread: np.ndarray) -> np.ndarray:
    """The spread, of few draws and so perhaps too small by accident, raised to what it is on average along an axis.

    Of the axes with 32 positions or more the one with the least average counts; without any, the average of all.
    """
    if not spread.size or not spread.ndim:
        return spread
    square = np.where(np.isfinite(spread), spread, 0.0) ** 2
    lines = [np.broadcast_to(square.mean(axis, keepdims=True), square.shape) for axis in range(square.ndim)]
    long = [line for axis, line in enumerate(lines) if square.shape[axis] >= 32]
    return np.sqrt(np.maximum(square, np.min(long, axis=0) if long else square.mean()))


def floor(dtype: Any, length: int) -> float:
    """What may be lost of a gradient below the smallest normal number: of its own dtype, and of each term of a sum."""
    return max(float(jnp.finfo(dtype).tiny), underflow(dtype, length))


def compare(got: Any, right: Any, spread: np.ndarray, dtype: Any, uncertainty: Any = 0.0, length: int = 1) -> Found:
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
        allowed = guard * u * (size + np.nan_to_num(scale, posinf=1e300)) + uncertainty + floor(dtype, length)
        units = np.abs(got - right) / allowed
        units = np.where(np.isnan(units) | np.isinf(got), np.inf, units)
        over = np.isinf(got) & (size > 0.9 * float(info.max))
        same = np.isinf(right) & ((got == right) | np.isnan(got))
    return Found(got, right, np.where(~np.isfinite(right) & ~np.isinf(right) | over | same, 0.0, units))


def scalar(value: Any) -> Any:
    return np.asarray(value)[()]


def ulp(difference: Any, right: Any, dtype: Any) -> float | None:
    """|difference| in units in the last place of `dtype` at `right`; None where that is 0."""
    info = jnp.finfo(dtype)
    if not right:
        return None
    size = max(float(np.abs(right)), float(info.tiny))
    unit = 2.0 ** np.floor(np.log2(size)) * float(info.eps)
    return float(np.abs(difference)) / unit if np.isfinite(size) else np.inf


def in_ulp(found: Found, spread: Any, dtype: Any) -> float:
    """The largest |got − right| / (ε (|right| + spread)), ε of `dtype`, the spread at most what is typical of right."""
    with np.errstate(all="ignore"):
        judged, known = found.units > 0, np.isfinite(found.right)
        typical = np.sqrt(np.mean(np.abs(found.right[known]) ** 2)) if known.any() else 0.0
        size = np.abs(found.right) + np.minimum(np.nan_to_num(spread), typical)
        off = np.where(judged, np.abs(found.got - found.right) / (float(jnp.finfo(dtype).eps) * size), 0.0)
    return float(np.where(np.isnan(off), np.inf, off).max(initial=0.0))


def digits(found: Found) -> float:
    """To how many digits of the largest element both agree."""
    known = ~np.isnan(found.right)
    with np.errstate(all="ignore"):
        apart = found.got - found.right
    size, off = (np.abs(each[known]).max(initial=0.0) for each in (found.right, apart))
    return float(-np.log10(off / size)) if off and size and np.isfinite(off) else 0.0


def approximated(row: VjpRow, found: Found, spread: Any, allow: float | None) -> VjpRow:
    """The row of a gradient that is off in float64, but by little: a remark, or the cause.

    Right is what is off by `allow` ulp of the input's dtype, and by one of float32 at any rate.
    """
    off, unit = in_ulp(found, spread, row.dtype), max(row.dtype, "float32", key=lambda d: -unit_roundoff(d))
    near = f"approximation: agrees to {digits(found):.1f} digits, {off:.2g} ulp of {row.dtype} off"
    if off <= (allow or 0) or in_ulp(found, spread, unit) <= 1:
        return replace(row, passed=True, verdict=f"right: {near}", wrong=0, pattern=None, cause=None)
    unnamed = row.pattern is None or row.pattern.startswith(("rounded", "one element", "one slice"))
    if row.cause == "algebra" and unnamed and digits(found) >= 5:
        return replace(row, cause="approximation", rerun=f"agrees to {digits(found):.0f} digits; see `allow`")
    return row


def row(
    path: str, x: Any, found: Found, cause: str, method: str, others: dict[str, np.ndarray], own: bool = False
) -> VjpRow:
    """The row of one input. `cause` is what it is put down to where it fails; `own`: compared in its own dtype."""
    size = found.units.size
    common: dict[str, Any] = {"units": found.worst, "method": method, "got_array": found.got}
    common |= {"expected_array": found.right, "units_array": found.units}
    if not size:
        return VjpRow.of(path, x, True, "right: it has no elements", **common)
    got, right = found.got[found.at], found.right[found.at]
    with np.errstate(all="ignore"):
        difference = got - right
    common |= {"index": found.at, "got": scalar(got), "expected": scalar(right), "difference": scalar(difference)}
    common |= {"ulp": ulp(difference, right, x.dtype)}
    if found.worst <= C:
        judged = int((~np.isnan(found.right)).sum())
        if not judged:
            words = "cannot be judged: neither JAX's derivative nor differences of the values say what is right"
            return VjpRow.of(path, x, False, words, refused=True, **common)
        rest = "" if judged == size else f"; {size - judged} of {size} not judged: what is right there is not known"
        return VjpRow.of(path, x, True, f"right: within {found.worst:.2g} units, {C:g} allowed{rest}", **common)
    wrong = int((found.units > C).sum())
    close = 1e-9 if cause == "algebra" and not own else min(32 * unit_roundoff(x.dtype), 1e-4)
    name = pattern(found.got, found.right, found.units > C, others, close)
    if name and name.startswith("rounded"):
        cause = "rounding"
    what = "rounds too much" if cause == "rounding" else "is wrong"
    verdict = f"the gradient {what} in {wrong:,} of {size:,} elements" + (f": {name}" if name else "")
    return VjpRow.of(path, x, False, verdict, wrong=wrong, pattern=name, cause=cause, **common)


def by_directions(path: str, x: Any, found: Any, got_array: np.ndarray, method: str) -> VjpRow:
    """The row of an input whose wrong elements (flat index, got, right) were told from values along directions."""
    k, got, right = max(found, key=lambda w: abs(w[1] - w[2]))
    index = tuple(int(v) for v in np.unravel_index(k, x.shape))
    name = f"one element: {list(index)}" if len(found) == 1 and np.isfinite(got) else None
    verdict = "the gradient is wrong" + (f": {name}" if name else ", as directions that halve show")
    return VjpRow.of(
        path, x, False, verdict, units=np.inf, index=index, got=got, expected=right, difference=got - right,
        wrong=len(found), pattern=name, cause="algebra", rerun="wrong in float64 at precision highest too",
        method=method, got_array=got_array,
    )  # fmt: skip


def named(found: VjpRow, pattern: str | None) -> VjpRow:
    """The row with a `pattern` found later."""
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


def coarse(narrow: Any, pattern: str) -> bool:
    """Whether the rule passes through a dtype as coarse as the one that `pattern` ends in: "rounded as in float16"."""
    return narrow is None or unit_roundoff(narrow) >= unit_roundoff(pattern.split()[-1])


def rule_itself(found: VjpRow, narrow: Any, within: Callable[[Any], bool], wrong: str) -> VjpRow:
    """The row of a rule that is off at precision highest: it rounds by itself, to `narrow` perhaps, or is `wrong`.

    `within(narrow)`: whether its gradients are right for that dtype.
    """
    coarse = narrow and unit_roundoff(narrow) > unit_roundoff(found.dtype)
    if found.pattern is None and coarse and within(narrow):
        found = replace(named(found, f"rounded as in {narrow}"), cause="rounding")
    itself = found.cause == "rounding"
    return replace(found, rerun="at precision highest too: the rule itself rounds" if itself else wrong)
