"""How gradients fare through time: the Jacobian of one step, and products of many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export, lax

from jaxconv._jax.dtypes import accumulator
from jaxconv.recurrence.arguments import check_scan
from jaxconv.recurrence.cell import Cell, State, to_accumulator
from jaxconv.recurrence.gated_cell import GATED, GatedParams
from jaxconv.recurrence.gru import Reset
from jaxconv.recurrence.gru_cell import GRU, GRUParams
from jaxconv.recurrence.lstm import Pair
from jaxconv.recurrence.lstm_cell import LSTM, LSTMParams
from jaxconv.recurrence.scan import jacobian, of_state, step_jacobian
from jaxconv.sizes.arguments import one_of
from jaxconv.terminal.output import legible

CELLS: dict[type, Any] = {GRUParams: GRU.__getitem__, LSTMParams: lambda reset: LSTM}  # others: the gated one


def gated_step_jacobian(params: GatedParams, h: Array, x: Array) -> Array:
    """Jacobian of one step of the recurrence with respect to the state before it.

        ∂h[t]/∂h[t−1] = diag(c[t]) + diag((h[t−1] − v[t]) ⊙ c[t] ⊙ (1 − c[t])) W_h

    Args:
        params: GatedParams.
        h: h[t−1], (*batch, m).
        x: x[t], (*batch, n); leading axes of h and x broadcast.

    Returns:
        (*batch, m, m); rows are the components of h[t], columns those of h[t−1].

    Raises:
        TypeError, ValueError: as `gated_step`.

    Source: the product rule on h[t] = c ⊙ h[t−1] + (1 − c) ⊙ v with c' = c(1 − c).

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.zeros((1, 1)))
    >>> gated_step_jacobian(params, jnp.array([0.0]), jnp.array([1.0]))
    Array([[0.5]], dtype=float32)
    """
    return step_jacobian(GATED, "gated_step_jacobian", params, h, x)


def gru_step_jacobian(params: GRUParams, h: Array, x: Array, *, reset: Reset = "after") -> Array:
    """Jacobian of one step of a gated recurrent unit with respect to the state before it.

        ∂h'/∂h = diag(z) + diag(s_r) W_hr + diag(s_z) W_hz + diag(s_n) W_hn,   s as in the module `gru_cell`

    Args:
        params: GRUParams.
        h: state before the step, (*batch, m).
        x: input of the step, (*batch, n); leading axes of h and x broadcast.
        reset: as in `gru_scan`.

    Returns:
        (*batch, m, m); rows are the components of the state after the step, columns those before it.

    Raises:
        TypeError, ValueError: as `gru_step`.

    Source: the adjoint of one step, of every unit vector.

    >>> import jax.numpy as jnp
    >>> gru_step_jacobian(GRUParams(jnp.zeros((3, 1)), jnp.zeros((3, 1))), jnp.array([2.0]), jnp.array([1.0]))
    Array([[0.5]], dtype=float32)
    """
    cell = GRU[one_of("gru_step_jacobian", "reset", reset, tuple(GRU))]
    return step_jacobian(cell, "gru_step_jacobian", params, h, x)


def lstm_step_jacobian(params: LSTMParams, h: Pair, x: Array) -> Array:
    """Jacobian of one step of a long short-term memory with respect to the state (h, c) before it.

        ∂(h', c')/∂(h, c),   of which ∂c'/∂c = diag(f)

    Args:
        params: LSTMParams.
        h: (h, c), the state before the step, each (*batch, m).
        x: input of the step, (*batch, n); leading axes of h, c and x broadcast.

    Returns:
        (*batch, 2m, 2m); rows are the components of (h', c'), columns those of (h, c).

    Raises:
        TypeError, ValueError: as `lstm_step`.

    Source: the adjoint of one step, of every unit vector.

    >>> import jax.numpy as jnp
    >>> params = LSTMParams(jnp.zeros((4, 1)), jnp.zeros((4, 1)))
    >>> lstm_step_jacobian(params, (jnp.array([0.0]), jnp.array([0.0])), jnp.array([1.0]))
    Array([[0.  , 0.25],
           [0.  , 0.5 ]], dtype=float32)
    """
    return step_jacobian(LSTM, "lstm_step_jacobian", params, h, x)


@partial(jax.tree_util.register_dataclass, data_fields=("norms", "exponents", "log_norms"), meta_fields=())
@dataclass(frozen=True)
class GradientFlow:
    """How a gradient fares on its way back through time; made by `gradient_flow`.

        norms[t] = ‖∂h[T]/∂h[t]‖₂ = ‖∏_{r=t+1…T} ∂h[r]/∂h[r−1]‖₂

    Attributes:
        norms: (T+1, *batch), for t = 0 … T; the last is 1.
        exponents: (*batch, m), the Lyapunov exponents, nats per step, descending.
        log_norms: (T+1, *batch), the natural logarithm of `norms`, right also where `norms` leaves the range of floats.

    >>> import jax.numpy as jnp
    >>> norms, exponents = GradientFlow(jnp.ones(2), jnp.zeros(1), jnp.zeros(2))
    """

    norms: Array
    exponents: Array
    log_norms: Array

    def __iter__(self) -> Iterator[Array]:
        return iter((self.norms, self.exponents))

    def summary(self) -> str:
        """One line for people: whether gradients vanish, hold or explode, and over how many steps.

            vanish: log ‖∂h[T]/∂h[0]‖ < −1,   explode: > 1,   else hold;
            steps: least s, log ‖∂h[T]/∂h[T−r]‖ < −1 (vanish), > 1 (explode) for all r ≥ s

        Of several sequences it counts each kind, and its steps are the median of those that leave.

        >>> import jax.numpy as jnp
        >>> log_norms = jnp.array([-3.0, -2.0, -1.0, 0.0])
        >>> GradientFlow(jnp.exp(log_norms), jnp.zeros(1), log_norms).summary()
        'vanish within 2 steps: ‖∂h[T]/∂h[0]‖ = exp(-3) over T = 3 steps'
        """
        logs = np.asarray(jax.device_get(self.log_norms), np.float64).reshape(len(self.log_norms), -1)
        time, sequences = logs.shape[0] - 1, logs.shape[1]
        whole = f"over T = {time} steps"
        if not sequences:
            return f"no sequence: nothing to say {whole}"
        kinds = {"vanish": logs[0] < -1, "hold": np.abs(logs[0]) <= 1, "explode": logs[0] > 1}
        parts = []
        for kind, these in kinds.items():
            if these.any():
                side = -1 if kind == "vanish" else 1
                steps = time + 1 - np.argmin(side * logs[:, these] > 1, axis=0)  # its side from the end on
                within = "" if kind == "hold" else f" within {np.median(steps):.0f} steps"
                parts.append(f"{kind}{within}" + (f" in {these.sum()} of {sequences}" if sequences > 1 else ""))
        unknown = int(np.isnan(logs[0]).sum())
        if unknown:
            parts.append(f"not a number in {unknown} of {sequences}")
        low, high = np.min(logs[0]), np.max(logs[0])
        norm = f"exp({low:.4g})" if low == high or sequences == 1 else f"exp({low:.4g}) to exp({high:.4g})"
        return legible(f"{', '.join(parts)}: ‖∂h[T]/∂h[0]‖ = {norm} {whole}")


with suppress(ValueError):  # registered already, where this module is loaded a second time
    export.register_pytree_node_serialization(
        GradientFlow,
        serialized_name="jaxconv.GradientFlow",
        serialize_auxdata=lambda _: b"",
        deserialize_auxdata=lambda _: (),
        from_children=lambda _, children: GradientFlow(*children),
    )


@partial(jax.jit, static_argnames=("cell",))
def _flow(params: Any, x: Array, start: State | None, *, cell: Cell) -> GradientFlow:
    wide = accumulator(x.dtype)
    if start is None:
        start = (jnp.zeros((*x.shape[1:-1], cell.width(params)), x.dtype),) * len(cell.states)
    w, size = cell.prepare(params), sum(s.shape[-1] for s in start)
    identity = jnp.broadcast_to(jnp.eye(size, dtype=wide), (*start[0].shape[:-1], size, size))
    none = jnp.zeros(start[0].shape[:-1], wide)

    def one(state: State, x: Array) -> tuple[State, State]:
        return cell.step(w, state, cell.project(params, x))[0], state

    _, before = lax.scan(one, to_accumulator(start), x)

    def backward(carry: tuple[Array, Array], at_t: Any) -> tuple[tuple[Array, Array], Array]:
        """exp(log_scale) · product = ∂s[T]/∂s[t], the product kept near 1."""
        product, log_scale = carry
        product = product @ jacobian(params, *at_t, cell=cell)
        norm = jnp.linalg.norm(product, 2, axis=(-2, -1))
        log_scale = log_scale + jnp.log(norm)
        product = product / jnp.where(norm > 0, norm, 1)[..., None, None]
        return (product, log_scale), log_scale

    _, log_norms = lax.scan(backward, (identity, none), (before, x), reverse=True)
    log_norms = jnp.concatenate([log_norms, none[None]])

    def forward(carry: tuple[Array, Array], at_t: Any) -> tuple[tuple[Array, Array], None]:
        """QR keeps the directions apart; the diagonal of R holds how each was stretched in this step."""
        q, log_stretch = carry
        q, r = jnp.linalg.qr(jacobian(params, *at_t, cell=cell) @ q)
        return (q, log_stretch + jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))), None

    (_, log_stretch), _ = lax.scan(forward, (identity, jnp.zeros(identity.shape[:-1], wide)), (before, x))
    exponents = -jnp.sort(-log_stretch / max(x.shape[0], 1), axis=-1)
    return GradientFlow(*(each.astype(x.dtype) for each in (jnp.exp(log_norms), exponents, log_norms)))


def gradient_flow(
    params: GatedParams | GRUParams | LSTMParams, x: Array, h0: Any = None, *, reset: Reset = "after"
) -> GradientFlow:
    """How a gradient fares on its way back through time: norms of the state's Jacobians, and Lyapunov exponents.

        ∂h[T]/∂h[t] = ∂h[T]/∂h[T−1] · … · ∂h[t+1]/∂h[t],   each factor as in `…_step_jacobian`

    Norms and exponents are carried as logarithms and the products renormalised at every step, so that no length of
    the sequence overflows or underflows them.

    Args:
        params: GatedParams, GRUParams or LSTMParams; of an LSTM h stands for (h, c), with 2m components.
        x: (time, *batch, n).
        h0: (*batch, m), of an LSTM (h0, c0); zeros where None.
        reset: of a GRU, as in `gru_scan`.

    Returns:
        GradientFlow(norms, exponents): norms (T+1, *batch), ‖∂h[T]/∂h[t]‖₂ for t = 0 … T, the last is 1; exponents
        (*batch, m), nats per step, descending (0 where T is 0). Also log_norms, and summary(): all in one line.

    Raises:
        TypeError, ValueError: as `gated_scan`.

    Source: G. Benettin et al. 1980 (the exponents by QR); Y. Bengio et al. 1994 (vanishing and exploding gradients).

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), None, jnp.zeros((1, 1)))  # c is always 1/2
    >>> gradient_flow(params, jnp.zeros((2, 1))).norms
    Array([0.25, 0.5 , 1.  ], dtype=float32)
    >>> gradient_flow(params, jnp.zeros((100, 1))).summary()
    'vanish within 2 steps: ‖∂h[T]/∂h[0]‖ = exp(-69.31) over T = 100 steps'
    """
    cell = CELLS.get(type(params), lambda reset: GATED)(one_of("gradient_flow", "reset", reset, tuple(GRU)))
    check_scan(cell, "gradient_flow", params, x, h0)
    return _flow(params, x, None if h0 is None else of_state(cell, h0), cell=cell)
