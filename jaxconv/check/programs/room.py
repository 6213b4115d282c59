"""Compiled programs are kept for the next check of the same function, and let go before they take too much room.

Linux lets a process map 65,530 pieces of memory (vm.max_map_count), of which each compiled kernel takes some: who needs
more cannot compile, or crashes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

MOST = 30_000  # pieces of memory: the largest checks map some 5,000 more
_CACHES: list[Any] = []


def kept(size: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As `functools.lru_cache`, for what compiles: `make_room` empties it."""

    def keep(make: Callable[..., Any]) -> Callable[..., Any]:
        cached = lru_cache(size)(make)
        _CACHES.append(cached)
        return cached

    return keep


def make_room(most: int = MOST) -> None:
    """Let go of what was compiled here where the process has mapped more; if that is no help, of what JAX keeps."""
    if mapped() > most:
        for cache in _CACHES:
            cache.cache_clear()
        gc.collect()
    if mapped() > most:
        jax.clear_caches()


def mapped() -> int:
    """Pieces of memory that this process has mapped; 0 where the system does not say."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0
