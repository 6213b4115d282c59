"""GRU (reset after and before) and LSTM in float64 NumPy, written from their equations; imports nothing of jaxconv.

Arrays carry one leading axis of variants, so that the complex step differentiates every number at once.
Names: w_ih, w_hh, b_ih, b_hh, x (T, batch, n), h0 and, of the LSTM, c0 (batch, m).
"""

import numpy as np

EPSILON = 1e-30


def same(value):
    return value


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def times(w, v):
    return np.einsum("pij,pj->pi", w, v)


def step(kind, a, state, x):
    """The next state, a tuple; one example of every variant."""
    h, *c = state
    m = h.shape[-1]
    w_h, i = a["w_hh"], times(a["w_ih"], x) + a["b_ih"]
    gate = [slice(k * m, (k + 1) * m) for k in range(4)]
    if kind == "lstm":
        i = i + times(w_h, h) + a["b_hh"]
        inn, forget, new, out = (i[:, g] for g in gate)
        c = sigmoid(forget) * c[0] + sigmoid(inn) * np.tanh(new)
        return sigmoid(out) * np.tanh(c), c
    j = times(w_h, h) + a["b_hh"]
    r, z = (sigmoid(i[:, g] + j[:, g]) for g in gate[:2])
    g = gate[2]
    inside = r * j[:, g] if kind == "after" else times(w_h[:, g], r * h) + a["b_hh"][:, g]
    return ((1 - z) * np.tanh(i[:, g] + inside) + z * h,)


def forward(kind, a, rounded=same, lengths=None, reverse=False):
    """(last state as a tuple of (P, batch, m), h (P, T, batch, m)); every array of `a` has the axis of variants."""
    x, starts = a["x"], [a[name] for name in ("h0", "c0") if name in a]
    p, time, batch, _ = x.shape
    h = np.zeros((p, time, batch, starts[0].shape[-1]), np.result_type(*a.values()))
    last = [np.zeros_like(h[:, 0]) for _ in starts]
    for b in range(batch):
        state = tuple(s[:, b] for s in starts)
        order = range(time if lengths is None else lengths[b])
        for t in reversed(order) if reverse else order:
            state = tuple(rounded(s) for s in step(kind, a, state, x[:, t, b]))
            h[:, t, b] = state[0]
        for whole, s in zip(last, state, strict=True):
            whole[:, b] = s
    return tuple(last), h


def value_and_gradient(kind, a, g_last, y_bar, rounded=same, **run):
    """(last, h, {name: gradient of ⟨g_last, last⟩ + ⟨ȳ, h⟩}) of arrays without the axis of variants."""
    a = {name: rounded(value) for name, value in a.items()}
    sizes = {name: value.size for name, value in a.items()}
    count, at, nudged = sum(sizes.values()), 0, {}
    for name, value in a.items():
        bumps = np.zeros((count, value.size))
        bumps[at : at + value.size] = np.eye(value.size)
        nudged[name] = value[None] + 1j * EPSILON * bumps.reshape(count, *value.shape)
        at += value.size
    last, h = forward(kind, nudged, rounded, **run)
    loss = sum((s * g).reshape(count, -1).sum(1) for s, g in zip((*last, h), (*g_last, y_bar), strict=True))
    cut = np.split(loss.imag / EPSILON, np.cumsum(list(sizes.values()))[:-1])
    gradient = {name: part.reshape(a[name].shape) for name, part in zip(a, cut, strict=True)}
    return tuple(s[0].real for s in last), h[0].real, gradient


def step_jacobian(kind, a, state, x):
    """∂(next state)/∂(state) of one example."""
    m, k = len(state[0]), len(state)
    units = np.eye(k * m).reshape(k * m, k, m)
    nudged = tuple(s[None] + 1j * EPSILON * units[:, i] for i, s in enumerate(state))
    after = step(kind, {name: value[None] for name, value in a.items()}, nudged, np.broadcast_to(x, (k * m, len(x))))
    return np.concatenate([s.imag / EPSILON for s in after], -1).T
