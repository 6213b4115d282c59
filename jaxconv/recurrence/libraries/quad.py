"""What reading and writing share: the four arrays, the names of gates, and how some libraries differ by a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

Quad = tuple[Array, Array, Array | None, Array | None]  # w_ih, w_hh, b_ih, b_hh

OURS = {"gru": "rzn", "lstm": "ifgo"}  # gates in our order
TORCH = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
HAIKU_SIGNS = (-1.0, 1.0, 1.0)  # z r n of a GRU: its z is our 1 − z, and σ(−a) = 1 − σ(a)
HAIKU_ADDED = (0.0, 0.0, 1.0, 0.0)  # i g f o of an LSTM: what it adds to the bias by itself


def by_gate(numbers: Sequence[float], m: int, dtype: Any) -> Array:
    """One number for all m rows of a gate, gate by gate."""
    return jnp.asarray(np.repeat(numbers, m), dtype)


def unbiased(quad: Quad) -> bool:
    """Whether there is neither bias."""
    return quad[2] is None and quad[3] is None


def zeros(quad: Quad) -> Array:
    """A bias of zeros."""
    return jnp.zeros(quad[0].shape[0], quad[0].dtype)


def biases(quad: Quad) -> tuple[Array, Array]:
    """(b_ih, b_hh), zeros for one that is not there."""
    _, _, b_ih, b_hh = quad
    return zeros(quad) if b_ih is None else b_ih, zeros(quad) if b_hh is None else b_hh
