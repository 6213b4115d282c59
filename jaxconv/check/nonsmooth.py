"""Where a function has a kink there is no derivative: whatever lies between both one-sided ones is taken for right.

    D± = ± (f(x ± h e_k) − f(x)) / h        got_k ∈ Σ_o g_o [min(D+_o, D−_o), max(D+_o, D−_o)]

A kink is told from a bend by a smaller h, which leaves the gap between the two as it is.
"""

from __future__ import annotations

import numpy as np

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.oracle import to_double
from jaxconv.check.compare import Found, worst_of
from jaxconv.check.numeric import Values, scales, unbounded

MOST, MOST_LARGE = 400, 24  # elements looked at; where there are more, as many at random stand for all


def forgiven(
    f: Values, xs: list[np.ndarray], i: int, cotangents: list[list[np.ndarray]], found: list[Found], large: bool
) -> np.ndarray | None:
    """Which elements of input i lie on a kink, if that explains all that `found` holds to be wrong; else None."""
    x = xs[i]
    wrong = np.any([each.units > C for each in found], axis=0)
    if np.iscomplexobj(x) or any(np.isnan(each.got[wrong]).any() for each in found):
        return None
    at = np.flatnonzero(wrong)
    most = MOST_LARGE if large else MOST
    if len(at) > most:
        at = np.random.default_rng(0).choice(at, most, replace=False)
    at = np.concatenate([[int(np.argmax(worst_of(found).units))], at])  # first where most is to be explained
    base = f(xs)
    for k in at:
        if any(np.isinf(each.got.flat[k]) for each in found):
            if _slopes_without_bound(f, xs, i, int(k), cotangents, found):
                continue
            return None
        pair = _one_sided(f, xs, base, i, int(k))
        if pair is None:
            return None
        for g, each in zip(cotangents, found, strict=True):
            both = [[to_double(p) * side for p, side in zip(g, d, strict=True)] for d in pair]
            low = sum(float(np.sum(np.minimum(a.real, b.real))) for a, b in zip(*both, strict=True))
            high = sum(float(np.sum(np.maximum(a.real, b.real))) for a, b in zip(*both, strict=True))
            slack = 1e-3 * (high - low)
            if not low - slack <= each.got.flat[k] <= high + slack:
                return None
    return wrong


def _slopes_without_bound(
    f: Values, xs: list[np.ndarray], i: int, k: int, cotangents: list[list[np.ndarray]], found: list[Found]
) -> bool:
    """Whether what is infinite in the gradient of one element is the slope to one side, that of x log x at 0, say."""
    vs = [np.zeros_like(x) for x in xs]
    vs[i].flat[k] = scales(xs[i]).flat[k]
    return all(unbounded(f, xs, vs, g) == each.got.flat[k] for g, each in zip(cotangents, found, strict=True))


def _one_sided(
    f: Values, xs: list[np.ndarray], base: list[np.ndarray], i: int, k: int
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Derivatives of every output to the right and to the left of one element; None where they are one."""
    size = max(float(np.abs(xs[i]).max()), 1e-3)
    sides = []
    for h in (1e-5 * size, 1e-6 * size):
        for step in (h, -h):
            moved = xs[i].copy()
            moved.flat[k] += step
            new = f([moved if j == i else x for j, x in enumerate(xs)])
            sides.append([(a - b) / step for a, b in zip(new, base, strict=True)])
    gaps = [
        np.sqrt(sum(float(np.sum(np.abs(a - b) ** 2)) for a, b in zip(*sides[j : j + 2], strict=True))) for j in (0, 2)
    ]
    moves = np.sqrt(sum(float(np.sum(np.abs(a) ** 2 + np.abs(b) ** 2)) for a, b in zip(*sides[2:], strict=True)))
    kink = gaps[1] > 1e-3 * moves and abs(gaps[0] - gaps[1]) < 0.1 * gaps[1]
    return (sides[2], sides[3]) if kink else None
