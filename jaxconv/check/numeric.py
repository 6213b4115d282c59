"""Derivatives from values alone: central differences in float64, extrapolated to step 0 (Richardson, Ridders).

    D(h) = (f(x + h v) − f(x − h v)) / 2h = f'(x) v + a h² + b h⁴ + …
    T[k, j] = T[k, j−1] + (T[k, j−1] − T[k−1, j−1]) / (16ʲ − 1)         for steps h, h/4, h/16, …

The entry whose neighbours are nearest is taken, element by element, and their distance is its error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxconv.accuracy.oracle import to_double

Values = Callable[[list[np.ndarray]], list[np.ndarray]]
LEVELS = 9
FULL = 400  # real inputs up to which the whole Jacobian is computed


def scales(x: np.ndarray) -> np.ndarray:
    """How far each element may be moved: its own size; where it is 0, the largest one's; 0 where it is no number."""
    size = np.where(np.isfinite(x), np.abs(x), 0.0)
    return np.where(size > 0, size, np.where(np.isfinite(x), max(size.max(initial=0.0), 1e-3), 0.0))


def directional(
    f: Values, xs: list[np.ndarray], vs: list[np.ndarray], factor: float = 1.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """f'(x) v for every output, and its error: from one side where f has no value on the other.

    No element is moved by more than `factor` / 20 of its size; one that is no number stays.
    """
    vs = [np.where(np.isfinite(x), v, 0) for x, v in zip(xs, vs, strict=True)]
    pairs = zip(xs, vs, strict=True)
    h = (
        0.05
        * factor
        * min((float((scales(x)[v != 0] / np.abs(v[v != 0])).min()) for x, v in pairs if v.any()), default=1)
    )
    best, error = _extrapolated(f, xs, vs, h, 0)
    for side in (1, -1):
        if all(np.isfinite(e).all() for e in error):
            break
        more, off = _extrapolated(f, xs, vs, h, side)
        lost = [~np.isfinite(e) for e in error]
        best = [np.where(where, new, old) for where, new, old in zip(lost, more, best, strict=True)]
        error = [np.where(where, new, old) for where, new, old in zip(lost, off, error, strict=True)]
    return best, error


def _extrapolated(
    f: Values, xs: list[np.ndarray], vs: list[np.ndarray], h: float, side: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Differences with steps to both sides (`side` 0) or to one, whose error goes with h, not h²."""
    moved = lambda by: [x + by * v for x, v in zip(xs, vs, strict=True)]  # noqa: E731
    steps = [h / 4.0**k for k in range(LEVELS)]
    ups = at_all(f, [moved(side * step if side else step) for step in steps])
    downs = [f(xs)] * LEVELS if side else at_all(f, [moved(-step) for step in steps])
    lost = getattr(f, "roundoff", 1e-16)
    ratio, table = (4.0, 16.0)[not side], []  # type: ignore[var-annotated]
    best: list[np.ndarray] = []
    error: list[np.ndarray] = []
    for k, (step, up, down) in enumerate(zip(steps, ups, downs, strict=True)):
        gap = side * step if side else 2 * step
        with np.errstate(all="ignore"):
            line = [[(a - b) / gap for a, b in zip(up, down, strict=True)]]
            # What is lost in the difference.
            floor = [4 * lost * (np.abs(a) + np.abs(b)) / abs(gap) for a, b in zip(up, down, strict=True)]
            for j in range(1, k + 1):
                line.append(
                    [p + (p - q) / (ratio**j - 1) for p, q in zip(line[j - 1], table[k - 1][j - 1], strict=True)]
                )
                for i, (new, p, q) in enumerate(zip(line[j], line[j - 1], table[k - 1][j - 1], strict=True)):
                    off = np.maximum(np.abs(new - p), np.abs(new - q)) + floor[i]
                    better = off < error[i]
                    best[i], error[i] = np.where(better, new, best[i]), np.where(better, off, error[i])
            if not best:
                best, error = list(line[0]), [np.full(np.shape(b), np.inf) for b in line[0]]
        table.append(line)
    return best, error


def at_all(f: Values, points: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """f at every point: at once, where f knows how."""
    return f.many(points) if hasattr(f, "many") else [f(at) for at in points]


def settled(f: Values, xs: list[np.ndarray], vs: list[np.ndarray], factors: tuple[float, ...]) -> Any:
    """`directional` by several steps, the shortest first; a longer one counts where it agrees and is surer."""
    best, error = directional(f, xs, vs, factors[0])
    for factor in factors[1:]:
        more, off = directional(f, xs, vs, factor)
        for i, (new, e) in enumerate(zip(more, off, strict=True)):
            with np.errstate(all="ignore"):
                better = (e < error[i]) & ~(np.abs(new - best[i]) > 10 * (e + error[i]))
            best[i], error[i] = np.where(better, new, best[i]), np.where(better, e, error[i])
    return best, error


def rough(f: Values, xs: list[np.ndarray], vs: list[np.ndarray], factors: tuple[float, ...]) -> Any:
    """Central differences with steps of a quarter and an eighth, where the values are rounded to few digits."""
    pairs = [(scales(x)[v != 0], np.abs(v[v != 0])) for x, v in zip(xs, vs, strict=True) if v.any()]
    h, lines = 0.25 * min(float((size / length).min()) for size, length in pairs), []
    for step in (h, h / 2):
        up, down = (f([x + side * v for x, v in zip(xs, vs, strict=True)]) for side in (step, -step))
        lines.append([(a - b) / (2 * step) for a, b in zip(up, down, strict=True)])
    lost = [f.roundoff * (np.abs(a) + np.abs(b)) / h for a, b in zip(up, down, strict=True)]  # type: ignore[attr-defined]
    return lines[1], [np.abs(a - b) + c for a, b, c in zip(*lines, lost, strict=True)]


def unbounded(f: Values, xs: list[np.ndarray], v: list[np.ndarray], g: list[np.ndarray]) -> float:
    """±inf where the slope of ⟨g, f⟩ to one side grows without bound, as that of √x at 0; else NaN.

    (f(x + h v) − f(x)) / h for h = 10⁻², 10⁻⁵, 10⁻⁸, 10⁻¹¹: what is added does not shrink.
    """
    base = f(xs)
    for side in (1, -1):
        steps = [side * 10.0**-n for n in (2, 5, 8, 11)]
        slopes, lost = [], 0.0
        for h in steps:
            new = f([x + h * p for x, p in zip(xs, v, strict=True)])
            slopes.append(pairing(g, [(a - b) / h for a, b in zip(new, base, strict=True)]))
            size = [(np.abs(a) + np.abs(b)) / abs(h) for a, b in zip(new, base, strict=True)]
            lost = 4e-14 * pairing([np.abs(p) for p in g], size)
        more = np.diff(slopes)
        if np.isfinite(slopes).all() and (np.abs(more) > lost).all() and (more[1:] / more[:-1] > 0.7).all():
            return float(np.copysign(np.inf, more[-1]))
    return np.nan


def pairing(a: list[Any], b: list[Any]) -> float:
    """⟨a, b⟩ = Re Σ a b, by which JAX pairs cotangents with tangents."""
    return float(sum(np.sum(to_double(p) * to_double(q)).real for p, q in zip(a, b, strict=True)))


def basis(xs: list[np.ndarray]) -> list[tuple[int, int, complex]]:
    """(input, flat element, 1 or i) for every real direction."""
    return [
        (i, k, unit)
        for i, x in enumerate(xs)
        for k in range(x.size)
        for unit in ((1, 1j) if np.iscomplexobj(x) else (1,))
    ]


def gradient(
    f: Values,
    xs: list[np.ndarray],
    cotangents: list[list[np.ndarray]],
    wanted: list[np.ndarray] | None = None,
    how: Callable[..., Any] = settled,
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """For every cotangent the whole gradient of every input, one direction at a time, and its error.

    NaN where the input is no number, where `wanted` is False, and where the differences do not settle.
    """
    grads = [[np.zeros(x.shape, x.dtype) for x in xs] for _ in cotangents]
    errors = [[np.zeros(x.shape) for x in xs] for _ in cotangents]
    lengths, base = [scales(x) for x in xs], f(xs)
    for i, k, unit in basis(xs):
        own = lengths[i].flat[k]
        if not own or (wanted is not None and not wanted[i].flat[k]):
            for each in grads:
                each[i].flat[k] = np.nan
            continue
        vs = [np.zeros_like(x) for x in xs]
        vs[i].flat[k] = unit
        far = max(float(lengths[i].max()), 1e-3) / own
        factors = (1e-8, 1e-4, 1.0) if xs[i].flat[k] == 0 else (1.0, far) if far > 100 else (1.0,)
        d, off = how(f, xs, vs, factors)
        for c, g in enumerate(cotangents):
            value, error = pairing(g, d), pairing([np.abs(p) for p in g], off)
            if not np.isfinite(error) or error > 0.01 * abs(value):
                edge = unbounded(f, xs, [v * own for v in vs], g)
                value, error = (edge, 0.0) if np.isinf(edge) else (value, error)
            grads[c][i].flat[k] += value if unit == 1 else -1j * value  # Re(grad · i) = −Im grad
            errors[c][i].flat[k] += error
    for g, each, offs in zip(cotangents, grads, errors, strict=True):
        value = _size(g, base)
        for i, (grad, off, length) in enumerate(zip(each, offs, lengths, strict=True)):
            most = np.abs(grad[np.isfinite(grad)]).max(initial=0.0)
            unsure = ~np.isfinite(off) | ((off > 0.3 * most) & (off * length > 1e-6 * value))
            for at in map(int, np.flatnonzero(unsure & np.isfinite(off))):  # f may be 0 here, and not beside, as |x| is
                moved = [x.copy() for x in xs]
                moved[i].flat[at] += 0.05 * length.flat[at]
                unsure.flat[at] = off.flat[at] * length.flat[at] > 1e-6 * _size(g, f(moved))
            grad[unsure] = np.nan
            off[~np.isfinite(off)] = 0.0
    return grads, errors


def _size(g: list[np.ndarray], values: list[np.ndarray]) -> float:
    """Σ |g f| over what is finite."""
    return sum(float(np.sum(np.abs(p * b)[np.isfinite(b)])) for p, b in zip(g, values, strict=True))


def bisect(
    f: Values, xs: list[np.ndarray], i: int, g: list[np.ndarray], grad: np.ndarray, v: np.ndarray, most: int = 8
) -> list[tuple[int, float, float]]:
    """The elements of input i where `grad` disagrees with values: (flat index, got, right), the worst blocks first."""
    blocks = [(0, grad.size)]
    found: list[tuple[int, float, float]] = []
    while blocks and len(found) < most:
        low, high = blocks.pop(0)
        part = np.zeros(grad.size, v.dtype)
        unit = 1.0 if high - low > 1 else float(scales(xs[i]).reshape(-1)[low]) or 1.0
        part[low:high] = v.reshape(-1)[low:high] if high - low > 1 else unit
        vs = [part.reshape(x.shape) if k == i else np.zeros_like(x) for k, x in enumerate(xs)]
        d, off = directional(f, xs, vs)
        got, right = pairing([grad], [vs[i]]), pairing(g, d)
        if not abs(got - right) > tolerance(g, d, off, grad, vs[i]) and not np.isnan(got):
            continue
        if high - low == 1:
            found.append((low, got / unit, right / unit))
        else:
            middle = (low + high) // 2
            blocks[:0] = [(low, middle), (middle, high)]
    return found


def tolerance(g: list[Any], d: list[Any], off: list[Any], grad: np.ndarray, v: np.ndarray) -> float:
    """What two pairings may differ by: the errors of the differences, and float64's own of the sums."""
    errors = float(np.sqrt(sum(float(np.sum((np.abs(to_double(p)) * q) ** 2)) for p, q in zip(g, off, strict=True))))
    sums = np.sqrt(sum(float(np.sum(np.abs(to_double(p) * to_double(q)) ** 2)) for p, q in zip(g, d, strict=True)))
    return 10 * errors + 1e-11 * (sums + float(np.sqrt(np.sum(np.abs(grad * v) ** 2))))
