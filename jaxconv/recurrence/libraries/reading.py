"""Weights taken from another library, as (w_ih, w_hh, b_ih, b_hh) with its order of gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxconv.recurrence.libraries.quad import HAIKU_ADDED, HAIKU_SIGNS, OURS, TORCH, Quad, by_gate
from jaxconv.sizes.arguments import wrong_value


def _array(value: Any) -> Any:
    """An array of a library: a tensor of PyTorch, a variable of flax or keras, an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    elif type(value).__module__.split(".")[0] == "flax":
        value = value[...]
    elif hasattr(value, "numpy") and hasattr(value, "assign"):
        value = value.value if isinstance(value.value, Array) else value.numpy()
    return value if isinstance(value, Array) else jnp.asarray(value)


class Source:
    """Weights of a library by name, nested or with attributes; a name that is missing is an error with those there."""

    def __init__(self, function: str, library: str, weights: Any) -> None:
        self.function, self.library, self.weights = function, library, weights

    def get(self, *path: str) -> Any:
        """The array at this path, None where there is none."""
        at = self.weights
        for name in path:
            at = at.get(name) if isinstance(at, Mapping) else getattr(at, name, None)
            if at is None:
                return None
        return _array(at)

    def need(self, *path: str) -> Any:
        found = self.get(*path)
        if found is None:
            there = sorted(map(str, self.weights)) if isinstance(self.weights, Mapping) else type(self.weights).__name__
            rule = f"`weights` of {self.library} must hold {'.'.join(path)}"
            wrong_value(self.function, rule, f"weights with {there}")
        return found


def _read_torch(at: Source, kind: str, suffix: str) -> Quad:
    names = [f"{name}{suffix}" for name in TORCH]
    if at.get(names[0]) is None and at.get(TORCH[0]) is not None:
        names = list(TORCH)
    return at.need(names[0]), at.need(names[1]), at.get(names[2]), at.get(names[3])


def _read_flax(at: Source, kind: str, suffix: str) -> Quad:
    if at.get("dense_i", "kernel") is not None:
        w_ih, w_hh = at.need("dense_i", "kernel").T, at.need("dense_h", "kernel").T
        return w_ih, w_hh, at.get("dense_i", "bias"), at.get("dense_h", "bias")
    gates = OURS[kind]
    w_ih, w_hh = (jnp.concatenate([at.need(side + g, "kernel").T for g in gates]) for side in "ih")

    def biases(side: str) -> Array | None:
        held = [at.get(side + g, "bias") for g in gates]
        if all(b is None for b in held):
            return None
        m = w_hh.shape[1]
        return jnp.concatenate([jnp.zeros(m, w_hh.dtype) if b is None else b for b in held])

    return w_ih, w_hh, biases("i"), biases("h")


def _read_equinox(at: Source, kind: str, suffix: str) -> Quad:
    w_ih, w_hh, b, b_n = at.need("weight_ih"), at.need("weight_hh"), at.get("bias"), at.get("bias_n")
    return w_ih, w_hh, b, None if b_n is None else jnp.concatenate([jnp.zeros(2 * len(b_n), b_n.dtype), b_n])


def _read_haiku(at: Source, kind: str, suffix: str) -> Quad:
    if isinstance(at.weights, Mapping) and len(at.weights) == 1:  # {module's name: its weights}
        at.weights = next(iter(at.weights.values()))
    if kind == "gru":
        w_ih, w_hh, b = at.need("w_i").T, at.need("w_h").T, at.need("b")
        z = by_gate(HAIKU_SIGNS, w_hh.shape[1], w_hh.dtype)
        return w_ih * z[:, None], w_hh * z[:, None], b * z, None
    w, b = at.need("w"), at.need("b")
    m = w.shape[1] // 4
    return w[:-m].T, w[-m:].T, b + by_gate(HAIKU_ADDED, m, b.dtype), None


def _read_keras(at: Source, kind: str, suffix: str) -> Quad:
    held = at.weights
    if not isinstance(held, (Mapping, list, tuple)):  # a layer
        held = list(held.weights)
    if isinstance(held, (list, tuple)):
        if len(held) not in (2, 3):
            wrong_value(at.function, "`weights` of keras must be two or three arrays", f"{len(held)} arrays")
        at.weights = dict(zip(("kernel", "recurrent_kernel", "bias"), held, strict=False))
    b = at.get("bias")
    b_ih, b_hh = (b[0], b[1]) if b is not None and b.ndim == 2 else (b, None)
    return at.need("kernel").T, at.need("recurrent_kernel").T, b_ih, b_hh


def _read_onnx(at: Source, kind: str, suffix: str) -> Quad:
    w, r, b = at.need("W"), at.need("R"), at.get("B")
    if w.ndim != 3 or w.shape[0] != 1:
        rule = "`weights` of onnx must be those of one direction, W (1, rows, n): cut with W[i : i + 1]"
        wrong_value(at.function, rule, f"W.shape={w.shape}")
    b_ih, b_hh = (None, None) if b is None else jnp.split(b[0], 2)
    return w[0], r[0], b_ih, b_hh


READ = {
    "torch": _read_torch, "flax": _read_flax, "linen": _read_flax, "equinox": _read_equinox, "haiku": _read_haiku,
    "keras": _read_keras, "onnx": _read_onnx,
}  # fmt: skip
