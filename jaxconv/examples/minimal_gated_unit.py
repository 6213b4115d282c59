"""A cell of a reader's own: the minimal gated unit (MGU), its equations, its adjoint, and what follows from them.

    f = σ(W_f x + b_f + U_f h)    n = tanh(W_n x + b_n + U_n (f ⊙ h))    h' = (1 − f) ⊙ h + f ⊙ n

and, with g the total gradient at h', δ_f and δ_n those at the two pre-activations,

    δ_n = g ⊙ f ⊙ (1 − n²)            u = U_nᵀ δ_n                      (gradient at f ⊙ h)
    δ_f = (g ⊙ (n − h) + u ⊙ h) ⊙ f ⊙ (1 − f)                           dh = (1 − f) ⊙ g + f ⊙ u + U_fᵀ δ_f
    dW = Σ (δ_f, δ_n) xᵀ       dU_f = Σ δ_f hᵀ       dU_n = Σ δ_n (f ⊙ h)ᵀ       db = Σ (δ_f, δ_n)

W x is a product of x and stands outside the loop; the two others are inside. `mgu_scan` then has what every cell has:
lengths, either direction, chunks of time, residuals, sharding, and an adjoint that ``python -m
jaxconv.examples.minimal_gated_unit`` checks.

Source: G.-B. Zhou et al. 2016, "Minimal gated unit for recurrent neural networks".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv.check.core import check_vjp
from jaxconv.recurrence.cell import Cell, State, biased, held, product, to_accumulator
from jaxconv.recurrence.scan import rows_drawn, scan


class MGUParams(NamedTuple):
    """The weights: w (2m, n) and b (2m,) or None, the gate's rows first; u_f, u_n (m, m)."""

    w: Array
    u_f: Array
    u_n: Array
    b: Array | None = None


def _prepare(params: MGUParams) -> Any:
    """What a step reads beside the state and W x: matrices as the adjoint reads them, and as the step does."""
    u_f, u_n = to_accumulator(params.u_f), to_accumulator(params.u_n)
    return u_f, u_n, held((u_f.T, u_n.T)), params.b


def _step(w: Any, state: State, a: Array) -> tuple[State, tuple[Array, ...]]:
    (_, _, (turned_f, turned_n), b), (h,) = w, state
    a, m = biased(a, b), h.shape[-1]
    f = held(jax.nn.sigmoid(a[..., :m] + h @ turned_f))
    n = jnp.tanh(a[..., m:] + (f * h) @ turned_n)
    return ((1 - f) * h + f * n,), (f, n)


def _slopes(w: Any, before: State, gates: Any) -> tuple[Array, ...]:
    (h,), (f, n) = before, gates
    return f * (1 - n**2), (n - h) * f * (1 - f), h * f * (1 - f), f


def _adjoint(w: Any, slopes: Any, g: State) -> tuple[State, dict[str, Any]]:
    (u_f, u_n, *_), (s_n, s_f, s_u, f), (g_h,) = w, slopes, g
    delta_n = g_h * s_n
    u = delta_n @ u_n
    delta_f = g_h * s_f + u * s_u
    before = (1 - f) * g_h + f * u + delta_f @ u_f
    return (before,), {"w": (delta_f, delta_n), "b": (delta_f, delta_n), "u_f": delta_f, "u_n": delta_n}


MGU = Cell(
    params=MGUParams,
    shapes=lambda m, n: {"u_f": (m, m), "u_n": (m, m), "b": (2 * m,)},
    rows=2,
    layout=", the gate's rows first",
    optional=("b",),
    of_x=("w",),
    states=("h",),
    project=lambda params, x: product(x, params.w),
    prepare=_prepare,
    step=_step,
    slopes=_slopes,
    adjoint=_adjoint,
    operands=lambda before, gates: {"u_n": gates[0] * before[0]},
)


def mgu_init(key: Array, n: int, m: int) -> MGUParams:
    """Random weights, biases 0."""
    w, u, b, _ = rows_drawn(key, n, m, (0, 0), None, jnp.dtype("float32"), True)
    return MGUParams(w, u[:m], u[m:], b)


def mgu_scan(params: MGUParams, x: Array, h0: Array | None = None, **options: Any) -> tuple[Array, Array]:
    """The unit over a sequence, x (time, *batch, n): (h_last, h), options as in `gated_scan`.

    >>> params = mgu_init(jax.random.key(0), 3, 4)
    >>> mgu_scan(params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 1]), residuals=2)[1].shape
    (5, 2, 4)
    """
    states: tuple[Array, Array] = scan(MGU, "mgu_scan", params, x, h0, **options)
    return states


if __name__ == "__main__":
    keys = jax.random.split(jax.random.key(0), 2)
    print(check_vjp(mgu_scan, mgu_init(keys[0], 3, 4), jax.random.normal(keys[1], (6, 2, 3))))
