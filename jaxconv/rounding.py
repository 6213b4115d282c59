"""What is close enough: one error model and one constant for the whole project.

A sum of L products in a dtype with unit roundoff u is right when every element satisfies

    |computed − exact| ≤ C · (u · √L · (|exact| + √(Σ terms²)) + tiny)

where Σ terms² is the same contraction of the squared inputs, `exact` comes from float64, and tiny, the smallest
positive number of the dtype, is what underflow may cost. Rounding acts on the partial sums; those grow like the root of
the sum of squares where signs vary, and like the sum itself where they do not.

A recurrence passes its errors on through time, so there the scale is measured: u · √(Σ terms²) becomes the spread of
the float64 result when inputs and states are perturbed by u.

The distance in units of the model is |computed − exact| over the bracket: right is at most `C`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

C = 3.0  # largest right value seen: see tests/test_rounding.py, which also holds the smallest wrong one


def unit_roundoff(dtype: Any) -> float:
    """Largest relative error of rounding to nearest: 2⁻²⁴ for float32."""
    return float(jnp.finfo(dtype).eps) / 2


def tiny(dtype: Any) -> float:
    """Smallest positive number of a dtype."""
    return float(jnp.finfo(dtype).smallest_subnormal)


def units(computed: Any, exact: Any, squares: Any, length: int, dtype: Any) -> np.ndarray:
    """Distance of every element from the exact one, in units of the model.

    Args:
        computed: what is judged.
        exact: float64 or complex128, same shape.
        squares: Σ terms², same shape.
        length: L, products in one sum.
        dtype: the dtype that `computed` was computed in.

    Returns:
        Non-negative, same shape; infinite where `computed` is not finite and `exact` is.

    >>> bool(units(np.float32(1) / 3, 1 / 3, 1 / 9, 1, np.float32) < C)
    True
    """
    return measured_units(computed, exact, unit_roundoff(dtype) * np.sqrt(squares), length, dtype)


def measured_units(computed: Any, exact: Any, spread: Any, length: int, dtype: Any) -> np.ndarray:
    """As `units`, with the spread of the exact result under perturbations by u in place of u · √(Σ terms²)."""
    exact = np.asarray(exact)
    wide = np.complex128 if np.iscomplexobj(exact) or np.iscomplexobj(computed) else np.float64
    error = np.abs(np.asarray(computed).astype(wide) - exact)
    scale = np.sqrt(max(length, 1)) * (unit_roundoff(dtype) * np.abs(exact) + np.asarray(spread)) + tiny(dtype)
    return np.where(np.isnan(error), np.inf, error / scale)


def spread(f: Callable[[Callable[[Any], Any]], Any], dtype: Any, seeds: int = 16) -> Any:
    """Largest deviation of f's float64 results, element by element, when what it computes with is perturbed by u.

    Args:
        f: called with a function `rounded`, which f applies to its inputs and to every state it passes on; returns
            a tuple of arrays.
        dtype: whose unit roundoff is u.
        seeds: perturbations drawn.

    Returns:
        A tuple of arrays like f's.
    """
    u = unit_roundoff(dtype)
    exact = f(lambda value: value)
    largest = [np.zeros(np.shape(each)) for each in exact]
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        perturbed = f(lambda value, random=random: value * (1 + u * random.uniform(-1, 1, np.shape(value))))  # type: ignore[misc]
        largest = [np.maximum(a, np.abs(p - e)) for a, p, e in zip(largest, perturbed, exact, strict=True)]
    return tuple(largest)
