"""The gated cell: its weights, its equations and their adjoint.

    v[t] = W_x x[t] + b_x
    c[t] = σ(W_c x[t] + b_c + W_h h[t−1])
    h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]

and, with g[t] the total gradient at h[t],

    δ[t]   = g[t] ⊙ (h[t−1] − v[t]) ⊙ c[t] ⊙ (1 − c[t])          (gradient at the gate's pre-activation)
    ν[t]   = g[t] ⊙ (1 − c[t])                                    (gradient at v[t])
    g[t−1] = c[t] ⊙ g[t] + W_hᵀ δ[t]
    dW_c = Σ_t δ[t] x[t]ᵀ    dW_h = Σ_t δ[t] h[t−1]ᵀ    dW_x = Σ_t ν[t] x[t]ᵀ    db_c = Σ_t δ[t]    db_x = Σ_t ν[t]

W_c x and W_x x are products of x, outside the loop; W_h h is inside. Of the forward pass the gates c are kept: with
them v costs one matrix product and h none. Of h alone c would cost two products more, and the short cut
(h[t−1] − v[t])(1 − c[t]) = h[t−1] − h[t] would lose all its digits where c is near 1.

Letters: n input features, m state features, T time steps; c the gate, v the candidate. Arrays hold features last, so
that W x stands in the code as ``x @ W.T``.

Source: the GRU of K. Cho et al. 2014 without reset gate and with a linear candidate (activations σ and the identity).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import jax
from jax import Array, export

from jaxconv.recurrence.cell import Cell, State, biased, held, product, to_accumulator


class GatedParams(NamedTuple):
    """The weights of the cell.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    Attributes:
        w_c: (m, n), the gate's weights of the input.
        w_h: (m, m), the gate's weights of the state, or None: the gate reads x alone.
        w_x: (m, n), the candidate's weights.
        b_c, b_x: (m,), the biases of gate and candidate, or None.

    What ``jax.export`` makes of a function that takes them can be serialised; whoever reads it imports this name first.

    Source: the equations of the module `gated_cell`.

    >>> import jax
    >>> from jaxconv import gated_init
    >>> gated_init(jax.random.key(0), 3, 4).w_c.shape
    (4, 3)
    """

    w_c: Array
    w_h: Array | None
    w_x: Array
    b_c: Array | None = None
    b_x: Array | None = None


with suppress(ValueError):  # registered already, where this module is loaded a second time
    export.register_namedtuple_serialization(GatedParams, serialized_name="jaxconv.GatedParams")


def _prepare(params: GatedParams) -> Any:
    w_h = to_accumulator(params.w_h)
    return w_h, None if w_h is None else held(w_h.T), params.b_c, params.b_x


def mix(c: Array, h: Array, v: Array) -> Array:
    """c ⊙ h + (1 − c) ⊙ v"""
    return c * h + (1 - c) * v


def _step(w: Any, state: State, a: tuple[Array, Array]) -> tuple[State, tuple[Array, Array]]:
    (_, turned, b_c, b_x), (h,), (pre, v) = w, state, a
    v = biased(v, b_x)
    c = held(jax.nn.sigmoid(biased(pre, b_c) + (0 if turned is None else h @ turned)))
    return (mix(c, h, v),), (c, v)


def _slopes(w: Any, before: State, gates: Any) -> tuple[Array, Array]:
    (h,), (c, v) = before, gates
    return c, (h - v) * c * (1 - c)  # ∂h[t]/∂(pre-activation of c[t])


def _adjoint(w: Any, slopes: tuple[Array, Array], g: State) -> tuple[State, dict[str, Array]]:
    (w_h, *_), (c, slope), (g_h,) = w, slopes, g
    delta, nu = g_h * slope, g_h * (1 - c)
    before = c * g_h + (0 if w_h is None else delta @ w_h)
    return (before,), {"w_c": delta, "b_c": delta, "w_h": delta, "w_x": nu, "b_x": nu}


GATED = Cell(
    params=GatedParams,
    shapes=lambda m, n: {"w_x": (m, n), "w_h": (m, m), "b_c": (m,), "b_x": (m,)},
    rows=1,
    layout="",
    optional=("w_h", "b_c", "b_x"),
    of_x=("w_c", "w_x"),
    states=("h",),
    project=lambda params, x: (product(x, params.w_c), product(x, params.w_x)),
    prepare=_prepare,
    step=_step,
    slopes=_slopes,
    adjoint=_adjoint,
    keep=(False, (0,)),
    fill=lambda params, x, gates: (gates[0], biased(product(x, params.w_x), params.b_x)),
    line=lambda gates: (gates[0], (1 - gates[0]) * gates[1]),
    is_line=lambda params: params.w_h is None,
)
