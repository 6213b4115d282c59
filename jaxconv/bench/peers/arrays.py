"""The inputs of a call, drawn the same for every framework."""

from __future__ import annotations

import numpy as np


def convolution(call: dict) -> tuple:
    """x, w and the cotangent g, channels first, float32."""
    draw = np.random.default_rng(0).standard_normal
    s, p, d = (per_axis(call, key) for key in ("stride", "padding", "dilation"))
    sizes = zip(call["x"][2:], call["w"][2:], s, p, d)  # noqa: B905  a peer's Python may be older
    m = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]
    shapes = call["x"], call["w"], [call["x"][0], call["w"][0], *m]
    return tuple(draw(shape).astype("float32") for shape in shapes)


def per_axis(call: dict, key: str) -> list[int]:
    """An option of every spatial axis, where it was given once for all, too."""
    given = call[key]
    return list(given) if isinstance(given, (list, tuple)) else [given] * (len(call["x"]) - 2)


def recurrence(call: dict) -> tuple:
    """x (T, batch, n), the weights and the cotangent of h (T, batch, m), float32.

    The weights: W_c (m, n), W_h (m, m), W_x (m, n) of the gated cell; W_i (km, n), W_h (km, m) and the biases b_i, b_h
    (km,) of a GRU, k = 3, and an LSTM, k = 4.
    """
    draw = np.random.default_rng(0).standard_normal
    T, batch, n, m = (call[key] for key in ("steps", "batch", "n", "m"))
    if call.get("cell", "gated") == "gated":
        weights, scales = ((m, n), (m, m), (m, n)), (n**-0.5, m**-0.5, n**-0.5)
    else:
        k = {"gru": 3, "lstm": 4}[call["cell"]]
        weights, scales = ((k * m, n), (k * m, m), (k * m,), (k * m,)), (n**-0.5, m**-0.5, 0.1, 0.1)
    shapes, scales = ((T, batch, n), *weights, (T, batch, m)), (1.0, *scales, 1.0)
    return tuple((scale * draw(shape)).astype("float32") for scale, shape in zip(scales, shapes))  # noqa: B905
