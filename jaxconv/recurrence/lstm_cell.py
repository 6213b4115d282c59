"""Long short-term memory (LSTM): its weights, its equations and their adjoint.

    i, f, o = σ(W_i x + b_i + W_h h + b_h)      u = tanh(W_iu x + b_iu + W_hu h + b_hu)
    c' = f ⊙ c + i ⊙ u                          h' = o ⊙ tanh(c')

and, with g the total gradient at h', γ the one at c' as it comes from the next step, δ those at the pre-activations,

    γ' = γ + g ⊙ o ⊙ (1 − tanh(c')²)            dc = f ⊙ γ'
    δ_i = γ' ⊙ u ⊙ i ⊙ (1 − i)       δ_f = γ' ⊙ c ⊙ f ⊙ (1 − f)
    δ_u = γ' ⊙ i ⊙ (1 − u²)          δ_o = g ⊙ tanh(c') ⊙ o ⊙ (1 − o)
    dh = W_hᵀ δ      dW_i = Σ δ xᵀ      dW_h = Σ δ hᵀ      db = Σ δ

The rows stand in the order i, f, g, o, g being u. W_i x is a product of x, outside the loop; W_h h is inside. Of the
forward pass h and c are kept: from them one large product makes all gates of a chunk anew.

Source: S. Hochreiter and J. Schmidhuber 1997, with the forget gate of F. Gers et al. 2000.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, export

from jaxconv.recurrence.cell import Cell, State, biased, held, parts, product, to_accumulator


class LSTMParams(NamedTuple):
    """The weights of a long short-term memory, gates in the order i, f, g, o along the rows.

        i, f, o = σ(W_i x + b_i + W_h h + b_h),   g = tanh(…),   c' = f ⊙ c + i ⊙ g,   h' = o ⊙ tanh(c')

    Attributes:
        w_ih: (4m, n), the weights of the input.
        w_hh: (4m, m), the weights of the state.
        b_ih, b_hh: (4m,), biases, which are added, or None.

    Source: the equations of the module `lstm_cell`.

    >>> import jax
    >>> from jaxconv import lstm_init
    >>> lstm_init(jax.random.key(0), 3, 4).w_ih.shape
    (16, 3)
    """

    w_ih: Array
    w_hh: Array
    b_ih: Array | None = None
    b_hh: Array | None = None


with suppress(ValueError):  # registered already, where this module is loaded a second time
    export.register_namedtuple_serialization(LSTMParams, serialized_name="jaxconv.LSTMParams")


def _prepare(params: LSTMParams) -> Any:
    w_hh = to_accumulator(params.w_hh)
    return w_hh, held(w_hh.T), params.b_ih, params.b_hh


def _step(w: Any, state: State, a: Array) -> tuple[State, tuple[Array, ...]]:
    (_, turned, b_ih, b_hh), (h, c) = w, state
    pre, m = biased(biased(a, b_ih), b_hh) + h @ turned, h.shape[-1]
    i_f = held(jax.nn.sigmoid(pre[..., : 2 * m]))
    u, o = held((jnp.tanh(pre[..., 2 * m : 3 * m]), jax.nn.sigmoid(pre[..., 3 * m :])))
    i, f = parts(i_f, 2)
    c = held(f * c + i * u)
    t = jnp.tanh(c)
    return (o * t, c), (i_f, u, o, t)


def _slopes(w: Any, before: State, gates: Any) -> tuple[Array, ...]:
    (_, c), (i_f, u, o, t) = before, gates
    i, f = parts(i_f, 2)
    of_c = [u * i * (1 - i), c * f * (1 - f), i * (1 - u**2)]
    return o * (1 - t**2), jnp.concatenate([*of_c, t * o * (1 - o)], -1), f


def _adjoint(w: Any, slopes: Any, g: State) -> tuple[State, dict[str, Any]]:
    (w_hh, *_), (s_c, s_pre, f), (g_h, g_c) = w, slopes, g
    g_c = held(g_c + g_h * s_c)
    delta = jnp.concatenate([g_c, g_c, g_c, g_h], -1) * s_pre  # δ_i, δ_f, δ_u, δ_o
    return (delta @ w_hh, f * g_c), dict.fromkeys(("w_ih", "b_ih", "w_hh", "b_hh"), delta)


LSTM = Cell(
    params=LSTMParams,
    shapes=lambda m, n: {"w_hh": (4 * m, m), "b_ih": (4 * m,), "b_hh": (4 * m,)},
    rows=4,
    layout=", gates in the order i, f, g, o",
    optional=("b_ih", "b_hh"),
    of_x=("w_ih",),
    states=("h", "c"),
    project=lambda params, x: product(x, params.w_ih),
    prepare=_prepare,
    step=_step,
    slopes=_slopes,
    adjoint=_adjoint,
)
