"""What is close enough: one error model and one constant for the whole project.

A sum of L products in a dtype with unit roundoff u is right when every element satisfies

    |computed − exact| ≤ C · (u · √L · (|exact| + √(Σ terms²)) + underflow)

where Σ terms² is the same contraction of the squared inputs, and `exact` comes from float64. Rounding acts on the
partial sums; those grow like the root of the sum of squares where signs vary, and like the sum itself where they do
not.

Underflow is L times the smallest normal number of the dtype that accumulates, since XLA on a CPU flushes to 0 each
product that is below it, plus the smallest positive number of the result's own dtype. An input below the smallest
normal number is flushed, too, however large the other factor is: `flushed_part` says what of an array that may be.

A recurrence passes its errors on through time, so there the scale is measured: u · √(Σ terms²) becomes the spread of
the float64 result when inputs and states are perturbed by u.

The distance in units of the model is |computed − exact| over the bracket: right is at most `C`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._jax.dtypes import accumulator

C = 3.0  # largest right value seen: see tests/accuracy/test_rounding.py, which also holds the smallest wrong one


def unit_roundoff(dtype: Any) -> float:
    """Largest relative error of rounding to nearest: 2⁻²⁴ for float32."""
    return float(jnp.finfo(dtype).eps) / 2


def underflow(dtype: Any, length: int = 1) -> float:
    """What a sum of L products may lose where its terms are below the smallest normal number.

    >>> underflow(np.float32, 9) == 9 * 2**-126 + 2**-149
    True
    """
    parts = 2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1  # real products in a part of a complex one
    return parts * max(length, 1) * _smallest_normal(dtype) + float(jnp.finfo(dtype).smallest_subnormal)


def _smallest_normal(dtype: Any) -> float:
    """Of the dtype that accumulates: float16's own small numbers are normal ones of float32."""
    return float(jnp.finfo(accumulator(dtype)).tiny)


def flushed_part(values: Any, dtype: Any) -> np.ndarray:
    """|values| where flushing to 0 would lose them, else 0; of complex numbers the part that would be lost.

    >>> flushed_part([1e-39, 1.0], np.float32).tolist()
    [1e-39, 0.0]
    """
    values = np.asarray(values)
    if np.iscomplexobj(values):
        return np.hypot(flushed_part(values.real, dtype), flushed_part(values.imag, dtype))
    size = np.abs(values)
    return np.where(size < _smallest_normal(dtype), size, 0.0)


def units(computed: Any, exact: Any, squares: Any, length: int, dtype: Any, flushed: Any = 0.0) -> np.ndarray:
    """Distance of every element from the exact one, in units of the model.

    Args:
        computed: what is judged.
        exact: float64 or complex128, same shape.
        squares: Σ terms², same shape.
        length: L, products in one sum.
        dtype: the dtype that `computed` was computed in.
        flushed: Σ |terms| that are lost with the inputs' `flushed_part`, same shape.

    Returns:
        Non-negative, same shape; infinite where `computed` is not finite and `exact` is.

    >>> bool(units(np.float32(1) / 3, 1 / 3, 1 / 9, 1, np.float32) < C)
    True
    """
    return measured_units(computed, exact, unit_roundoff(dtype) * np.sqrt(squares), length, dtype, flushed)


def measured_units(computed: Any, exact: Any, spread: Any, length: int, dtype: Any, flushed: Any = 0.0) -> np.ndarray:
    """As `units`, with the spread of the exact result under perturbations by u in place of u · √(Σ terms²)."""
    exact = np.asarray(exact)
    wide = np.complex128 if np.iscomplexobj(exact) or np.iscomplexobj(computed) else np.float64
    error = np.abs(np.asarray(computed).astype(wide) - exact)
    scale = np.sqrt(max(length, 1)) * (unit_roundoff(dtype) * np.abs(exact) + np.asarray(spread))
    scale = scale + underflow(dtype, length) + np.asarray(flushed)
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
