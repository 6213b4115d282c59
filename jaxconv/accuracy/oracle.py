"""Float64 NumPy oracles: the sums of the docstrings, tap by tap and step by step. Slow, plain, and free of jax's rules.

`verify` compares with these. The test suite has its own, written apart, and checks these against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from jaxconv.sizes.geometry import Geometry

Array = np.ndarray


def to_double(array: Any) -> Array:
    """As float64, or complex128 where it is complex."""
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _taps(geometry: Geometry) -> Iterator[tuple[Any, Any, Any]]:
    """For every tap q: the outputs p, and the inputs j = s·p + d·q − lo that lie inside the input."""
    axes = []
    for (n, k, s, (lo, _), d), m in zip(geometry.per_axis, geometry.output_size, strict=True):
        inside = [[p for p in range(m) if 0 <= s * p + d * q - lo < n] for q in range(k)]
        axes.append([(q, ps, [s * p + d * q - lo for p in ps]) for q, ps in enumerate(inside)])
    for taps in product(*axes):
        if all(ps for _, ps, _ in taps):
            outputs = tuple(slice(ps[0], ps[-1] + 1) for _, ps, _ in taps)
            inputs = tuple(slice(js[0], js[-1] + 1, s) for (_, _, js), s in zip(taps, geometry.stride, strict=True))
            yield tuple(q for q, _, _ in taps), outputs, inputs


class _Groups(NamedTuple):
    """Arrays as (batch, group, channels, *space) and kernels as (group, out, in, *taps), and back."""

    geometry: Geometry

    def array(self, x: Array) -> Array:
        x = to_double(x) if self.geometry.channels_first else np.moveaxis(to_double(x), -1, 1)
        return x.reshape(x.shape[0], self.geometry.groups, -1, *x.shape[2:]) if x.size else x[:, None]

    def array_back(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])
        return x if self.geometry.channels_first else np.moveaxis(x, 1, -1)

    def kernel(self, w: Array) -> Array:
        w = to_double(w) if self.geometry.channels_first else np.moveaxis(to_double(w), (-1, -2), (0, 1))
        return w.reshape(self.geometry.groups, -1, *w.shape[1:])

    def kernel_back(self, w: Array) -> Array:
        w = w.reshape(-1, *w.shape[2:])
        return w if self.geometry.channels_first else np.moveaxis(w, (0, 1), (-1, -2))


def conv(x: Any, w: Any, geometry: Geometry) -> Array:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]"""
    view = _Groups(geometry)
    x, w = view.array(x), view.kernel(w)
    y = np.zeros((x.shape[0], geometry.groups, w.shape[1], *geometry.output_size), np.result_type(x, w))
    for q, outputs, inputs in _taps(geometry) if x.size else ():
        y[:, :, :, *outputs] += np.einsum("goi,bgi...->bgo...", w[:, :, :, *q], x[:, :, :, *inputs])
    return view.array_back(y)


def conv_input_vjp(g: Any, w: Any, geometry: Geometry) -> Array:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]"""
    view = _Groups(geometry)
    g, w = view.array(g), view.kernel(w)
    dx = np.zeros((g.shape[0], geometry.groups, w.shape[2], *geometry.input_size), np.result_type(g, w))
    for q, outputs, inputs in _taps(geometry) if g.size else ():
        dx[:, :, :, *inputs] += np.einsum("goi,bgo...->bgi...", w[:, :, :, *q], g[:, :, :, *outputs])
    return view.array_back(dx)


def conv_weight_vjp(x: Any, g: Any, geometry: Geometry) -> Array:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]"""
    view = _Groups(geometry)
    channel = 1 if geometry.channels_first else -1
    shape = (geometry.groups, np.shape(g)[channel] // geometry.groups, np.shape(x)[channel] // geometry.groups)
    x, g = view.array(x), view.array(g)
    dw = np.zeros((*shape, *geometry.kernel_size), np.result_type(x, g))
    for q, outputs, inputs in _taps(geometry) if x.size else ():
        left, right = g[:, :, :, *outputs], x[:, :, :, *inputs]
        left, right = (each.reshape(*each.shape[:3], -1) for each in (left, right))
        dw[:, :, :, *q] = np.einsum("bgop,bgip->goi", left, right)
    return view.kernel_back(dw)


Rounded = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


class GatedRun(NamedTuple):
    """States and gates of a run: h (T+1, *batch, m) with h[0] first; c and v (T, *batch, m)."""

    h: Array
    c: Array
    v: Array


def _sigmoid(pre: Array, rounded: Rounded) -> Array:
    """σ, whose slope c(1 − c) sees the rounded c, as in any program: near c = 1 that is what limits it."""
    c = rounded(np.exp(-np.logaddexp(0, -np.real(pre))))  # 1/(1 + e⁻ᵖ), which would overflow for p ≪ 0
    return c + 1j * np.imag(pre) * c * (1 - c) if np.iscomplexobj(pre) else c


def gated_scan(params: Any, x: Any, h0: Any, rounded: Rounded = _same, live: Any = None) -> GatedRun:
    """c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),  h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x), step by step.

    `params` is (w_c, w_h, w_x, b_c, b_x) with None where there is none; complex numbers pass through, so that a
    complex step differentiates. `rounded` is applied to every state. The gate is 1 where `live`
    (T, *batch, 1) is False.
    """
    w_c, w_h, w_x, b_c, b_x = params
    h, c, v = [h0], [], []
    for t, x_t in enumerate(x):
        pre = x_t @ w_c.T + (0 if b_c is None else b_c) + (0 if w_h is None else h[-1] @ w_h.T)
        c.append(_sigmoid(pre, rounded) if live is None else np.where(live[t], _sigmoid(pre, rounded), 1))
        v.append(rounded(x_t @ w_x.T + (0 if b_x is None else b_x)))
        h.append(rounded(c[-1] * h[-1] + (1 - c[-1]) * v[-1]))
    none = np.zeros((0, *np.shape(h0)), np.result_type(h0))
    return GatedRun(np.stack(h), np.stack(c) if c else none, np.stack(v) if v else none)


def gated_vjp(
    params: Any, x: Any, h0: Any, y_bar: Any, g_last: Any = 0.0, rounded: Rounded = _same, live: Any = None
) -> tuple[Any, Array, Array]:
    """Gradients of Σ ȳ[t]·h[t] + g_last·h[T] for (params, x, h0), one step at a time from the last."""
    w_c, w_h, w_x, b_c, b_x = params
    run = gated_scan(params, x, h0, rounded, live)
    dtype = np.result_type(run.h, x, y_bar)
    d_c, d_x, d_h = np.zeros(w_c.shape, dtype), np.zeros(w_x.shape, dtype), np.zeros((w_c.shape[0],) * 2, dtype)
    db_c, db_x, dx = np.zeros(w_c.shape[0], dtype), np.zeros(w_c.shape[0], dtype), np.zeros(np.shape(x), dtype)
    g = np.zeros(np.shape(h0), dtype) + g_last
    for t in reversed(range(len(x))):
        g = rounded(g + y_bar[t])
        h, c, v = run.h[t], run.c[t], run.v[t]
        delta, nu = g * (h - v) * c * (1 - c), g * (1 - c)
        rows = (-1, w_c.shape[0])
        delta_rows, nu_rows = delta.reshape(rows), nu.reshape(rows)
        x_rows, h_rows = x[t].reshape(-1, x.shape[-1]), h.reshape(rows)
        d_c += delta_rows.T @ x_rows
        d_h += delta_rows.T @ h_rows
        d_x += nu_rows.T @ x_rows
        db_c += delta_rows.sum(0)
        db_x += nu_rows.sum(0)
        dx[t] = delta @ w_c + nu @ w_x
        g = c * g + (0 if w_h is None else delta @ w_h)
    weights = (d_c, None if w_h is None else d_h, d_x, None if b_c is None else db_c, None if b_x is None else db_x)
    return weights, dx, g
