"""A loop over chunks of time: long enough for large matrix products, short enough to stay in a cache.

A recurrence runs chunk by chunk, and within a chunk step by step; what does not depend on the state (projections,
weight gradients) is one matrix product per chunk. Nothing but inputs and outputs is as long as the sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv.sizes.arguments import is_symbolic

# A chunk's arrays should stay in a cache of some MiB: near NUMBERS numbers of a state, in no more than ROWS and, if it
# can be, no fewer than LEAST rows (steps × batch) of its matrix products. And it should be a small part of the
# sequence, a PARTS-th, since some fifteen arrays as large as its states are alive in it; SMALL numbers are one chunk.
NUMBERS, ROWS, LEAST, PARTS, SMALL = 2**18, 4096, 512, 8, 2**15

Body = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


@dataclass(frozen=True)
class TimeChunks:
    """How `time` steps, run from left to right or in `reverse`, are cut: chunks of `length`, the remainder run last."""

    time: Any
    length: Any
    reverse: bool

    @property
    def rest(self) -> Any:
        """Steps of the remainder, 0 where the length divides the time."""
        return self.time % self.length

    def cut(self, steps: Array) -> tuple[Array, Array]:
        """What is stacked over time as full chunks, (count, length, …), and the remainder, (rest, …)."""
        rest, full = jnp.split(steps, [self.rest]) if self.reverse else jnp.split(steps, [self.time - self.rest])[::-1]
        return full.reshape(self.time // self.length, self.length, *steps.shape[1:]), rest

    def cut_starts(self, starts: Array) -> tuple[Array, Array]:
        """What is stacked over chunks, in the order of time, as that of the full ones and that of the remainder."""
        if not self.rest:
            return starts, starts[:0]
        return (starts[1:], starts[0]) if self.reverse else (starts[:-1], starts[-1])

    def join(self, full: Any, rest: Any) -> Any:
        """Full chunks and remainder (a tree, or None where there is none), in the order of time."""
        if rest is None or full is None:
            return full if rest is None else rest
        return jax.tree.map(lambda *each: jnp.concatenate(each[::-1] if self.reverse else each), full, rest)


def chunks_of(sizes: tuple[Any, ...], m: Any, steps: int | None, reverse: bool) -> TimeChunks:
    """How the time of (T, *batch) is cut: every so many steps, else near `NUMBERS` numbers, evenly if it can."""
    time, *batches = sizes
    if steps is not None:
        return TimeChunks(time, steps if is_symbolic(time) else min(steps, time), reverse)
    if any(map(is_symbolic, sizes)):
        return TimeChunks(time, time, reverse)
    batch = max(1, prod(batches))
    if time * batch * m <= SMALL:
        return TimeChunks(time, time, reverse)
    rows = max(min(NUMBERS // max(1, m), ROWS), LEAST)
    target = max(1, min(-(-rows // batch), time // PARTS))
    near = (k for k in range(max(1, target // 2), 2 * target + 1) if time % k == 0)
    length = min(near, key=lambda k: abs(k - target), default=target)
    return TimeChunks(time, length, reverse)


def over_chunks(
    body: Body, carry: Any, steps: Any, starts: Any, chunks: TimeChunks, *, back: bool
) -> tuple[Any, Any, Any]:
    """Run `body` on every chunk in the order of the run, or `back` against it.

    Args:
        body: (carry, steps of a chunk, start of a chunk) → (carry, stacks over the chunk's steps, one value).
        carry: what one chunk hands to the next.
        steps: arrays over time, at least one step.
        starts: arrays with one entry per chunk, in the order of time.
        chunks: how time is cut.
        back: whether the last chunk of the run comes first.

    Returns:
        (carry, arrays over time, arrays with one entry per chunk).
    """

    def part(i: int) -> tuple[Any, Any]:
        return jax.tree.map(lambda a: chunks.cut(a)[i], steps), jax.tree.map(lambda a: chunks.cut_starts(a)[i], starts)

    def one(carry: Any, at: Any) -> tuple[Any, Any]:
        carry, stack, value = body(carry, *at)
        return carry, (stack, jax.tree.map(lambda a: a[None], value))

    def remainder(carry: Any) -> tuple[Any, Any]:
        return one(carry, part(1)) if chunks.rest else (carry, (None, None))

    def full(carry: Any) -> tuple[Any, Any]:
        at = part(0)
        if chunks.time // chunks.length == 1:  # no loop around a single chunk
            return one(carry, jax.tree.map(lambda a: a[0], at))
        carry, stacks = lax.scan(one, carry, at, reverse=chunks.reverse != back)
        return carry, jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), stacks)

    if back:
        carry, last = remainder(carry)
        carry, first = full(carry)
    else:
        carry, first = full(carry)
        carry, last = remainder(carry)
    return carry, chunks.join(first[0], last[0]), chunks.join(first[1], last[1])
