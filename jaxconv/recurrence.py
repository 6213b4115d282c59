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

Letters as in `jaxconv.cell`; sums over t run over the batch as well. From right to left, t − 1 reads t + 1 throughout.

Both passes go through time in blocks (`jaxconv.timeblocks`). What the gradient keeps beyond the inputs is the state at
the start of every block, and for "recompute" the gates c, the size of h: with them v costs one matrix product and h
none, h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]. Of h alone c would cost two products more, and the short cut
(h[t−1] − v[t])(1 − c[t]) = h[t−1] − h[t] would lose all its digits where c is near 1.

Past a sequence's length its gate stands at 1: there h[t] = h[t−1] and δ = ν = 0.

Source: the adjoint is the chain rule along h[t−1] → h[t] (P. Werbos, "Backpropagation through time", 1990); the linear
form by prefix sums: G. Blelloch 1990, "Prefix sums and their applications", section 1.4.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv.arguments import is_symbolic
from jaxconv.cell import GatedParams, mix, project, wide
from jaxconv.rules import given, is_wanted, values, wanted
from jaxconv.timeblocks import Blocks, over_blocks

Residuals = Literal["recompute", "save"] | int

# The rows (steps × batch) of a block's matrix products: about ROWS, fewer where states are wide, since a block should
# stay in a cache of some MiB, but no fewer than LEAST. A sequence of up to two blocks is one: cutting costs copies.
NUMBERS, ROWS, LEAST = 2**18, 2048, 1024
TURN = 256  # from so many states on Σ_t δ xᵀ is faster as a product with δ turned before it


class Plan(NamedTuple):
    """The options of a run.

    Attributes:
        reverse: from right to left.
        unroll: steps per iteration of a loop.
        residuals: what the gradient keeps: "recompute", "save", or the state every so many steps.
    """

    reverse: bool = False
    unroll: int = 1
    residuals: Residuals = "recompute"

    def blocks(self, params: GatedParams, x: Array) -> Blocks:
        """How the time of x (T, *batch, n) is cut: as `residuals` says, else near `NUMBERS` and evenly if it can."""
        time, *batch = x.shape[:-1]
        if isinstance(self.residuals, int):
            return Blocks(time, min(self.residuals, time), self.reverse)
        if any(map(is_symbolic, x.shape)):
            return Blocks(time, time, self.reverse)
        rows = max(min(NUMBERS // params.w_c.shape[0], ROWS), LEAST)
        target = -(-rows // max(1, prod(batch)))
        near = (k for k in range(max(1, target // 2), 2 * target + 1) if time % k == 0)
        length = time if time <= 2 * target else min(near, key=lambda k: abs(k - target), default=target)
        return Blocks(time, length, self.reverse)


class Kept(NamedTuple):
    """What the gradient needs beyond the inputs, in the accumulator's dtype.

    Attributes:
        starts: (blocks, *batch, m), the state that each block begins with.
        c, v, h: (T, *batch, m), or None where it is recomputed.
    """

    starts: Any = None
    c: Any = None
    v: Any = None
    h: Any = None


# -------------------------------------------------------------------------------------------------- the forward pass


def _within(lengths: Array | None, t: Array | None) -> Array | None:
    """Whether the steps t lie within each sequence: (steps, *batch, 1); None where all do."""
    if lengths is None or t is None:
        return None
    return (t.reshape(-1, *(1,) * lengths.ndim) < lengths)[..., None]


def _where(live: Array | None, value: Array, otherwise: float) -> Array:
    """`value` within each sequence, `otherwise` past its end."""
    return value if live is None else jnp.where(live, value, jnp.asarray(otherwise, value.dtype))


def _before(start: Array, h: Array, reverse: bool) -> Array:
    """h[t−1] for the steps of a block whose run begins at `start`."""
    return jnp.concatenate([h[1:], start[None]] if reverse else [start[None], h[:-1]])


def _linear(
    shift: Any, c: Array, u: Array, start: Array, plan: Plan, *, back: bool = False, before: bool = False
) -> Any:
    """The last h and the stack of h[t] = c[t] ⊙ h[t−1] + shift(c[t], u[t]), or of h[t−1], as it suits the platform.

    On a CPU step by step: (T, batch, m) = (1024, 8, 64) takes 0.6 ms so and 1.7 as a prefix sum, (512, 32, 128) 1.7 and
    8.6. Elsewhere, unmeasured, as a prefix sum: a step there costs a kernel's launch, a prefix sum of T steps log T.
    """
    reverse = plan.reverse != back

    def step(h: Array, at_t: tuple[Array, Array]) -> tuple[Array, Array]:
        c, u = at_t
        after = c * h + shift(c, u)
        return after, (h if before else after)

    def by_steps(c: Array, u: Array, start: Array) -> tuple[Array, Array]:
        return lax.scan(step, start, (c, u), reverse=reverse, unroll=plan.unroll)

    def at_once(c: Array, u: Array, start: Array) -> tuple[Array, Array]:
        h = prefix_sum(c, shift(c, u), start, reverse)
        return h[0 if reverse else -1], _before(start, h, reverse) if before else h

    return lax.platform_dependent(c, u, start, cpu=by_steps, default=at_once)


def prefix_sum(c: Array, b: Array, start: Array, reverse: bool) -> Array:
    """The stack of h[t] = c[t] ⊙ h[t−1] + b[t], all steps at once: affine maps compose associatively."""

    def after(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    slopes, shifts = lax.associative_scan(after, (c, b), reverse=reverse)
    return slopes * start + shifts


def _blank(steps: int, start: Array, dtype: Any) -> Array:
    """Room for the states of so many steps; varies over a mesh as `start` does."""
    return jnp.zeros((steps, *start.shape), dtype) + zero_like_all(start).astype(dtype)


def _put(stack: Array | None, rows: Array, first: Array) -> Array | None:
    """`stack` with `rows` written from position `first` on, in place within a loop; None stays None."""
    return None if stack is None else lax.dynamic_update_slice_in_dim(stack, rows.astype(stack.dtype), first, 0)


def _states(
    params: GatedParams, x: Array, start: Array, live: Array | None, t: Array, into: Kept, plan: Plan
) -> tuple[Array, Kept, Array]:
    """(last state, `into` with the steps t of one block written, v); past a sequence's length pre = ∞, so that c = 1
    and h stands still.
    """
    if params.w_h is None:
        pre, v = _where(live, project(x, params.w_c, params.b_c), jnp.inf), project(x, params.w_x, params.b_x)
        c = jax.nn.sigmoid(pre)
        last, h = _linear(lambda c, v: (1 - c) * v, c, v, start, plan)
        return last, into._replace(h=_put(into.h, h, t[0]), c=_put(into.c, c, t[0]), v=_put(into.v, v, t[0])), v
    m, w_h_turned = params.w_c.shape[0], wide(params.w_h).T  # once, not at every step
    both = project(x, jnp.concatenate([params.w_c, params.w_x]), None)  # one larger product is faster than two
    if live is not None:
        both = jnp.where(live | (jnp.arange(2 * m) >= m), both, jnp.inf)

    def apart(both: Array) -> tuple[Array, Array]:
        """pre and v; the biases join here, in the loop, where adding them is free."""
        pre, v = both[..., :m], both[..., m:]
        return pre if params.b_c is None else pre + params.b_c, v if params.b_x is None else v + params.b_x

    def step(carry: tuple[Array, Array, Kept], at_t: tuple[Array, Array]) -> tuple[tuple[Array, Array, Kept], None]:
        (h, _, into), (both, t) = carry, at_t
        pre, v = apart(both)
        c = jax.nn.sigmoid(pre + h @ w_h_turned)
        h = mix(c, h, v)
        return (h, c, into._replace(h=_put(into.h, h[None], t), c=_put(into.c, c[None], t))), None

    begin = (start, jnp.zeros_like(start), into)
    (last, c, into), _ = lax.scan(step, begin, (both, t), reverse=plan.reverse, unroll=plan.unroll)
    if into.c is None:  # a gate that nobody reads XLA computes in one loop with h, not vectorised: twice the time
        last = last + 0 * c
        into = into._replace(h=_put(into.h, last[None], t[0] if plan.reverse else t[-1]))
    v = apart(both)[1]
    return last, into._replace(v=_put(into.v, v, t[0])), v


def _forward(
    params: GatedParams, x: Array, h0: Array, lengths: Array | None, plan: Plan, residuals: Residuals | None
) -> tuple[Array, Array, Kept]:
    """(h_last, h, what the gradient keeps with these residuals; nothing for None)."""
    time = x.shape[0]
    if not time:
        return h0, jnp.zeros((0, *h0.shape), x.dtype), Kept(wide(h0)[None][:0])
    start, t = wide(h0), jnp.arange(time)

    def room(*policies: str) -> Array | None:
        return _blank(time, start, start.dtype) if residuals in policies else None

    def block(carry: tuple[Array, Kept], at: tuple[Array, Array], _: None) -> tuple[Any, None, Array]:
        (start, into), (x, t) = carry, at
        live = _within(lengths, t)
        last, into, _ = _states(params, _where(live, x, 0), start, live, t, into, plan)
        return (last, into), None, start

    h = _blank(time, start, start.dtype if residuals == "save" else x.dtype)
    into = Kept(h=h, c=room("recompute", "save"), v=room("save"))
    (h_last, into), _, starts = over_blocks(block, (start, into), (x, t), None, plan.blocks(params, x), back=False)
    h = _where(_within(lengths, t), into.h, 0).astype(x.dtype)
    return h_last.astype(x.dtype), h, into._replace(starts=starts, h=into.h if residuals == "save" else None)


# -------------------------------------------------------------------------------------------------- the adjoint


def _reverse_scan(
    g: Array, y_bar: Array | None, c: Array, slope: Array, w_h: Array | None, over: Array, plan: Plan
) -> tuple[Array, Array]:
    """What the block's first step hands on, and the stack of g, written `over` an array of its size that is no longer
    read: g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]
    """
    if w_h is None:
        y_bar = jnp.zeros_like(c) if y_bar is None else y_bar
        g, passed_on = _linear(jnp.multiply, c, y_bar, g, plan, back=True, before=True)
        return g, passed_on + y_bar

    def step(carry: tuple[Array, Array], at_t: Any) -> tuple[tuple[Array, Any], None]:
        (g, stack), (t, y_bar, c, slope) = carry, at_t
        g = g if y_bar is None else g + y_bar
        return (c * g + (g * slope) @ w_h, _put(stack, g[None], t)), None

    at = (jnp.arange(c.shape[0]), y_bar, c, slope)
    return lax.scan(step, (g, over), at, reverse=not plan.reverse, unroll=plan.unroll)[0]


def _recall(params: GatedParams, x: Array, live: Array | None, start: Array, kept: Kept, plan: Plan) -> Any:
    """(h[t−1], c, v) of one block, from what was kept of it."""
    if kept.c is None:
        steps = x.shape[0]
        into = Kept(h=_blank(steps, start, start.dtype), c=_blank(steps, start, start.dtype))
        _, into, v = _states(params, x, start, live, jnp.arange(steps), into, plan)
        return _before(start, into.h, plan.reverse), into.c, v
    if kept.h is not None:
        return _before(start, kept.h, plan.reverse), kept.c, kept.v
    c, v = kept.c, project(x, params.w_x, params.b_x)
    return _linear(lambda c, v: (1 - c) * v, c, v, start, plan, before=True)[1], c, v


def _turned(a: Array) -> Array:
    """(steps · batch, m) as (m, steps · batch), and so in memory where that pays."""
    turned = a.reshape(-1, a.shape[-1]).T
    return lax.optimization_barrier(turned) if a.shape[-1] >= TURN else turned


def _outer(turned: Array, b: Array) -> Array:
    """Σ_t a[t] b[t]ᵀ, over the batch as well, of a turned by `_turned`."""
    return turned @ b.reshape(-1, b.shape[-1])


def _backward(
    params: GatedParams, x: Array, lengths: Array | None, kept: Kept, g_last: Array, y_bar: Any, marks: Any, plan: Plan
) -> tuple[GatedParams, Any, Any]:
    """The gradients that `marks` ask for, None for the others; the weights' are summed from block to block."""
    for_params, for_x, for_h0 = marks
    w_c, w_h, w_x, _, _ = map(wide, params)

    def block(carry: tuple[Array, dict], at: Any, start: Array) -> tuple[Any, Any, None]:
        g, sums = carry
        x, t, y_bar, kept = at
        live = _within(lengths, t)
        x, y_bar = _where(live, x, 0), None if y_bar is None else wide(_where(live, y_bar, 0))
        h_before, c, v = _recall(params, x, live, start, kept, plan)
        slope = (h_before - v) * c * (1 - c)  # ∂h[t]/∂(pre-activation of c[t])
        g, total_g = _reverse_scan(g, y_bar, c, slope, w_h, v, plan)
        delta, nu = total_g * slope, total_g * (1 - c)
        steps = tuple(range(delta.ndim - 1))
        delta_t, nu_t = _turned(delta), _turned(nu)
        terms = {
            "w_c": lambda: _outer(delta_t, wide(x)),
            "w_h": lambda: _outer(delta_t, h_before),
            "w_x": lambda: _outer(nu_t, wide(x)),
            "b_c": lambda: delta.sum(steps),
            "b_x": lambda: nu.sum(steps),
        }
        sums = {name: total + terms[name]() for name, total in sums.items()}
        return (g, sums), ((delta @ w_c + nu @ w_x).astype(x.dtype) if is_wanted(for_x) else None), None

    asked = [name for name, mark in for_params._asdict().items() if mark is not None and is_wanted(mark)]
    sums = {name: jnp.zeros_like(wide(getattr(params, name))) for name in asked}
    g, dx, t = wide(g_last), jnp.zeros_like(x), None if lengths is None else jnp.arange(x.shape[0])
    if x.shape[0]:
        at = (x, t, y_bar, kept._replace(starts=None))
        (g, sums), dx, _ = over_blocks(block, (g, sums), at, kept.starts, plan.blocks(params, x), back=True)
    gradients: list[Any] = [sums[f].astype(x.dtype) if f in sums else None for f in GatedParams._fields]
    d_params = GatedParams(*gradients)
    return d_params, dx if is_wanted(for_x) else None, g.astype(x.dtype) if is_wanted(for_h0) else None


def zero_like_all(*trees: Any) -> Array:
    """The number 0, which varies over a mesh like every array given: what a scan inside `shard_map` must start from."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((leaf.ravel()[:0].sum() for leaf in leaves[1:]), leaves[0].ravel()[:0].sum())


# -------------------------------------------------------------------------------------------------- the rule


def forward(params: GatedParams, x: Array, h0: Array, lengths: Array | None, plan: Plan) -> tuple[Array, Array]:
    """(h_last, h), differentiated by JAX."""
    return _forward(params, x, h0, lengths, plan, None)[:2]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def scan(params: GatedParams, x: Array, h0: Array, lengths: Array | None, plan: Plan) -> tuple[Array, Array]:
    """(h_last, h), differentiated by hand."""
    return forward(params, x, h0, lengths, plan)


def _rule_forward(params: Any, x: Any, h0: Any, lengths: Any, plan: Plan) -> tuple[tuple[Array, Array], tuple]:
    marks = wanted((params, x, h0))
    params, x, h0, lengths = values((params, x, h0, lengths))
    h_last, h, kept = _forward(params, x, h0, lengths, plan, plan.residuals)
    return (h_last, h), (params, x, lengths, kept, marks)


def _rule_backward(plan: Plan, residuals: tuple, cotangents: tuple[Any, Any]) -> tuple[Any, ...]:
    params, x, lengths, kept, marks = residuals
    g_last, y_bar = map(given, cotangents)
    if g_last is None:
        g_last = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype) + zero_like_all(x)
    return *_backward(params, x, lengths, kept, g_last, y_bar, marks, plan), None


scan.defvjp(_rule_forward, _rule_backward, symbolic_zeros=True)
