"""Loops over a batch, a few images at a time, so that intermediate arrays fit the cache; one chunk makes no loop.

A chunk's image axis is merged with the next axis: an axis of size one makes JAX 0.10 copy the whole batch first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from jax import Array, lax

T = TypeVar("T")


@functools.lru_cache(maxsize=256)
def divisors(n: int) -> tuple[int, ...]:
    """Every divisor of n, ascending, from its prime factors: each is looked for up to the root of what is left."""
    found, rest, prime = [1], n, 2
    while rest > 1:
        if prime * prime > rest:
            prime = rest
        power, here = 1, found
        while rest % prime == 0:
            rest, power = rest // prime, power * prime
            found = found + [power * each for each in here]
        prime += 1 + prime % 2
    return tuple(sorted(found))


def largest_chunk(batch: int, nbytes: int, most: int) -> int:
    """How many images of so many bytes come to at most `most`: a divisor of the batch, 1 where none does."""
    return max((n for n in divisors(batch) if n * nbytes <= most), default=1)


def chunked_map(f: Callable[[Array], Array], x: Array, images: int) -> Array:
    """f of some images at a time, put together: x and f(x) are (images, A, …)."""
    if images == len(x):
        return f(x)

    def step(i: Any) -> Array:
        y = f(*_at(i, [x], images))
        return y.reshape(-1, *y.shape[2:])

    y = lax.map(step, _every(x, images))
    return y.reshape(len(x), -1, *y.shape[2:])


def chunked_sum(f: Callable[..., T], total: T, arrays: Sequence[Array], images: int) -> T:
    """total = f(total, *some images of every array), from step to step."""
    if images == len(arrays[0]):
        return f(total, *arrays)

    def step(total: T, i: Any) -> tuple[T, None]:
        return f(total, *_at(i, arrays, images)), None

    return lax.scan(step, total, _every(arrays[0], images))[0]


def _every(x: Array, images: int) -> Array:
    """The number of every step, counted where the program runs: as a constant it would grow with the batch."""
    return lax.iota(np.int32, len(x) // images)


def _at(i: Any, arrays: Sequence[Array], images: int) -> list[Array]:
    """The images of step i, (images, A, …); every array is seen as (steps, images · A, …)."""

    def part(x: Array) -> Array:
        every = x.reshape(len(x) // images, -1, *x.shape[2:])
        return lax.dynamic_index_in_dim(every, i, keepdims=False).reshape(images, -1, *x.shape[2:])

    return [part(x) for x in arrays]
