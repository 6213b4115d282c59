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
    """x (T, batch, n), W_c (m, n), W_h (m, m), W_x (m, n) and the cotangent of h (T, batch, m), float32."""
    draw = np.random.default_rng(0).standard_normal
    T, batch, n, m = (call[key] for key in ("steps", "batch", "n", "m"))
    shapes = (T, batch, n), (m, n), (m, m), (m, n), (T, batch, m)
    scales = 1.0, n**-0.5, m**-0.5, n**-0.5, 1.0
    return tuple((scale * draw(shape)).astype("float32") for scale, shape in zip(scales, shapes))  # noqa: B905
