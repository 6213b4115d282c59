"""Float64 NumPy oracles of the GRU, reset after and before the product, and the LSTM: loops over time, plain sums.

`verify` compares with these. The test suite has its own, by complex steps, and checks these against them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxconv.accuracy.oracle import Rounded, _same, _sigmoid

Array = np.ndarray


class Tape(NamedTuple):
    """What one step computed: the state before it, (h,) or (h, c), and its gates."""

    state: tuple[Array, ...]
    gates: tuple[Array, ...]


def _tanh(pre: Array, rounded: Rounded) -> Array:
    """tanh, whose slope 1 − tanh² sees the rounded value, as in any program."""
    t = rounded(np.tanh(np.real(pre)))
    return t + 1j * np.imag(pre) * (1 - t**2) if np.iscomplexobj(pre) else t


def _affine(x: Array, w: Array, b: Any) -> Array:
    return x @ w.T + (0 if b is None else b)


def _step(cell: str, params: Any, state: tuple, x: Array, rounded: Rounded) -> tuple[tuple, Tape]:
    """One step of "after", "before" (GRU) or "lstm": r, z, n with h' = (1 − z) n + z h; i, f, g, o."""
    w_ih, w_hh, b_ih, b_hh = params
    h, m = state[0], state[0].shape[-1]
    a, p = _affine(x, w_ih, b_ih), _affine(h, w_hh, b_hh)
    if cell == "lstm":
        i, f, o = (_sigmoid((a + p)[..., k * m : (k + 1) * m], rounded) for k in (0, 1, 3))
        g = _tanh((a + p)[..., 2 * m : 3 * m], rounded)
        c = rounded(f * state[1] + i * g)
        t = _tanh(c, rounded)
        return (rounded(o * t), c), Tape(state, (i, f, g, o, t))
    r, z = (_sigmoid((a + p)[..., k * m : (k + 1) * m], rounded) for k in (0, 1))
    q = p[..., 2 * m :]
    if cell == "before":
        q = _affine(r * h, w_hh[2 * m :], None if b_hh is None else b_hh[2 * m :])
    n = _tanh(a[..., 2 * m :] + (r * q if cell == "after" else q), rounded)
    return (rounded((1 - z) * n + z * h),), Tape(state, (r, z, n, q))


def scan(
    cell: str, params: Any, x: Any, start: tuple, rounded: Rounded = _same, live: Any = None
) -> tuple[tuple, Array, list[Tape]]:
    """(last state, h (T, *batch, m), tapes), step by step; the state stands still where `live` is False."""
    state, tapes, h = tuple(start), [], []
    for t, x_t in enumerate(x):
        after, tape = _step(cell, params, state, x_t, rounded)
        state = after if live is None else tuple(np.where(live[t], a, s) for a, s in zip(after, state, strict=True))
        tapes.append(tape)
        h.append(state[0])
    return state, np.stack(h) if h else np.zeros((0, *np.shape(start[0]))), tapes


def _deltas(cell: str, params: Any, tape: Tape, g: tuple) -> tuple[tuple, Array, Array, Array]:
    """(g before, gradient at W_i x, at W_h h, what the last rows of W_h multiply) of one step."""
    w_hh, (h, *c), m = params[1], tape.state, tape.state[0].shape[-1]
    if cell == "lstm":
        i, f, u, o, t = tape.gates
        g_c = g[1] + g[0] * o * (1 - t**2)
        parts = g_c * u * i * (1 - i), g_c * c[0] * f * (1 - f), g_c * i * (1 - u**2), g[0] * t * o * (1 - o)
        delta = np.concatenate(parts, -1)
        return (delta @ w_hh, f * g_c), delta, delta, h
    r, z, n, q = tape.gates
    d_n, d_z = g[0] * (1 - z) * (1 - n**2), g[0] * (h - n) * z * (1 - z)
    if cell == "after":
        d_r = d_n * q * r * (1 - r)
        of_x, of_h = (np.concatenate([d_r, d_z, last], -1) for last in (d_n, d_n * r))
        return (z * g[0] + of_h @ w_hh,), of_x, of_h, h
    u = d_n @ w_hh[2 * m :]
    delta = np.concatenate([u * h * r * (1 - r), d_z, d_n], -1)
    return (z * g[0] + u * r + delta[..., : 2 * m] @ w_hh[: 2 * m],), delta, delta, r * h


def vjp(
    cell: str, params: Any, x: Any, start: tuple, y_bar: Any, g_last: tuple, rounded: Rounded = _same, live: Any = None
) -> tuple[list, Array, tuple]:
    """Gradients of Σ ȳ[t]·h[t] + g_last·(last state) for (params, x, start), one step at a time from the last."""
    _, h, tapes = scan(cell, params, x, start, rounded, live)
    m = start[0].shape[-1]
    dtype = np.result_type(h, x, y_bar, *[p for p in params if p is not None])
    found: list[Any] = [None if p is None else np.zeros(p.shape, dtype) for p in params]
    dx, g = np.zeros(np.shape(x), dtype), tuple(np.zeros(np.shape(s), dtype) + s for s in g_last)
    for t in reversed(range(len(x))):
        g = (rounded(g[0] + y_bar[t]), *g[1:])
        before, of_x, of_h, last = _deltas(cell, params, tapes[t], g)
        if live is not None:
            before = tuple(np.where(live[t], b, each) for b, each in zip(before, g, strict=True))
            of_x, of_h = (np.where(live[t], each, 0) for each in (of_x, of_h))
        rows_x, rows_h = (each.reshape(-1, each.shape[-1]) for each in (of_x, of_h))
        found[0] += rows_x.T @ x[t].reshape(-1, x.shape[-1])
        found[1][: 2 * m] += rows_h[:, : 2 * m].T @ tapes[t].state[0].reshape(-1, m)
        found[1][2 * m :] += rows_h[:, 2 * m :].T @ last.reshape(-1, m)
        for k, rows in ((2, rows_x), (3, rows_h)):
            if found[k] is not None:
                found[k] += rows.sum(0)
        dx[t], g = of_x @ params[0], before
    return found, dx, g
