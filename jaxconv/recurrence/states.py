"""The states of one chunk of time, from left to right or from right to left.

The equations are those of `gated_cell`; `engine` runs the chunks one after the other, forward and back.
Past a sequence's length its gate stands at 1: there h[t] = h[t−1].

Source: the linear form by prefix sums: G. Blelloch 1990, "Prefix sums and their applications", section 1.4.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv.recurrence.gated_cell import GatedParams, biased, gate, mix, project, to_accumulator
from jaxconv.recurrence.time_chunks import TimeChunks
from jaxconv.sizes.arguments import is_symbolic

Residuals = Literal["recompute", "save"] | int

# The rows (steps × batch) of a chunk's matrix products: about ROWS, fewer where states are wide, since a chunk should
# stay in a cache of some MiB, but no fewer than LEAST. A sequence of up to two chunks is one: cutting costs copies, and
# where XLA compiles both passes together it makes the v of a single chunk once. On two cores, forward and backward,
# time and temporaries beside twice the rows: at (T, batch, m) = (512, 32, 128) 0.96 and 0.69, (256, 64, 256) 0.92 and
# 0.77, (128, 32, 512) 0.98 and 0.68; beside half the rows: (512, 32, 128) 0.97 and 1.29, (256, 64, 256) 0.99 and 1.14,
# (1024, 8, 64), which then is four chunks, 0.87 and 1.45.
NUMBERS, ROWS, LEAST = 2**18, 4096, 512


class ScanConfig(NamedTuple):
    """The options of a run.

    Attributes:
        reverse: from right to left.
        unroll: steps per iteration of a loop.
        residuals: what the gradient keeps: "recompute", "save", or the state every so many steps.
    """

    reverse: bool = False
    unroll: int = 1
    residuals: Residuals = "recompute"

    def chunks(self, params: GatedParams, x: Array) -> TimeChunks:
        """How the time of x (T, *batch, n) is cut: as `residuals` says, else near `NUMBERS` and evenly if it can."""
        time, *batch = x.shape[:-1]
        if isinstance(self.residuals, int):
            length = self.residuals if is_symbolic(time) else min(self.residuals, time)
            return TimeChunks(time, length, self.reverse)
        if any(map(is_symbolic, x.shape)):
            return TimeChunks(time, time, self.reverse)
        rows = max(min(NUMBERS // max(1, params.w_c.shape[0]), ROWS), LEAST)
        target = -(-rows // max(1, prod(batch)))
        near = (k for k in range(max(1, target // 2), 2 * target + 1) if time % k == 0)
        length = time if time <= 2 * target else min(near, key=lambda k: abs(k - target), default=target)
        return TimeChunks(time, length, self.reverse)


class Kept(NamedTuple):
    """What the gradient needs beyond the inputs, in the accumulator's dtype.

    Attributes:
        starts: (chunks, *batch, m), the state that each chunk begins with.
        c, v, h: (T, *batch, m), or None where it is recomputed.
    """

    starts: Any = None
    c: Any = None
    v: Any = None
    h: Any = None


# -------------------------------------------------------------------------------------------------- the forward pass


def within(lengths: Array | None, t: Array | None) -> Array | None:
    """Whether the steps t lie within each sequence: (steps, *batch, 1); None where all do."""
    if lengths is None or t is None:
        return None
    return (t.reshape(-1, *(1,) * lengths.ndim) < lengths[None])[..., None]


def masked(live: Array | None, value: Array, otherwise: float) -> Array:
    """`value` within each sequence, `otherwise` past its end."""
    return value if live is None else jnp.where(live, value, jnp.asarray(otherwise, value.dtype))


def states_before(start: Array, h: Array, reverse: bool) -> Array:
    """h[t−1] for the steps of a chunk whose run begins at `start`."""
    return jnp.concatenate([h[1:], start[None]] if reverse else [start[None], h[:-1]])


def affine_scan(
    shift: Any, c: Array, u: Array, start: Array, config: ScanConfig, *, back: bool = False, before: bool = False
) -> Any:
    """The last h and the stack of h[t] = c[t] ⊙ h[t−1] + shift(c[t], u[t]), or of h[t−1], as it suits the platform.

    Of a symbolic number of steps, which JAX takes no prefix sum of, step by step everywhere.

    On a CPU step by step: (T, batch, m) = (1024, 8, 64) takes 0.6 ms so and 1.7 as a prefix sum, (512, 32, 128) 1.7 and
    8.6. Elsewhere, unmeasured, as a prefix sum: a step there costs a kernel's launch, a prefix sum of T steps log T.
    """
    reverse = config.reverse != back

    def step(h: Array, at_t: tuple[Array, Array]) -> tuple[Array, Array]:
        c, u = at_t
        after = c * h + shift(c, u)
        return after, (h if before else after)

    def by_steps(c: Array, u: Array, start: Array) -> tuple[Array, Array]:
        return lax.scan(step, start, (c, u), reverse=reverse, unroll=config.unroll)

    def at_once(c: Array, u: Array, start: Array) -> tuple[Array, Array]:
        h = prefix_sum(c, shift(c, u), start, reverse)
        return h[0 if reverse else -1], states_before(start, h, reverse) if before else h

    if is_symbolic(c.shape[0]):
        return by_steps(c, u, start)
    return lax.platform_dependent(c, u, start, cpu=by_steps, default=at_once)


def prefix_sum(c: Array, b: Array, start: Array, reverse: bool) -> Array:
    """The stack of h[t] = c[t] ⊙ h[t−1] + b[t], all steps at once: affine maps compose associatively."""

    def after(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    slopes, shifts = lax.associative_scan(after, (c, b), reverse=reverse)
    return slopes * start[None] + shifts


def zeros_buffer(steps: int, start: Array, dtype: Any) -> Array:
    """Room for the states of so many steps; varies over a mesh as `start` does."""
    return jnp.zeros((steps, *start.shape), dtype) + zero_like_all(start).astype(dtype)


def write_at(stack: Array | None, rows: Array, first: Array) -> Array | None:
    """`stack` with `rows` written from position `first` on, in place within a loop; None stays None."""
    return None if stack is None else lax.dynamic_update_slice_in_dim(stack, rows.astype(stack.dtype), first, 0)


def states(
    params: GatedParams, x: Array, start: Array, live: Array | None, t: Array, into: Kept, config: ScanConfig
) -> tuple[Array, Kept, Array]:
    """(last state, `into` with the steps t of one chunk written, v); past a sequence's length pre = ∞, so that c = 1
    and h stands still.
    """
    if params.w_h is None:
        pre, v = masked(live, project(x, params.w_c, params.b_c), jnp.inf), project(x, params.w_x, params.b_x)
        c = gate(pre, start, None)
        last, h = affine_scan(lambda c, v: (1 - c) * v, c, v, start, config)
        return (
            last,
            into._replace(h=write_at(into.h, h, t[0]), c=write_at(into.c, c, t[0]), v=write_at(into.v, v, t[0])),
            v,
        )
    turned = to_accumulator(params.w_h).T
    pre, v = masked(live, project(x, params.w_c, None), jnp.inf), project(x, params.w_x, None)

    def step(carry: tuple[Array, Array, Kept], at_t: tuple[Array, Array, Array]) -> Any:
        (h, _, into), (pre, v, t) = carry, at_t
        c = gate(biased(pre, params.b_c), h, turned)  # in the loop adding a bias is free
        h = mix(c, h, biased(v, params.b_x))
        return (h, c, into._replace(h=write_at(into.h, h[None], t), c=write_at(into.c, c[None], t))), None

    begin = (start, jnp.zeros_like(start), into)
    (last, c, into), _ = lax.scan(step, begin, (pre, v, t), reverse=config.reverse, unroll=config.unroll)
    if into.c is None:  # XLA would fuse an unused c with h into a scalar loop, at twice the time: 0 · c keeps it
        last = last + 0 * c
        into = into._replace(h=write_at(into.h, last[None], t[0] if config.reverse else t[-1]))
    v = biased(v, params.b_x)
    return last, into._replace(v=write_at(into.v, v, t[0])), v


def zero_like_all(*trees: Any) -> Array:
    """The number 0, which varies over a mesh like every array given: what a scan inside `shard_map` must start from."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((leaf.ravel()[:0].sum() for leaf in leaves[1:]), leaves[0].ravel()[:0].sum())
