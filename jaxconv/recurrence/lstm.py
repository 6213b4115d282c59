"""Long short-term memory as people call it: weights, one step, a sequence, both directions.

The equations stand in `lstm_cell`, the loops in `engine`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxconv.recurrence.arguments import read_sizes
from jaxconv.recurrence.engine import Residuals
from jaxconv.recurrence.lstm_cell import LSTM, LSTMParams
from jaxconv.recurrence.scan import Derivative, rows_drawn, scan, scan_both, step

Pair = tuple[Array, Array]  # (h, c)


def lstm_init(
    key: Array, n: int, m: int, *, bias: bool = True, memory: float | None = None, dtype: Any = jnp.float32
) -> LSTMParams:
    """Random weights, uniform, and biases 0, or such that memories last.

        W_i ~ √(3/n) · U(−1, 1)  (variance 1/n),   W_h ~ √(3/(4m)) · U(−1, 1)  (variance 1/(4m))
        b_if = log u,  b_ii = −log u,  u the m quantiles of U(1, memory − 1):  f = 1 − 1/(1 + u) where the rest is 0

    With biases 0 the gate f is near ½: c, and a gradient, halves at every step; as in `gated_init`. A forget bias of 1
    and nothing else: ``params._replace(b_ih=params.b_ih.at[m : 2 * m].add(1))``.

    Args:
        key, n, m, bias, memory, dtype: as in `gated_init`.

    Returns:
        LSTMParams with w_ih (4m, n), w_hh (4m, m), b_ih, b_hh (4m,) or None.

    Raises:
        TypeError, ValueError: as `gated_init`.

    Source: as `gated_init`; C. Tallec and Y. Ollivier 2018 for `memory`.

    >>> import jax
    >>> lstm_init(jax.random.key(0), 3, 4, bias=False).b_ih is None
    True
    """
    n, m, memory, dtype = read_sizes("lstm_init", n, m, bias, memory, dtype)
    return LSTMParams(*rows_drawn(key, n, m, (-1, 1, 0, 0), memory, dtype, bias))


def lstm_step(params: LSTMParams, h: Pair, x: Array) -> Pair:
    """One step of the memory.

        i, f, o = σ(W_i x + b_i + W_h h + b_h),   g = tanh(…),   next c = f ⊙ c + i ⊙ g,   next h = o ⊙ tanh(next c)

    Args:
        params: LSTMParams.
        h: (h, c), the state before the step, each (*batch, m).
        x: input of the step, (*batch, n); leading axes of h, c and x broadcast.

    Returns:
        (h, c) after the step, each (*batch, m).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: the equations of the module `lstm_cell`.

    >>> import jax.numpy as jnp
    >>> params = LSTMParams(jnp.zeros((4, 1)), jnp.zeros((4, 1)))  # i, f and o are always 1/2, g 0
    >>> lstm_step(params, (jnp.array([2.0]), jnp.array([4.0])), jnp.array([1.0]))[1]
    Array([2.], dtype=float32)
    """
    after: Pair = step(LSTM, "lstm_step", params, h, x)
    return after


def lstm_scan(
    params: LSTMParams,
    x: Array,
    h0: Pair | None = None,
    *,
    lengths: Array | int | None = None,
    reverse: bool = False,
    time_axis: int = 0,
    unroll: int = 1,
    residuals: Residuals = "recompute",
    derivative: Derivative = "hand",
) -> tuple[Pair, Array]:
    """The memory over a sequence, with the hand-written adjoint of the module `lstm_cell`.

        i, f, o = σ(W_i x + b_i + W_h h + b_h),   g = tanh(…),   c' = f ⊙ c + i ⊙ g,   h' = o ⊙ tanh(c')

    Args:
        params: LSTMParams.
        h0: (h0, c0), the state before the first step, each (*batch, m); zeros where None.
        x, lengths, reverse, time_axis, unroll, derivative: as in `gated_scan`.
        residuals: what is kept for the gradient beyond the inputs: "recompute", the states h and c; "save", the gates,
            too, for one product less; an integer k, the state every k steps.

    Returns:
        ((h_last, c_last), h) as `lax.scan`, the carry and then the stack: each (*batch, m), and (time, *batch, m).

    Raises:
        TypeError, ValueError: dtypes, shapes or options do not fit together.

    Source: the equations of the module `lstm_cell`.

    >>> import jax.numpy as jnp
    >>> params = LSTMParams(jnp.zeros((4, 1)), jnp.zeros((4, 1)))  # i, f and o are always 1/2, g 0
    >>> lstm_scan(params, jnp.zeros((2, 1)), (jnp.array([0.0]), jnp.array([4.0])))[0][1]
    Array([1.], dtype=float32)
    """
    states: tuple[Pair, Array] = scan(
        LSTM, "lstm_scan", params, x, h0, lengths=lengths, reverse=reverse, time_axis=time_axis, unroll=unroll,
        residuals=residuals, derivative=derivative,
    )  # fmt: skip
    return states


def lstm_scan_both(
    forward: LSTMParams, backward: LSTMParams, x: Array, h0: tuple[Pair, Pair] | None = None, **options: Any
) -> tuple[Pair, Array]:
    """Two memories over one sequence, one from each end, their states side by side.

        h[t] = (→h[t], ←h[t]),   →h[t] from →h[t−1] and x[t],   ←h[t] from ←h[t+1] and x[t]

    Args:
        forward, backward: LSTMParams of the two; they may differ in m.
        h0: ((→h[0], →c[0]), (←h[T+1], ←c[T+1])), the states that each begins with; zeros where None.
        x, **options: as in `lstm_scan`, without reverse.

    Returns:
        ((h_last, c_last), h): each (*batch, 2m), the last state of each run, and (time, *batch, 2m).

    Raises:
        TypeError, ValueError: as `lstm_scan`; h0 is no pair; reverse is given.

    Source: M. Schuster and K. Paliwal 1997, "Bidirectional recurrent neural networks".

    >>> import jax.numpy as jnp
    >>> memory = LSTMParams(jnp.zeros((4, 1)), jnp.zeros((4, 1)))  # i, f and o are always 1/2, g 0
    >>> lstm_scan_both(memory, memory, jnp.zeros((2, 1)))[1].shape
    (2, 2)
    """
    both: tuple[Pair, Array] = scan_both(lstm_scan, "lstm_scan_both", forward, backward, x, h0, options)
    return both
