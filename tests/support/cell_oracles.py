"""GRU (reset after and before) and LSTM in float64 NumPy, written from their equations; imports nothing of jaxconv.

Arrays carry one leading axis of variants, so that the complex step differentiates every number at once.
Names: w_ih, w_hh, b_ih, b_hh, x (T, batch, n), h0 and, of the LSTM, c0 (batch, m).
"""

import numpy as np

EPSILON = 1e-30


def same(value):
    return value


def sigmoid(z, rounded=same):
    """σ, rounded before its slope σ(1 − σ) is formed, as any program rounds it: near 1 that is what limits it."""
    s = rounded(1 / (1 + np.exp(-np.real(z))))
    return s + 1j * s * (1 - s) * np.imag(z) if np.iscomplexobj(z) else s


def tanh(z, rounded=same):
    """tanh, likewise, its slope 1 − tanh²."""
    t = rounded(np.tanh(np.real(z)))
    return t + 1j * (1 - t**2) * np.imag(z) if np.iscomplexobj(z) else t


def times(w, v):
    return np.einsum("pij,pj->pi", w, v)


def step(kind, a, state, x, rounded=same):
    """The next state, a tuple; one example of every variant."""
    h, *c = state
    m = h.shape[-1]
    w_h, i = a["w_hh"], times(a["w_ih"], x) + a["b_ih"]
    gate = [slice(k * m, (k + 1) * m) for k in range(4)]
    if kind == "lstm":
        i = i + times(w_h, h) + a["b_hh"]
        inn, forget, new, out = (i[:, g] for g in gate)
        c = sigmoid(forget, rounded) * c[0] + sigmoid(inn, rounded) * tanh(new, rounded)
        return sigmoid(out, rounded) * tanh(c, rounded), c
    j = times(w_h, h) + a["b_hh"]
    r, z = (sigmoid(i[:, g] + j[:, g], rounded) for g in gate[:2])
    g = gate[2]
    inside = r * j[:, g] if kind == "after" else times(w_h[:, g], r * h) + a["b_hh"][:, g]
    return ((1 - z) * tanh(i[:, g] + inside, rounded) + z * h,)


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
            state = tuple(rounded(s) for s in step(kind, a, state, x[:, t, b], rounded))
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


def step_jacobian(kind, a, state, x, rounded=same):
    """∂(next state)/∂(state) of one example."""
    m, k = len(state[0]), len(state)
    units = np.eye(k * m).reshape(k * m, k, m)
    nudged = tuple(s[None] + 1j * EPSILON * units[:, i] for i, s in enumerate(state))
    variants, everywhere = {name: value[None] for name, value in a.items()}, np.broadcast_to(x, (k * m, len(x)))
    after = step(kind, variants, nudged, everywhere, rounded)
    return np.concatenate([s.imag / EPSILON for s in after], -1).T
