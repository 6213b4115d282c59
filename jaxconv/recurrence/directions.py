"""The recurrence in both directions: two cells that read one sequence, states side by side."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxconv.recurrence.gated import gated_scan
from jaxconv.recurrence.gated_cell import GatedParams
from jaxconv.sizes.arguments import wrong_kind, wrong_value


def gated_scan_both(
    forward: GatedParams, backward: GatedParams, x: Array, h0: tuple[Array, Array] | None = None, **options: Any
) -> tuple[Array, Array]:
    """Two cells over one sequence, one from each end, their states side by side.

        h[t] = (→h[t], ←h[t]),   →h[t] from →h[t−1] and x[t],   ←h[t] from ←h[t+1] and x[t]

    Layers stack: the h of one is an x of the next.

    Args:
        forward, backward: GatedParams of the two cells; they may differ in m.
        x: (time, *batch, n).
        h0: (→h[0], ←h[T+1]), the states that each begins with; zeros where None.
        **options: as in `gated_scan`, without reverse.

    Returns:
        (h_last, h): (*batch, 2m), the last state of each run, and (time, *batch, 2m).

    Raises:
        TypeError, ValueError: as `gated_scan`; h0 is no pair; reverse is given.

    Source: M. Schuster and K. Paliwal 1997, "Bidirectional recurrent neural networks".

    >>> import jax.numpy as jnp
    >>> cell = GatedParams(jnp.zeros((1, 1)), None, jnp.ones((1, 1)))  # c is always 1/2
    >>> gated_scan_both(cell, cell, jnp.array([[4.0], [8.0]]))[1]
    Array([[2., 4.],
           [5., 4.]], dtype=float32)
    """
    if "reverse" in options:
        rule = "`reverse` must be left out: both directions run"
        wrong_value("gated_scan_both", rule, f"reverse={options['reverse']!r}")
    if h0 is not None and not (isinstance(h0, tuple) and len(h0) == 2):
        wrong_kind("gated_scan_both", "`h0` must be a pair of states or None", f"h0 of type {type(h0).__name__}")
    first, second = (None, None) if h0 is None else h0
    runs = gated_scan(forward, x, first, **options), gated_scan(backward, x, second, reverse=True, **options)
    h_last, h = (jnp.concatenate(pair, axis=-1) for pair in zip(*runs, strict=True))
    return h_last, h
