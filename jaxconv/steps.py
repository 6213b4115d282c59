"""A batch in steps of some images, so that what is laid out of them stays in a cache; a single step makes no loop.

What a loop goes through has no axis of one: for that JAX 0.10 copies the whole batch first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from jax import Array, lax

T = TypeVar("T")


def images_below(batch: int, nbytes: int, most: int) -> int:
    """How many images of so many bytes come to at most `most`: a divisor of the batch, 1 where none does."""
    return max((n for n in range(1, batch + 1) if batch % n == 0 and n * nbytes <= most), default=1)


def mapped(f: Callable[[Array], Array], x: Array, images: int) -> Array:
    """f of some images at a time, put together: both (images, A, …)."""
    if images == len(x):
        return f(x)
    y = lax.map(lambda part: _joined(f(_images(part, images))), _steps(x, images))
    return y.reshape(len(x), -1, *y.shape[2:])


def summed(f: Callable[..., T], total: T, arrays: Sequence[Array], images: int) -> T:
    """total = f(total, *some images of every array), from step to step."""
    if images == len(arrays[0]):
        return f(total, *arrays)

    def step(total: T, parts: list[Array]) -> tuple[T, None]:
        return f(total, *(_images(part, images) for part in parts)), None

    return lax.scan(step, total, [_steps(x, images) for x in arrays])[0]


def _steps(x: Array, images: int) -> Array:
    """(batch, A, …) → (steps, images · A, …)"""
    return x.reshape(len(x) // images, -1, *x.shape[2:])


def _images(part: Array, images: int) -> Array:
    """(images · A, …) → (images, A, …)"""
    return part.reshape(images, -1, *part.shape[1:])


def _joined(part: Array) -> Array:
    return part.reshape(-1, *part.shape[2:])
