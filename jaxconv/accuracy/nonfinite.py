"""NaN and infinity stay in the terms that have them.

A form that lays an array out with zeros multiplies these zeros with what the other array holds, and 0 · NaN is NaN: so
a position that no window reads would reach the result. Such a form makes a result that is not finite once more, by a
form without these zeros. A finite result costs its sum.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import accumulator


def unless_finite(result: Array, exact: Callable[[], Array]) -> Array:
    """`result` where all of it is finite, else exact(), of the same shape and dtype.

    The sum tells, which is vectorised, as a test of every element is not; one that overflows costs time alone.
    """
    finite = jnp.isfinite(jnp.sum(result, dtype=accumulator(result.dtype)))
    return lax.cond(finite, lambda: result, exact)
