"""The gated recurrence as people call it: weights, one step, a sequence, both directions.

The equations stand in `gated_cell`, the loops in `engine`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv.recurrence.arguments import read_sizes
from jaxconv.recurrence.engine import Residuals
from jaxconv.recurrence.gated_cell import GATED, GatedParams
from jaxconv.recurrence.scan import Derivative, memory_bias, scan, scan_both, step, uniform


def gated_init(
    key: Array, n: int, m: int, *, bias: bool = True, memory: float | None = None, dtype: Any = jnp.float32
) -> GatedParams:
    """Random weights, uniform, and biases 0, or such that memories last.

        W_c, W_x ~ √(3/n) · U(−1, 1)  (variance 1/n),   W_h ~ √(3/(4m)) · U(−1, 1)  (variance 1/(4m))
        b_c = log u,  u the m quantiles of U(1, memory − 1):  c = 1 − 1/(1 + u) where the rest of the gate is 0

    The variances keep v of the size of x and ‖W_h‖₂ near 1, so that gradients through time do not explode. But with
    biases 0 a gate is near ½: the state, and a gradient, halves at every step (see `gradient_flow`). With `memory`
    component i forgets within 1 + uᵢ steps, the first within `memory`, and gradients reach that far back.

    Args:
        key: a random key of `jax.random`.
        n: input features.
        m: state features.
        bias: whether there are biases.
        memory: steps, at least 2, that the longest memory lasts; None: biases 0.
        dtype: of all weights.

    Returns:
        GatedParams with w_c, w_x (m, n), w_h (m, m), b_c, b_x (m,) or None.

    Raises:
        TypeError, ValueError: n or m is no positive integer; memory is below 2 or given without biases; dtype is
            no real floating-point dtype.

    Source: X. Glorot and Y. Bengio 2010, equation 16, for the uniform form; C. Tallec and Y. Ollivier 2018, "Can
        recurrent neural networks warp time?", for `memory` (chrono initialisation, quantiles in place of draws).

    >>> import jax
    >>> gated_init(jax.random.key(0), 3, 4, bias=False).b_c is None
    True
    """
    return _drawn(key, *read_sizes("gated_init", n, m, bias, memory, dtype), bias)


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _drawn(key: Array, n: int, m: int, memory: float | None, dtype: Any, bias: bool) -> GatedParams:
    for_c, for_h, for_x = jax.random.split(key, 3)
    w_c, w_x = (uniform(key, (m, n), 1 / n, dtype) for key in (for_c, for_x))
    biases = (memory_bias(m, memory, dtype), jnp.zeros(m, dtype)) if bias else (None, None)
    return GatedParams(w_c, uniform(for_h, (m, m), 1 / (4 * m), dtype), w_x, *biases)


def gated_step(params: GatedParams, h: Array, x: Array) -> Array:
    """One step of the recurrence.

        c = σ(W_c x + b_c + W_h h),   next h = c ⊙ h + (1 − c) ⊙ (W_x x + b_x)

    Its gradient is left to JAX: within one step there is nothing to save.

    Args:
        params: GatedParams.
        h: state before the step, (*batch, m).
        x: input of the step, (*batch, n); leading axes of h and x broadcast.

    Returns:
        The state after the step, (*batch, m).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: the equations of the module `gated_cell`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_step(params, jnp.array([2.0]), jnp.array([4.0]))
    Array([3.], dtype=float32)
    """
    return step(GATED, "gated_step", params, h, x)


def gated_scan(
    params: GatedParams,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Array | int | None = None,
    reverse: bool = False,
    time_axis: int = 0,
    unroll: int = 1,
    residuals: Residuals = "recompute",
    derivative: Derivative = "hand",
) -> tuple[Array, Array]:
    """The recurrence over a sequence, with the hand-written adjoint of the module `engine`.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    A stream gives the same numbers piece by piece: ``h, _ = gated_scan(params, piece, h)``, or step by step with
    `gated_step`. Both directions at once: `gated_scan_both`.

    Args:
        params: GatedParams; with w_h=None h is linear in h[0], and accelerators run it as a prefix sum.
        x: (time, *batch, n), any number of batch axes, none included; time may be 0.
        h0: state before the first step, (*batch, m); zeros where None.
        lengths: (*batch,) integers, 0 to time: past its length a sequence's state stands still, its outputs are 0, and
            what x holds there is not read. Traced ones cannot be checked and are clipped.
        reverse: right to left (within each length); outputs stay in the order of x.
        time_axis: where time stands in x and in h; any axis but the last.
        unroll: steps per iteration of the loop, as in `lax.scan`: more compile, less overhead; 1 of a symbolic time.
        residuals: what is kept for the gradient beyond the inputs: "recompute", the gates c, as large as h; "save", c,
            v and h, for one matrix product less; an integer k, the state every k steps, for two products more: memory
            for T/k + k steps (a k that does not divide T also copies x; it has to divide a symbolic T of
            ``jax.export``, which may be k·t). derivative="jax" decides for itself.
        derivative: "hand", the adjoint above; "jax" leaves the derivative to JAX, so that jvp and hessian work too.

    Returns:
        (h_last, h) as `lax.scan`, the carry and then the stack: (*batch, m) and (time, *batch, m).

    Raises:
        TypeError, ValueError: dtypes, shapes or options do not fit together.

    Source: the equations of the module `engine`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_scan(params, jnp.array([[4.0], [8.0]]))[1]
    Array([[2.],
           [5.]], dtype=float32)
    """
    return scan(
        GATED, "gated_scan", params, x, h0, lengths=lengths, reverse=reverse, time_axis=time_axis, unroll=unroll,
        residuals=residuals, derivative=derivative,
    )  # fmt: skip


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
    both: tuple[Array, Array] = scan_both(gated_scan, "gated_scan_both", forward, backward, x, h0, options)
    return both
