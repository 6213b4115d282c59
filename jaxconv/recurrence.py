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
from jaxconv.cell import GatedParams, gate, mix, project, wide
from jaxconv.rules import given, is_wanted, values, wanted
from jaxconv.timeblocks import Blocks, over_blocks

Residuals = Literal["recompute", "save"] | int

# A block holds at least so many numbers of a state, and so many rows of a matrix product. On two cores with 1 MiB of L2
# and 32 of L3 forward and backward took, with blocks of 2¹⁷, 2¹⁸, 2¹⁹ and 2²⁰ numbers, at (T, batch, m) =
# (512, 32, 128) 57, 55, 60 and 77 ms, at (1024, 8, 64) 10.2, 10.0 and 9.8 ms with 2.8, 4.5 and 5 times the sequence in
# temporaries; at (256, 64, 256) 1024 to 8192 rows took 215 to 239 ms.
NUMBERS, ROWS = 2**17, 1024


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
        target = -(-max(NUMBERS // params.w_c.shape[0], ROWS) // max(1, prod(batch)))
        near = (k for k in range(max(1, target // 2), 2 * target + 1) if time % k == 0)
        length = time if time <= target else min(near, key=lambda k: abs(k - target), default=target)
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


def _linear(c: Array, b: Array, start: Array, plan: Plan, *, back: bool = False, before: bool = False) -> Any:
    """The last h and the stack of h[t] = c[t] ⊙ h[t−1] + b[t], or of h[t−1], in the form that suits the platform.

    On a CPU step by step: (T, batch, m) = (1024, 8, 64) takes 0.6 ms so and 1.7 as a prefix sum, (512, 32, 128) 1.7 and
    8.6. Elsewhere, unmeasured, as a prefix sum: a step there costs a kernel's launch, a prefix sum of T steps log T.
    """
    reverse = plan.reverse != back

    def step(h: Array, at_t: tuple[Array, Array]) -> tuple[Array, Array]:
        c, b = at_t
        after = c * h + b
        return after, (h if before else after)

    def by_steps(c: Array, b: Array, start: Array) -> tuple[Array, Array]:
        return lax.scan(step, start, (c, b), reverse=reverse, unroll=plan.unroll)

    def at_once(c: Array, b: Array, start: Array) -> tuple[Array, Array]:
        h = prefix_sum(c, b, start, reverse)
        return h[0 if reverse else -1], _before(start, h, reverse) if before else h

    return lax.platform_dependent(c, b, start, cpu=by_steps, default=at_once)


def prefix_sum(c: Array, b: Array, start: Array, reverse: bool) -> Array:
    """The stack of h[t] = c[t] ⊙ h[t−1] + b[t], all steps at once: affine maps compose associatively."""

    def after(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    slopes, shifts = lax.associative_scan(after, (c, b), reverse=reverse)
    return slopes * start + shifts


def _states(params: GatedParams, x: Array, start: Array, live: Array | None, plan: Plan) -> tuple[Array, ...]:
    """(last state, h, c, v) of one block; past a sequence's length pre = ∞, so that c = 1 and h stands still."""
    if params.w_h is None:
        pre, v = _where(live, project(x, params.w_c, params.b_c), jnp.inf), project(x, params.w_x, params.b_x)
        c = gate(pre, start, None)
        return *_linear(c, (1 - c) * v, start, plan), c, v
    w_h, m = wide(params.w_h), params.w_c.shape[0]
    both = project(x, jnp.concatenate([params.w_c, params.w_x]), None)  # one larger product is faster than two
    if live is not None:
        both = jnp.where(live | (jnp.arange(2 * m) >= m), both, jnp.inf)

    def apart(both: Array) -> tuple[Array, Array]:
        """pre and v; the biases join here, in the loop, where adding them is free."""
        pre, v = both[..., :m], both[..., m:]
        return pre if params.b_c is None else pre + params.b_c, v if params.b_x is None else v + params.b_x

    def step(h: Array, at_t: Array) -> tuple[Array, tuple[Array, Array]]:
        pre, v = apart(at_t)
        c = gate(pre, h, w_h)
        h = mix(c, h, v)
        return h, (h, c)

    last, (h, c) = lax.scan(step, start, both, reverse=plan.reverse, unroll=plan.unroll)
    return last, h, c, apart(both)[1]


def _forward(params: GatedParams, x: Array, h0: Array, lengths: Array | None, plan: Plan) -> tuple[Array, Array, Kept]:
    """(h_last, h, what the gradient keeps)."""

    def block(start: Array, at: tuple[Array, Any], _: None) -> tuple[Array, Any, Array]:
        x, t = at
        live = _within(lengths, t)
        last, h, c, v = _states(params, _where(live, x, 0), start, live, plan)
        kept = {"recompute": Kept(c=c), "save": Kept(c=c, v=v, h=h)}.get(str(plan.residuals), Kept())
        return last, (_where(live, h, 0).astype(x.dtype), kept), start

    start, t = wide(h0), None if lengths is None else jnp.arange(x.shape[0])
    if not x.shape[0]:
        return h0, jnp.zeros((0, *h0.shape), x.dtype), Kept(start[None][:0])
    h_last, (h, kept), starts = over_blocks(block, start, (x, t), None, plan.blocks(params, x), back=False)
    return h_last.astype(x.dtype), h, kept._replace(starts=starts)


# -------------------------------------------------------------------------------------------------- the adjoint


def _reverse_scan(g: Array, y_bar: Array | None, c: Array, slope: Array, w_h: Array | None, plan: Plan) -> Any:
    """What the block's first step hands on, and the stack of g: g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]"""
    if w_h is None:
        y_bar = jnp.zeros_like(c) if y_bar is None else y_bar
        g, passed_on = _linear(c, c * y_bar, g, plan, back=True, before=True)
        return g, passed_on + y_bar

    def step(g: Array, at_t: tuple[Any, Array, Array]) -> tuple[Array, Array]:
        y_bar, c, slope = at_t
        g = g if y_bar is None else g + y_bar
        return c * g + (g * slope) @ w_h, g

    return lax.scan(step, g, (y_bar, c, slope), reverse=not plan.reverse, unroll=plan.unroll)


def _recall(params: GatedParams, x: Array, live: Array | None, start: Array, kept: Kept, plan: Plan) -> Any:
    """(h[t−1], c, v) of one block, from what was kept of it."""
    if kept.c is None:
        _, h, c, v = _states(params, x, start, live, plan)
        return _before(start, h, plan.reverse), c, v
    if kept.h is not None:
        return _before(start, kept.h, plan.reverse), kept.c, kept.v
    c, v = kept.c, project(x, params.w_x, params.b_x)
    return _linear(c, (1 - c) * v, start, plan, before=True)[1], c, v


def _outer(a: Array, b: Array) -> Array:
    """Σ_t a[t] b[t]ᵀ, over the batch as well."""
    return jnp.tensordot(a, b, (tuple(range(a.ndim - 1)),) * 2)


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
        g, total_g = _reverse_scan(g, y_bar, c, slope, w_h, plan)
        delta, nu = total_g * slope, total_g * (1 - c)
        steps = tuple(range(delta.ndim - 1))
        terms = {
            "w_c": lambda: _outer(delta, wide(x)),
            "w_h": lambda: _outer(delta, h_before),
            "w_x": lambda: _outer(nu, wide(x)),
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
    return _forward(params, x, h0, lengths, plan)[:2]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def scan(params: GatedParams, x: Array, h0: Array, lengths: Array | None, plan: Plan) -> tuple[Array, Array]:
    """(h_last, h), differentiated by hand."""
    return forward(params, x, h0, lengths, plan)


def _rule_forward(params: Any, x: Any, h0: Any, lengths: Any, plan: Plan) -> tuple[tuple[Array, Array], tuple]:
    marks = wanted((params, x, h0))
    params, x, h0, lengths = values((params, x, h0, lengths))
    h_last, h, kept = _forward(params, x, h0, lengths, plan)
    return (h_last, h), (params, x, lengths, kept, marks)


def _rule_backward(plan: Plan, residuals: tuple, cotangents: tuple[Any, Any]) -> tuple[Any, ...]:
    params, x, lengths, kept, marks = residuals
    g_last, y_bar = map(given, cotangents)
    if g_last is None:
        g_last = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype) + zero_like_all(x)
    return *_backward(params, x, lengths, kept, g_last, y_bar, marks, plan), None


scan.defvjp(_rule_forward, _rule_backward, symbolic_zeros=True)
