"""Weights made for another library, from (w_ih, w_hh, b_ih, b_hh) with its order of gates."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv.recurrence.libraries.quad import (
    HAIKU_ADDED,
    HAIKU_SIGNS,
    OURS,
    TORCH,
    Quad,
    biases,
    by_gate,
    unbiased,
    zeros,
)
from jaxconv.sizes.arguments import wrong_value


def _write_torch(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    given = quad[:2] if unbiased(quad) else (*quad[:2], *biases(quad))  # it has both biases or none
    return {f"{name}{suffix}": a for name, a in zip(TORCH, given, strict=False)}


def _one_bias(quad: Quad) -> Any:
    """b_ih + b_hh; zeros where there is neither."""
    given = [b for b in quad[2:] if b is not None]
    return sum(given[1:], given[0]) if given else zeros(quad)


def _split_bias(quad: Quad) -> tuple[Any, Any]:
    """(b_ih with all of b_hh but its last third, that third): what a reset gate does not see can move."""
    m, (b_ih, b_hh) = quad[1].shape[1], biases(quad)
    return jnp.concatenate([b_ih[: 2 * m] + b_hh[: 2 * m], b_ih[2 * m :]]), b_hh[2 * m :]


def _write_flax(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    kernels = {"dense_i": {"kernel": quad[0].T}, "dense_h": {"kernel": quad[1].T}}
    if kind == "lstm":
        kernels["dense_h"]["bias"] = _one_bias(quad)
        return kernels
    bias, b_n = _split_bias(quad)
    if quad[3] is not None and not _is_zero(b_n):
        rule = "`params.b_hh` must be 0 in its last third for nnx.GRUCell, which has no such bias: library='linen' does"
        wrong_value(function, rule, "other numbers, or numbers that are not known while tracing")
    kernels["dense_i"]["bias"] = bias
    return kernels


def _is_zero(a: Any) -> bool:
    try:
        return not np.any(np.asarray(a))
    except Exception:  # traced
        return False


def _write_linen(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    gates, m = OURS[kind], quad[1].shape[1]
    made: dict[str, dict[str, Any]] = {}
    for side, w in zip("ih", quad[:2], strict=True):
        made |= {side + g: {"kernel": w[j * m : (j + 1) * m].T} for j, g in enumerate(gates)}
    if kind == "gru":
        bias, made["hn"]["bias"] = _split_bias(quad)
    else:
        bias = _one_bias(quad)
    for j, g in enumerate(gates):
        made[("i" if kind == "gru" else "h") + g]["bias"] = bias[j * m : (j + 1) * m]
    return made


def _write_equinox(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made: dict[str, Any] = {"weight_ih": quad[0], "weight_hh": quad[1]}
    if unbiased(quad):
        return made
    if kind == "lstm":
        return made | {"bias": _one_bias(quad)}
    return made | dict(zip(("bias", "bias_n"), _split_bias(quad), strict=True))


def _write_haiku(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    w_ih, w_hh, b = quad[0], quad[1], _one_bias(quad)
    m = w_hh.shape[1]
    if kind == "gru":
        z = by_gate(HAIKU_SIGNS, m, w_hh.dtype)
        return {"w_i": (w_ih * z[:, None]).T, "w_h": (w_hh * z[:, None]).T, "b": b * z}
    return {"w": jnp.concatenate([w_ih.T, w_hh.T]), "b": b - by_gate(HAIKU_ADDED, m, b.dtype)}


def _write_keras(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made = [quad[0].T, quad[1].T]
    if unbiased(quad):
        return made
    if kind == "lstm" or reset == "before":
        return [*made, _one_bias(quad)]
    return [*made, jnp.stack(biases(quad))]


def _write_onnx(function: str, kind: str, quad: Quad, reset: str, suffix: str) -> Any:
    made = {"W": quad[0][None], "R": quad[1][None]}
    if unbiased(quad):
        return made
    return made | {"B": jnp.concatenate(biases(quad))[None]}


WRITE = {
    "torch": _write_torch, "flax": _write_flax, "linen": _write_linen, "equinox": _write_equinox,
    "haiku": _write_haiku, "keras": _write_keras, "onnx": _write_onnx,
}  # fmt: skip
