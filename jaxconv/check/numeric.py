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


def directional(f: Values, xs: list[np.ndarray], vs: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """f'(x) v for every output, and its error."""
    size = max((np.abs(x).max() for x in xs if x.size), default=1.0) or 1.0
    length = max((np.abs(v).max() for v in vs if v.size), default=1.0) or 1.0
    h = 0.05 * max(size, 1e-3) / length
    table: list[list[list[np.ndarray]]] = []
    best: list[np.ndarray] = []
    error: list[np.ndarray] = []
    for k in range(LEVELS):
        step = h / 4.0**k
        up = f([x + step * v for x, v in zip(xs, vs, strict=True)])
        down = f([x - step * v for x, v in zip(xs, vs, strict=True)])
        with np.errstate(all="ignore"):
            line = [[(a - b) / (2 * step) for a, b in zip(up, down, strict=True)]]
            # What float64 loses in the difference.
            floor = [4e-16 * (np.abs(a) + np.abs(b)) / (2 * step) for a, b in zip(up, down, strict=True)]
            for j in range(1, k + 1):
                line.append(
                    [p + (p - q) / (16.0**j - 1) for p, q in zip(line[j - 1], table[k - 1][j - 1], strict=True)]
                )
                for i, (new, p, q) in enumerate(zip(line[j], line[j - 1], table[k - 1][j - 1], strict=True)):
                    off = np.maximum(np.abs(new - p), np.abs(new - q)) + floor[i]
                    better = off < error[i]
                    best[i], error[i] = np.where(better, new, best[i]), np.where(better, off, error[i])
            if not best:
                best, error = list(line[0]), [np.full(np.shape(b), np.inf) for b in line[0]]
        table.append(line)
    return best, error


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
    f: Values, xs: list[np.ndarray], cotangents: list[list[np.ndarray]]
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """For every cotangent the whole gradient of every input, one direction at a time, and its error."""
    grads = [[np.zeros(x.shape, x.dtype) for x in xs] for _ in cotangents]
    errors = [[np.zeros(x.shape) for x in xs] for _ in cotangents]
    for i, k, unit in basis(xs):
        vs = [np.zeros_like(x) for x in xs]
        vs[i].flat[k] = unit
        d, off = directional(f, xs, vs)
        for c, g in enumerate(cotangents):
            value = pairing(g, d)
            grads[c][i].flat[k] += value if unit == 1 else -1j * value  # Re(grad · i) = −Im grad
            errors[c][i].flat[k] += pairing([np.abs(p) for p in g], off)
    return grads, errors


def bisect(
    f: Values, xs: list[np.ndarray], i: int, g: list[np.ndarray], grad: np.ndarray, v: np.ndarray, most: int = 8
) -> list[tuple[int, float, float]]:
    """The elements of input i where `grad` disagrees with values: (flat index, got, right), the worst blocks first."""
    blocks = [(0, grad.size)]
    found: list[tuple[int, float, float]] = []
    while blocks and len(found) < most:
        low, high = blocks.pop(0)
        part = np.zeros(grad.size, v.dtype)
        part[low:high] = v.reshape(-1)[low:high] if high - low > 1 else 1
        vs = [part.reshape(x.shape) if k == i else np.zeros_like(x) for k, x in enumerate(xs)]
        d, off = directional(f, xs, vs)
        got, right = pairing([grad], [vs[i]]), pairing(g, d)
        if abs(got - right) <= tolerance(g, d, off, grad, vs[i]):
            continue
        if high - low == 1:
            found.append((low, got, right))
        else:
            middle = (low + high) // 2
            blocks[:0] = [(low, middle), (middle, high)]
    return found


def tolerance(g: list[Any], d: list[Any], off: list[Any], grad: np.ndarray, v: np.ndarray) -> float:
    """What two pairings may differ by: the errors of the differences, and float64's own of the sums."""
    errors = np.sqrt(sum(float(np.sum((np.abs(to_double(p)) * q) ** 2)) for p, q in zip(g, off, strict=True)))
    sums = np.sqrt(sum(float(np.sum(np.abs(to_double(p) * to_double(q)) ** 2)) for p, q in zip(g, d, strict=True)))
    return 10 * errors + 1e-11 * (sums + float(np.sqrt(np.sum(np.abs(grad * v) ** 2))))
