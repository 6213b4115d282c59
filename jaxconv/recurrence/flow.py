"""How gradients fare through time: the Jacobian of one step, and products of many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export, lax

from jaxconv._jax.dtypes import accumulator
from jaxconv.recurrence.gated import check_scan, gated_scan
from jaxconv.recurrence.gated_cell import GatedParams, biased, check_step, gate, led
from jaxconv.terminal.output import legible


@jax.jit
def _step_jacobian(params: GatedParams, h: Array, x: Array) -> Array:
    wide = accumulator(x.dtype)
    w_c, w_h, w_x, b_c, b_x = jax.tree.map(lambda p: p.astype(wide), params)
    h, x = h.astype(wide), x.astype(wide)
    h, x = (led(each, max(h.ndim, x.ndim)) for each in (h, x))
    c = gate(biased(x @ w_c.T, b_c), h, None if w_h is None else w_h.T)
    v = biased(x @ w_x.T, b_x)
    slope = (h - v) * c * (1 - c)
    rank = slope.ndim + 1
    straight = jnp.broadcast_to(c, slope.shape)[..., None] * led(jnp.eye(c.shape[-1], dtype=wide), rank)
    return straight if w_h is None else straight + slope[..., None] * led(w_h, rank)


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
    check_step("gated_step_jacobian", params, h, x)
    return _step_jacobian(params, h, x).astype(x.dtype)


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

            vanish: log ‖∂h[T]/∂h[0]‖ < −1,   explode: > 1,   else hold;   steps: least s, |log ‖∂h[T]/∂h[T−s]‖| > 1

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
                steps = np.argmax(np.abs(logs[::-1, these]) > 1, axis=0)
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


@jax.jit
def _flow(params: GatedParams, x: Array, h0: Array | None) -> GradientFlow:
    if h0 is None:
        h0 = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype)
    _, h = gated_scan(params, x, h0, derivative="jax")
    before = jnp.concatenate([h0[None], h[:-1]]) if x.shape[0] else h
    wide = accumulator(x.dtype)
    m = h0.shape[-1]
    identity = jnp.broadcast_to(jnp.eye(m, dtype=wide), (*h0.shape[:-1], m, m))
    none = jnp.zeros(h0.shape[:-1], wide)

    def backward(carry: tuple[Array, Array], at_t: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        """exp(log_scale) · product = ∂h[T]/∂h[t], the product kept near 1."""
        product, log_scale = carry
        product = product @ _step_jacobian(params, *at_t)
        norm = jnp.linalg.norm(product, 2, axis=(-2, -1))
        log_scale = log_scale + jnp.log(norm)
        product = product / jnp.where(norm > 0, norm, 1)[..., None, None]
        return (product, log_scale), log_scale

    _, log_norms = lax.scan(backward, (identity, none), (before, x), reverse=True)
    log_norms = jnp.concatenate([log_norms, none[None]])

    def forward(carry: tuple[Array, Array], at_t: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        """QR keeps the m directions apart; the diagonal of R holds how each was stretched in this step."""
        q, log_stretch = carry
        q, r = jnp.linalg.qr(_step_jacobian(params, *at_t) @ q)
        return (q, log_stretch + jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))), None

    stretch = jnp.zeros(h0.shape, wide)
    (_, log_stretch), _ = lax.scan(forward, (identity, stretch), (before, x))
    exponents = -jnp.sort(-log_stretch / max(x.shape[0], 1), axis=-1)
    return GradientFlow(*(each.astype(x.dtype) for each in (jnp.exp(log_norms), exponents, log_norms)))


def gradient_flow(params: GatedParams, x: Array, h0: Array | None = None) -> GradientFlow:
    """How a gradient fares on its way back through time: norms of the state's Jacobians, and Lyapunov exponents.

        ∂h[T]/∂h[t] = ∂h[T]/∂h[T−1] · … · ∂h[t+1]/∂h[t],   each factor as in `gated_step_jacobian`

    Norms and exponents are carried as logarithms and the products renormalised at every step, so that no length of
    the sequence overflows or underflows them.

    Args:
        params: GatedParams.
        x: (time, *batch, n).
        h0: (*batch, m); zeros where None.

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
    check_scan("gradient_flow", params, x, h0)
    return _flow(params, x, h0)
