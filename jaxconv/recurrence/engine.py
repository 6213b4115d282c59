"""The gated recurrence over a sequence and its hand-written adjoint: one reverse scan that carries one vector.

    v[t] = W_x x[t] + b_x
    c[t] = σ(W_c x[t] + b_c + W_h h[t−1])
    h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]

and, with ȳ[t] = ∂l/∂h[t] as it comes from outside and g[t] the total one,

    δ[t]   = g[t] ⊙ (h[t−1] − v[t]) ⊙ c[t] ⊙ (1 − c[t])          (gradient at the gate's pre-activation)
    ν[t]   = g[t] ⊙ (1 − c[t])                                    (gradient at v[t])
    g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]
    dW_c = Σ_t δ[t] x[t]ᵀ    dW_h = Σ_t δ[t] h[t−1]ᵀ    dW_x = Σ_t ν[t] x[t]ᵀ    dx[t] = W_cᵀ δ[t] + W_xᵀ ν[t]
    db_c = Σ_t δ[t]          db_x = Σ_t ν[t]            dh[0] = g[0]

Letters as in `gated_cell`; sums over t run over the batch as well. From right to left, t − 1 reads t + 1 throughout.

Both passes go through time in chunks (`time_chunks`). What the gradient keeps beyond the inputs is the state at
the start of every chunk, and for "recompute" the gates c, the size of h: with them v costs one matrix product and h
none, h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]. Of h alone c would cost two products more, and the short cut
(h[t−1] − v[t])(1 − c[t]) = h[t−1] − h[t] would lose all its digits where c is near 1.

Past a sequence's length its gate stands at 1: there h[t] = h[t−1] and δ = ν = 0.

Source: the adjoint is the chain rule along h[t−1] → h[t] (P. Werbos, "Backpropagation through time", 1990).
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.manual_axes import partitioned
from jaxconv._jax.symbolic_zeros import WithRule, is_perturbed, none_if_zero, perturbed, primals
from jaxconv.recurrence.gated_cell import GatedParams, project, to_accumulator
from jaxconv.recurrence.states import (
    Kept,
    Residuals,
    ScanConfig,
    affine_scan,
    masked,
    states,
    states_before,
    within,
    write_at,
    zero_like_all,
    zeros_buffer,
)
from jaxconv.recurrence.time_chunks import over_chunks

TURN = 256  # from so many states on Σ_t δ xᵀ is faster as a product with δ turned before it


def _forward(
    params: GatedParams, x: Array, h0: Array, lengths: Array | None, config: ScanConfig, residuals: Residuals | None
) -> tuple[Array, Array, Kept]:
    """(h_last, h, what the gradient keeps with these residuals; nothing for None)."""
    time = x.shape[0]
    if not time:
        return h0, jnp.zeros((0, *h0.shape), x.dtype), Kept(to_accumulator(h0)[None][:0])
    start, t = to_accumulator(h0), jnp.arange(time, dtype=jnp.int32)

    def buffer_if(*policies: str) -> Array | None:
        return zeros_buffer(time, start, start.dtype) if residuals in policies else None

    def chunk(carry: tuple[Array, Kept], at: tuple[Array, Array], nothing: None) -> tuple[Any, None, Array]:
        (start, into), (x, t) = carry, at
        live = within(lengths, t)
        last, into, _ = states(params, masked(live, x, 0), start, live, t, into, config)
        return (last, into), None, start

    h = zeros_buffer(time, start, start.dtype if residuals == "save" else x.dtype)
    into = Kept(h=h, c=buffer_if("recompute", "save"), v=buffer_if("save"))
    (h_last, into), _, starts = over_chunks(chunk, (start, into), (x, t), None, config.chunks(params, x), back=False)
    h = masked(within(lengths, t), into.h, 0).astype(x.dtype)
    return h_last.astype(x.dtype), h, into._replace(starts=starts, h=into.h if residuals == "save" else None)


# -------------------------------------------------------------------------------------------------- the adjoint


def _reverse_scan(
    g: Array, y_bar: Array | None, c: Array, slope: Array, w_h: Array | None, over: Array, config: ScanConfig
) -> tuple[Array, Array]:
    """g at the state before the chunk, and g[t] of all its steps, stored in the buffer `over`, which is no longer read:
    g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]
    """
    if w_h is None:
        y_bar = jnp.zeros_like(c) if y_bar is None else y_bar
        g, passed_on = affine_scan(jnp.multiply, c, y_bar, g, config, back=True, before=True)
        return g, passed_on + y_bar

    def step(carry: tuple[Array, Array], at_t: Any) -> tuple[tuple[Array, Any], None]:
        (g, stack), (t, y_bar, c, slope) = carry, at_t
        g = g if y_bar is None else g + y_bar
        return (c * g + (g * slope) @ w_h, write_at(stack, g[None], t)), None

    at = (jnp.arange(c.shape[0], dtype=jnp.int32), y_bar, c, slope)
    return lax.scan(step, (g, over), at, reverse=not config.reverse, unroll=config.unroll)[0]


def _recall(params: GatedParams, x: Array, live: Array | None, start: Array, kept: Kept, config: ScanConfig) -> Any:
    """(h[t−1], c, v) of one chunk, from what was kept of it."""
    if kept.c is None:
        steps = x.shape[0]
        into = Kept(h=zeros_buffer(steps, start, start.dtype), c=zeros_buffer(steps, start, start.dtype))
        _, into, v = states(params, x, start, live, jnp.arange(steps, dtype=jnp.int32), into, config)
        return states_before(start, into.h, config.reverse), into.c, v
    if kept.h is not None:
        return states_before(start, kept.h, config.reverse), kept.c, kept.v
    c, v = kept.c, project(x, params.w_x, params.b_x)
    return affine_scan(lambda c, v: (1 - c) * v, c, v, start, config, before=True)[1], c, v


def _rows(a: Array) -> Array:
    """(steps, *batch, m) as (steps · batch, m); m may be 0."""
    return a.reshape(prod(a.shape[:-1]), a.shape[-1])


def _turned(a: Array) -> Array:
    """(steps, *batch, m) as (m, steps · batch), transposed in memory where that pays.

    Over several devices the axes stay unmerged: one that is split would have to be gathered.
    """
    if partitioned():
        return jnp.moveaxis(a, -1, 0)
    turned = _rows(a).T
    return lax.optimization_barrier(turned) if a.shape[-1] >= TURN else turned


def _outer(turned: Array, b: Array) -> Array:
    """Σ_t a[t] b[t]ᵀ, over the batch as well, of a turned by `_turned`."""
    if turned.ndim == 2:
        return turned @ _rows(b)
    return jnp.tensordot(turned, b, b.ndim - 1)


def _backward(
    params: GatedParams,
    x: Array,
    lengths: Array | None,
    kept: Kept,
    g_last: Array,
    y_bar: Any,
    marks: Any,
    config: ScanConfig,
) -> tuple[GatedParams, Any, Any]:
    """The gradients that `marks` ask for, None for the others; the weights' are summed from chunk to chunk."""
    for_params, for_x, for_h0 = marks
    w_c, w_h, w_x, _, _ = map(to_accumulator, params)

    def chunk(carry: tuple[Array, dict], at: Any, start: Array) -> tuple[Any, Any, None]:
        g, sums = carry
        x, t, y_bar, kept = at
        live = within(lengths, t)
        x, y_bar = masked(live, x, 0), None if y_bar is None else to_accumulator(masked(live, y_bar, 0))
        h_before, c, v = _recall(params, x, live, start, kept, config)
        slope = (h_before - v) * c * (1 - c)  # ∂h[t]/∂(pre-activation of c[t])
        g, total_g = _reverse_scan(g, y_bar, c, slope, w_h, v, config)
        delta, nu = total_g * slope, total_g * (1 - c)
        steps = tuple(range(delta.ndim - 1))
        delta_t, nu_t = _turned(delta), _turned(nu)
        terms = {
            "w_c": lambda: _outer(delta_t, to_accumulator(x)),
            "w_h": lambda: _outer(delta_t, h_before),
            "w_x": lambda: _outer(nu_t, to_accumulator(x)),
            "b_c": lambda: delta.sum(steps),
            "b_x": lambda: nu.sum(steps),
        }
        sums = {name: total + terms[name]() for name, total in sums.items()}
        return (g, sums), ((delta @ w_c + nu @ w_x).astype(x.dtype) if is_perturbed(for_x) else None), None

    asked = [name for name, mark in for_params._asdict().items() if mark is not None and is_perturbed(mark)]
    sums = {name: jnp.zeros_like(to_accumulator(getattr(params, name))) for name in asked}
    g, dx, t = (
        to_accumulator(g_last),
        jnp.zeros_like(x),
        None if lengths is None else jnp.arange(x.shape[0], dtype=jnp.int32),
    )
    if x.shape[0]:
        at = (x, t, y_bar, kept._replace(starts=None))
        (g, sums), dx, _ = over_chunks(chunk, (g, sums), at, kept.starts, config.chunks(params, x), back=True)
    gradients: list[Any] = [sums[f].astype(x.dtype) if f in sums else None for f in GatedParams._fields]
    d_params = GatedParams(*gradients)
    return d_params, dx if is_perturbed(for_x) else None, g.astype(x.dtype) if is_perturbed(for_h0) else None


# -------------------------------------------------------------------------------------------------- the rule


def forward(params: GatedParams, x: Array, h0: Array, lengths: Array | None, config: ScanConfig) -> tuple[Array, Array]:
    """(h_last, h), differentiated by JAX."""
    return _forward(params, x, h0, lengths, config, None)[:2]


@partial(WithRule, nondiff_argnums=(4,))
def scan(params: GatedParams, x: Array, h0: Array, lengths: Array | None, config: ScanConfig) -> tuple[Array, Array]:
    """(h_last, h), differentiated by hand."""
    return forward(params, x, h0, lengths, config)


def _rule_forward(params: Any, x: Any, h0: Any, lengths: Any, config: ScanConfig) -> tuple[tuple[Array, Array], tuple]:
    marks = perturbed((params, x, h0))
    params, x, h0, lengths = primals((params, x, h0, lengths))
    h_last, h, kept = _forward(params, x, h0, lengths, config, config.residuals)
    return (h_last, h), (params, x, lengths, kept, marks)


def _rule_backward(config: ScanConfig, residuals: tuple, cotangents: tuple[Any, Any]) -> tuple[Any, ...]:
    params, x, lengths, kept, marks = residuals
    g_last, y_bar = map(none_if_zero, cotangents)
    if g_last is None:
        g_last = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype) + zero_like_all(x)
    return *_backward(params, x, lengths, kept, g_last, y_bar, marks, config), None


scan.defvjp(_rule_forward, _rule_backward)
