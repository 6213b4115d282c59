"""The gated recurrent unit (GRU): its weights, its equations and their adjoint, in both variants.

    r = σ(W_ir x + b_ir + W_hr h + b_hr)        z = σ(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r ⊙ q)             q = W_hn h + b_hn                (reset="after" the product)
    n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)                                (reset="before" it)
    h' = (1 − z) ⊙ n + z ⊙ h

and, with g the total gradient at h', δ_r, δ_z, δ_n those at the three pre-activations,

    δ_n = g ⊙ (1 − z) ⊙ (1 − n²)      δ_z = g ⊙ (h − n) ⊙ z ⊙ (1 − z)
    δ_r = δ_n ⊙ q ⊙ r ⊙ (1 − r)       dh = z ⊙ g + W_hrᵀ δ_r + W_hzᵀ δ_z + W_hnᵀ (r ⊙ δ_n)                   (after)
    u = W_hnᵀ δ_n    δ_r = u ⊙ h ⊙ r ⊙ (1 − r)    dh = z ⊙ g + W_hrᵀ δ_r + W_hzᵀ δ_z + r ⊙ u                 (before)
    dW_i· = Σ δ_· xᵀ    dW_hr, dW_hz = Σ δ_r hᵀ, Σ δ_z hᵀ    dW_hn = Σ (r ⊙ δ_n) hᵀ (after), Σ δ_n (r ⊙ h)ᵀ (before)

W_i· x are products of x, outside the loop; the others are inside. Of the forward pass h alone is kept: from it one
large product makes all gates of a chunk anew.

Source: K. Cho et al. 2014 (before); the variant after the product is cuDNN's and PyTorch's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, export

from jaxconv.recurrence.cell import Cell, State, biased, held, parts, product, spread, to_accumulator


class GRUParams(NamedTuple):
    """The weights of a gated recurrent unit, gates in the order r, z, n along the rows.

        r, z = σ(W_i x + b_i + W_h h + b_h),   n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)),   h' = (1 − z) ⊙ n + z ⊙ h

    Attributes:
        w_ih: (3m, n), the weights of the input.
        w_hh: (3m, m), the weights of the state.
        b_ih, b_hh: (3m,), the biases beside each, or None.

    Source: the equations of the module `gru_cell`.

    >>> import jax
    >>> from jaxconv import gru_init
    >>> gru_init(jax.random.key(0), 3, 4).w_ih.shape
    (12, 3)
    """

    w_ih: Array
    w_hh: Array
    b_ih: Array | None = None
    b_hh: Array | None = None


with suppress(ValueError):  # registered already, where this module is loaded a second time
    export.register_namedtuple_serialization(GRUParams, serialized_name="jaxconv.GRUParams")


def _shapes(m: Any, n: Any) -> dict[str, tuple]:
    return {"w_hh": (3 * m, m), "b_ih": (3 * m,), "b_hh": (3 * m,)}


def _prepare_after(params: GRUParams) -> Any:
    w_hh = to_accumulator(params.w_hh)
    return w_hh, held(w_hh.T), params.b_ih, params.b_hh


def _step_after(w: Any, state: State, a: Array) -> tuple[State, tuple[Array, ...]]:
    (_, turned, b_ih, b_hh), (h,) = w, state
    p, m = biased(h @ turned, b_hh), h.shape[-1]
    a = biased(a, b_ih)
    rz = held(jax.nn.sigmoid(a[..., : 2 * m] + p[..., : 2 * m]))
    (r, z), q = parts(rz, 2), p[..., 2 * m :]
    n = jnp.tanh(a[..., 2 * m :] + r * q)
    return ((1 - z) * n + z * h,), (rz, n, q)


def _slopes_after(w: Any, before: State, gates: Any) -> tuple[Array, ...]:
    (h,), (rz, n, q) = before, gates
    r, z = parts(rz, 2)
    s_n = (1 - z) * (1 - n**2)
    return jnp.concatenate([s_n * q * r * (1 - r), (h - n) * z * (1 - z), s_n * r], -1), s_n, z


def _adjoint_after(w: Any, slopes: Any, g: State) -> tuple[State, dict[str, Any]]:
    (w_hh, *_), (s_h, s_n, z), (g_h,) = w, slopes, g
    of_h = spread(g_h, s_h)  # δ_r, δ_z, r ⊙ δ_n
    of_x = of_h[..., : 2 * s_n.shape[-1]], g_h * s_n
    return (z * g_h + of_h @ w_hh,), {"w_ih": of_x, "b_ih": of_x, "w_hh": of_h, "b_hh": of_h}


def _prepare_before(params: GRUParams) -> Any:
    m = params.w_hh.shape[-1]
    w_rz, w_n = (to_accumulator(part) for part in (params.w_hh[: 2 * m], params.w_hh[2 * m :]))
    return w_rz, w_n, held((w_rz.T, w_n.T)), params.b_ih, params.b_hh


def _step_before(w: Any, state: State, a: Array) -> tuple[State, tuple[Array, ...]]:
    (_, _, (turned_rz, turned_n), b_ih, b_hh), (h,) = w, state
    a, m = biased(biased(a, b_ih), b_hh), h.shape[-1]
    rz = held(jax.nn.sigmoid(a[..., : 2 * m] + h @ turned_rz))
    r, z = parts(rz, 2)
    n = jnp.tanh(a[..., 2 * m :] + (r * h) @ turned_n)
    return ((1 - z) * n + z * h,), (rz, n)


def _slopes_before(w: Any, before: State, gates: Any) -> tuple[Array, ...]:
    (h,), (rz, n) = before, gates
    r, z = parts(rz, 2)
    return (1 - z) * (1 - n**2), (h - n) * z * (1 - z), h * r * (1 - r), r, z


def _adjoint_before(w: Any, slopes: Any, g: State) -> tuple[State, dict[str, Any]]:
    (w_rz, w_n, *_), (s_n, s_z, s_r, r, z), (g_h,) = w, slopes, g
    d_n = held(g_h * s_n)
    u = d_n @ w_n
    d_rz = jnp.concatenate([u * s_r, g_h * s_z], -1)
    before = z * g_h + d_rz @ w_rz + r * u
    delta: Any = d_rz, d_n
    return (before,), dict.fromkeys(("w_ih", "b_ih", "w_hh", "b_hh"), delta)


_AFTER = Cell(
    params=GRUParams,
    shapes=_shapes,
    rows=3,
    layout=", gates in the order r, z, n",
    optional=("b_ih", "b_hh"),
    of_x=("w_ih",),
    states=("h",),
    project=lambda params, x: product(x, params.w_ih),
    prepare=_prepare_after,
    step=_step_after,
    slopes=_slopes_after,
    adjoint=_adjoint_after,
)
GRU = {
    "after": _AFTER,
    "before": _AFTER._replace(
        prepare=_prepare_before,
        step=_step_before,
        slopes=_slopes_before,
        adjoint=_adjoint_before,
        operands=lambda before, gates: {"w_hh": (before[0], parts(gates[0], 2)[0] * before[0])},
    ),
}
