"""In what way a gradient is wrong that looks like nothing beside the right one: a wrong ingredient inside the rule.

    got = (f'(x′)ᵀ g′)ᵢ        with one argument or the cotangent flipped, transposed, shifted, conjugated, left out …

Each hypothesis is one more pull-back, in float64, so that it is either met to ten digits or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, permutations
from typing import Any

import numpy as np

from jaxconv.accuracy.oracle import to_double
from jaxconv.check.call import Subject
from jaxconv.check.patterns import near
from jaxconv.check.runs import pull

MOST, MOST_LARGE = 64, 32  # pull-backs tried


def as_if(
    call: Subject, xs: list[Any], data: Any, g: list[Any], i: int, got: np.ndarray, paths: list[str], large: bool
) -> str | None:
    """Words for the change of one ingredient that gives `got`, the gradient of input i; None where none does."""
    if not np.isfinite(got).all():
        return None
    xs, g = [np.asarray(x) for x in xs], [np.asarray(v) for v in g]  # JAX would compile every change
    if any(near(got, to_double(v)) for v in g):
        return "the cotangent itself: the factor that it comes with is missing"
    for words, new_xs, new_g in islice(_ingredients(xs, g, paths), MOST_LARGE if large else MOST):
        try:
            found = to_double(pull(call, new_xs, data, new_g)[1][i])
        except Exception:  # some ingredients cannot be changed: a value that must be positive, say
            continue
        if near(got, found):
            return words
    return None


def _ingredients(xs: list[Any], g: list[Any], paths: list[str]) -> Iterator[tuple[str, list[Any], list[Any]]]:
    both = [_square_transposed(v) for v in xs], [_square_transposed(v) for v in g]
    if any(v is not w for v, w in zip([*xs, *g], [*both[0], *both[1]], strict=True)):
        yield "as if the square arguments and the cotangent were transposed: summed over the wrong axis", *both
    for k, (x, path) in enumerate(zip(xs, paths, strict=True)):
        for how, new in _changes(x):
            yield f"as if {path} were {how}", [*xs[:k], new, *xs[k + 1 :]], g
    for k, v in enumerate(g):
        for how, new in _changes(v):
            name = "the cotangent" if len(g) == 1 else f"cotangent {k}"
            yield f"as if {name} were {how}", xs, [*g[:k], new, *g[k + 1 :]]


def _square_transposed(v: Any) -> Any:
    return v.T if v.ndim == 2 and v.shape[0] == v.shape[1] > 1 else v


def _changes(v: Any) -> Iterator[tuple[str, Any]]:
    """Likely mistakes first."""
    if not v.size:
        return
    yield "zero: its part is missing", np.zeros_like(v)
    if np.iscomplexobj(v):
        yield "conjugated", v.conj()
    axes = [axis for axis in range(v.ndim) if v.shape[axis] > 1]
    for axis in reversed(axes):
        yield f"flipped along axis {axis}", np.flip(v, axis)
    if 2 <= v.ndim <= 4:
        for order in permutations(range(v.ndim)):
            if order != tuple(range(v.ndim)) and tuple(v.shape[a] for a in order) == v.shape:
                yield "transposed" + f": axes {order}" * (v.ndim > 2), np.transpose(v, order)
    yield "of the other sign", -v
    for axis in reversed(axes):
        for by in (1, -1):
            if v.shape[axis] > 2:
                yield f"shifted by {by} along axis {axis}", np.roll(v, by, axis)
