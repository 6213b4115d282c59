"""The gated recurrent unit as people call it: weights, one step, a sequence, both directions.

The equations stand in `gru_cell`, the loops in `engine`.
"""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from jaxconv.recurrence.arguments import read_sizes
from jaxconv.recurrence.engine import Residuals
from jaxconv.recurrence.gru_cell import GRU, GRUParams
from jaxconv.recurrence.scan import Derivative, rows_drawn, scan, scan_both, step
from jaxconv.sizes.arguments import one_of

Reset = Literal["after", "before"]


def gru_init(
    key: Array, n: int, m: int, *, bias: bool = True, memory: float | None = None, dtype: Any = jnp.float32
) -> GRUParams:
    """Random weights, uniform, and biases 0, or such that memories last.

        W_i ~ √(3/n) · U(−1, 1)  (variance 1/n),   W_h ~ √(3/(4m)) · U(−1, 1)  (variance 1/(4m))
        b_iz = log u,  u the m quantiles of U(1, memory − 1):  z = 1 − 1/(1 + u) where the rest of the gate is 0

    With biases 0 the gate z is near ½: the state, and a gradient, halves at every step; as in `gated_init`.

    Args:
        key, n, m, bias, memory, dtype: as in `gated_init`.

    Returns:
        GRUParams with w_ih (3m, n), w_hh (3m, m), b_ih, b_hh (3m,) or None.

    Raises:
        TypeError, ValueError: as `gated_init`.

    Source: as `gated_init`; C. Tallec and Y. Ollivier 2018 for `memory`.

    >>> import jax
    >>> gru_init(jax.random.key(0), 3, 4, bias=False).b_ih is None
    True
    """
    n, m, memory, dtype = read_sizes("gru_init", n, m, bias, memory, dtype)
    return GRUParams(*rows_drawn(key, n, m, (0, 1, 0), memory, dtype, bias))


def gru_step(params: GRUParams, h: Array, x: Array, *, reset: Reset = "after") -> Array:
    """One step of the unit.

        r, z = σ(W_i x + b_i + W_h h + b_h),   n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)),   h' = (1 − z) ⊙ n + z ⊙ h

    Args:
        params: GRUParams.
        h: state before the step, (*batch, m).
        x: input of the step, (*batch, n); leading axes of h and x broadcast.
        reset: "after" the product as above, or "before" it, W_hn (r ⊙ h) + b_hn.

    Returns:
        The state after the step, (*batch, m).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: the equations of the module `gru_cell`.

    >>> import jax.numpy as jnp
    >>> params = GRUParams(jnp.zeros((3, 1)), jnp.zeros((3, 1)))  # z is always 1/2, n 0
    >>> gru_step(params, jnp.array([2.0]), jnp.array([4.0]))
    Array([1.], dtype=float32)
    """
    cell = GRU[one_of("gru_step", "reset", reset, tuple(GRU))]
    after: Array = step(cell, "gru_step", params, h, x)
    return after


def gru_scan(
    params: GRUParams,
    x: Array,
    h0: Array | None = None,
    *,
    reset: Reset = "after",
    lengths: Array | int | None = None,
    reverse: bool = False,
    time_axis: int = 0,
    unroll: int = 1,
    residuals: Residuals = "recompute",
    derivative: Derivative = "hand",
) -> tuple[Array, Array]:
    """The unit over a sequence, with the hand-written adjoint of the module `gru_cell`.

        r, z = σ(W_i x + b_i + W_h h + b_h),   n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)),   h' = (1 − z) ⊙ n + z ⊙ h

    Args:
        params: GRUParams.
        h0: state before the first step, (*batch, m); zeros where None.
        reset: "after" the product as above, as in PyTorch, or "before" it, W_hn (r ⊙ h) + b_hn.
        x, lengths, reverse, time_axis, unroll, derivative: as in `gated_scan`.
        residuals: what is kept for the gradient beyond the inputs: "recompute", the states h; "save", the gates, too,
            for one product less; an integer k, the state every k steps.

    Returns:
        (h_last, h) as `lax.scan`, the carry and then the stack: (*batch, m) and (time, *batch, m).

    Raises:
        TypeError, ValueError: dtypes, shapes or options do not fit together.

    Source: the equations of the module `gru_cell`.

    >>> import jax.numpy as jnp
    >>> params = GRUParams(jnp.zeros((3, 1)), jnp.zeros((3, 1)))  # z is always 1/2, n 0
    >>> gru_scan(params, jnp.zeros((2, 1)), jnp.array([4.0]))[1]
    Array([[2.],
           [1.]], dtype=float32)
    """
    states: tuple[Array, Array] = scan(
        GRU[one_of("gru_scan", "reset", reset, tuple(GRU))], "gru_scan", params, x, h0, lengths=lengths,
        reverse=reverse, time_axis=time_axis, unroll=unroll, residuals=residuals, derivative=derivative,
    )  # fmt: skip
    return states


def gru_scan_both(
    forward: GRUParams, backward: GRUParams, x: Array, h0: tuple[Array, Array] | None = None, **options: Any
) -> tuple[Array, Array]:
    """Two units over one sequence, one from each end, their states side by side.

        h[t] = (→h[t], ←h[t]),   →h[t] from →h[t−1] and x[t],   ←h[t] from ←h[t+1] and x[t]

    Args:
        forward, backward: GRUParams of the two; they may differ in m.
        h0: (→h[0], ←h[T+1]), the states that each begins with; zeros where None.
        x, **options: as in `gru_scan`, without reverse.

    Returns:
        (h_last, h): (*batch, 2m), the last state of each run, and (time, *batch, 2m).

    Raises:
        TypeError, ValueError: as `gru_scan`; h0 is no pair; reverse is given.

    Source: M. Schuster and K. Paliwal 1997, "Bidirectional recurrent neural networks".

    >>> import jax.numpy as jnp
    >>> unit = GRUParams(jnp.zeros((3, 1)), jnp.zeros((3, 1)))  # z is always 1/2, n 0
    >>> gru_scan_both(unit, unit, jnp.zeros((2, 1)), (jnp.array([4.0]), jnp.array([8.0])))[1]
    Array([[2., 2.],
           [1., 4.]], dtype=float32)
    """
    both: tuple[Array, Array] = scan_both(gru_scan, "gru_scan_both", forward, backward, x, h0, options)
    return both
