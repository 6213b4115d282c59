"""In what way a gradient is wrong: hypotheses, simplest first; the first that explains every element is named.

A hypothesis is a function of (got, right, wrong), `wrong` the mask of elements outside, that returns words or None.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from itertools import permutations

import jax.numpy as jnp
import numpy as np

Array = np.ndarray
# Of the largest element: hypotheses are tried on float64 results where there are any, else once more with what float32
# keeps.
CLOSE: ContextVar[float] = ContextVar("jaxconv_check_close", default=1e-9)


def near(a: Array, b: Array) -> bool:
    """Whether b explains a: equal but for rounding."""
    if a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        return False
    return bool(np.abs(a - b).max() <= CLOSE.get() * max(np.abs(b).max(), 1e-300))


def no_number(got: Array, right: Array, wrong: Array) -> str | None:
    bad = ~np.isfinite(got) & np.isfinite(right)
    if not bad.any():
        return None
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
    what = "NaN" if np.isnan(got[first]) else "inf"
    return f"{what} in {bad.sum():,} elements, the first at {list(first)}"


def zero(got: Array, right: Array, wrong: Array) -> str | None:
    return "zero: nothing comes back" if not got.any() else None


def sign(got: Array, right: Array, wrong: Array) -> str | None:
    return "sign: all of the other sign" if near(got, -right) else None


def conjugated(got: Array, right: Array, wrong: Array) -> str | None:
    return "conjugated" if np.iscomplexobj(right) and near(got, right.conj()) else None


def one_part(got: Array, right: Array, wrong: Array) -> str | None:
    """Of complex numbers only the real or only the imaginary part comes back."""
    if not np.iscomplexobj(right):
        return None
    if near(got, right.real + 0j):
        return "the imaginary part is missing"
    return "the real part is missing" if near(got, 1j * right.imag) else None


def phase(got: Array, right: Array, wrong: Array) -> str | None:
    if not np.iscomplexobj(right) or not near(np.abs(got) + 0j, np.abs(right) + 0j):
        return None
    return "right in size, not in phase: a conjugate too many or missing inside"


def one_element(got: Array, right: Array, wrong: Array) -> str | None:
    if wrong.sum() != 1 or wrong.size == 1:
        return None
    return f"one element: {[int(i) for i in np.argwhere(wrong)[0]]}"


def _factor(value: complex) -> str:
    """1 + 3e-07 where six digits would say 1."""
    return f"1 {'+' if value.real > 1 else '-'} {abs(value - 1):.2g}" if 0 < abs(value - 1) < 1e-5 else f"{value:.6g}"


def factor(got: Array, right: Array, wrong: Array) -> str | None:
    with np.errstate(all="ignore"):
        ratio = np.vdot(right, got) / np.vdot(right, right)
    if wrong.size < 2 or not near(got, ratio * right):
        return None
    value = ratio if np.iscomplexobj(right) and abs(ratio.imag) > 1e-9 * abs(ratio) else ratio.real
    return f"all by one factor: {_factor(value)}"


def clipped(got: Array, right: Array, wrong: Array) -> str | None:
    if np.iscomplexobj(right) or got.size < 2:
        return None
    bound = np.abs(got).max()
    held = np.abs(right) > bound
    return f"clipped at {bound:.6g}" if held.any() and near(got, np.clip(right, -bound, bound)) else None


def flipped(got: Array, right: Array, wrong: Array) -> str | None:
    for axis in range(right.ndim):
        if right.shape[axis] > 1 and near(got, np.flip(right, axis)):
            return f"flipped along axis {axis}"
    if right.ndim > 1 and near(got, np.flip(right)):
        return "flipped along every axis"
    for k in range(2, right.ndim):
        if near(got, np.flip(right, tuple(range(k, right.ndim)))):
            return f"flipped along axes {', '.join(map(str, range(k, right.ndim)))}"
    return None


def transposed(got: Array, right: Array, wrong: Array) -> str | None:
    if not 2 <= right.ndim <= 5:
        return None
    for order in permutations(range(right.ndim)):
        if order == tuple(range(right.ndim)):
            continue
        permuted = right.transpose(order)
        if near(got, permuted):
            return "transposed" if right.ndim == 2 else f"transposed: axes {order}"
        if permuted.shape != got.shape and near(got, permuted.reshape(got.shape)):
            return f"transposed, then reshaped: axes {order}"
    return None


def shifted(got: Array, right: Array, wrong: Array) -> str | None:
    for axis in range(right.ndim):
        n = right.shape[axis]
        for step in (1, -1, 2, -2):
            if n <= abs(step) + 1:
                continue
            moved = np.roll(right, step, axis)
            inside = np.take(np.arange(n), range(max(step, 0), n + min(step, 0)))
            if near(got, moved) or near(np.take(got, inside, axis), np.take(moved, inside, axis)):
                return f"shifted by {step} along axis {axis}"
    return None


def axis_sums(got: Array, right: Array, wrong: Array) -> str | None:
    """Every position of an axis holds the axis' sum or mean; or one position of what should be summed."""
    for axis in range(right.ndim):
        if right.shape[axis] < 2:
            continue
        total = right.sum(axis, keepdims=True)
        if near(got, np.broadcast_to(total, right.shape)):
            return f"summed over axis {axis}"
        if near(got, np.broadcast_to(total / right.shape[axis], right.shape)):
            return f"averaged over axis {axis}"
        with np.errstate(all="ignore"):
            removed = got - right
        if near(removed, np.broadcast_to(-total / right.shape[axis], right.shape)):
            return f"its mean over axis {axis} taken away"
        if near(right, got - got.mean(axis, keepdims=True)):
            return f"its mean over axis {axis} not taken away: a term is missing"
    return None


def part(got: Array, right: Array, wrong: Array) -> str | None:
    """The wrong elements fill some positions of one axis: a slice, an edge, a half."""
    if wrong.all():
        return None
    found: list[tuple[float, str]] = []
    for axis in range(wrong.ndim):
        n = wrong.shape[axis]
        held = wrong.any(tuple(a for a in range(wrong.ndim) if a != axis))
        at = np.flatnonzero(held)
        if n < 2 or len(at) == n or wrong.take(at, axis).mean() < 0.5:
            continue
        how = ", zero there" if not got[wrong].any() else ""
        if len(at) == 1:
            k = int(at[0])
            last = "column" if axis == wrong.ndim - 1 else "row" if axis == wrong.ndim - 2 else ""
            edge = f"last {last}: " if k == n - 1 and last else f"first {last}: " if k == 0 and last else ""
            words = f"{edge}one slice: index {k} of axis {axis}{how}"
        elif at[-1] - at[0] + 1 == len(at):
            words = f"slices {at[0]} to {at[-1]} of axis {axis}{how}"
        else:
            continue
        found.append((len(at) / n, words))
    return min(found)[1] if found else None


def rounded(got: Array, right: Array, wrong: Array) -> str | None:
    """Errors of both signs, no larger than a coarser dtype makes, and as large as that."""
    with np.errstate(all="ignore"):
        typical = np.sqrt(np.mean(np.abs(right) ** 2))
        error = (got - right) / np.maximum(np.abs(right), typical)
        mean, rms, worst = abs(np.mean(error)), np.sqrt(np.mean(np.abs(error) ** 2)), np.abs(error).max()
    if error.size < 4 or not np.isfinite(worst) or mean > 0.5 * rms:
        return None
    for name in ("float32", "float16", "bfloat16"):
        u = float(jnp.finfo(name).eps) / 2
        if 0.02 * u < rms < 2 * u and worst < 8 * u:
            return f"rounded as in {name}"
    return None


def offset(got: Array, right: Array, wrong: Array) -> str | None:
    difference = got - right
    mean = difference.mean()
    with np.errstate(all="ignore"):
        even = np.abs(difference - mean).max() <= 1e-6 * abs(mean)
    return f"a constant added: {mean.real:.6g}" if wrong.size > 1 and even else None


def line_factor(got: Array, right: Array, wrong: Array) -> str | None:
    """A factor that varies along one axis alone."""
    for axis in range(right.ndim):
        others = tuple(a for a in range(right.ndim) if a != axis)
        if right.shape[axis] < 2 or right.size == right.shape[axis]:
            continue
        with np.errstate(all="ignore"):
            ratio = (right.conj() * got).sum(others, keepdims=True) / (np.abs(right) ** 2).sum(others, keepdims=True)
        if near(got, ratio * right):
            return f"by a factor that varies along axis {axis}"
    return None


def element_factor(got: Array, right: Array, wrong: Array) -> str | None:
    """The wrong elements alone are off by one factor."""
    if wrong.sum() < 2 or wrong.all():
        return None
    with np.errstate(all="ignore"):
        ratio = got[wrong] / right[wrong]
        even = np.abs(ratio - ratio[0]).max() <= 1e-6 * abs(ratio[0])
    return f"{wrong.sum():,} elements by one factor: {ratio.real[0]:.6g}" if even and ratio[0] else None


HYPOTHESES: tuple[Callable[[Array, Array, Array], str | None], ...] = (
    no_number, zero, sign, conjugated, one_part, one_element, factor, phase, clipped, flipped, transposed, shifted,
    axis_sums, offset, part, line_factor, element_factor, rounded,
)  # fmt: skip


def pattern(
    got: Array, right: Array, wrong: Array, others: dict[str, Array] | None = None, close: float = 1e-9
) -> str | None:
    """In what way `got` is not `right`.

    Args:
        got, right: the two gradients, float64 or complex128, of one shape.
        wrong: which elements are outside.
        others: the right gradients of the other inputs, by name: arguments get swapped.
        close: where nothing explains them to nine digits: how near is near enough, of the largest element.

    >>> pattern(np.array([2.0, 4.0]), np.array([1.0, 2.0]), np.array([True, True]))
    'all by one factor: 2'
    """
    words = _pattern(got, right, wrong, others)
    if close <= 1e-9 or not (words is None or words.startswith("rounded")):
        return words
    token = CLOSE.set(close)
    try:
        return _pattern(got, right, wrong, others) or words
    finally:
        CLOSE.reset(token)


def _pattern(got: Array, right: Array, wrong: Array, others: dict[str, Array] | None) -> str | None:
    with np.errstate(all="ignore"):
        first = next(filter(None, (hypothesis(got, right, wrong) for hypothesis in HYPOTHESES)), None)
        if first and not first.startswith(("by a factor", "rounded")):
            return first
        for name, other in (others or {}).items():
            if other.shape == got.shape and near(got, other):
                return f"swapped: the gradient of {name}"
            for axis in range(other.ndim):
                if other.shape[:axis] + other.shape[axis + 1 :] == got.shape and near(got, other.take(0, axis)):
                    return f"broadcast sum missing: the first slice along axis {axis} of the gradient of {name}"
        return first
