"""The gated recurrence in float64 NumPy, one example and one step at a time. Imports nothing of jaxconv.

    v[t] = W_x x[t] + b_x     c[t] = σ(W_c x[t] + b_c + W_h h[t−1])     h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]

The inputs are a dict of arrays: w_c, w_x, x always, w_h, b_c, b_x, h0 where they are given. A gradient is a dict with
the same keys. `lengths` (*batch,) says how many steps each example has, all where None; `reverse` takes them from the
last to the first. `loss` is Σ g_last ⊙ h[T] + Σ y_bar ⊙ h.

Three derivatives, each checked by the one before it:

    complex_step   Im loss(a + iε e) / ε for every single number e: exact to rounding and without any formula
    adjoint        δ, ν and g of the recurrence, by the chain rule
    curvature      Im adjoint(a + iε d) / ε: the Hessian of the loss times d

Every function takes `rounded`, applied to the inputs and to whatever a step passes on (h, c, v, g): the identity here,
a perturbation where `jaxconv.accuracy.error_model.spread` measures how rounding errors grow.
"""

import numpy as np

EPSILON = 1e-30  # of the complex step; its square is lost beside any number that occurs


def same(value):
    return value


def sigmoid(z):
    """1 / (1 + exp(−z)), analytic and without overflow for either sign of Re z."""
    positive = np.real(z) >= 0
    e = np.exp(np.where(positive, -z, z))
    return np.where(positive, 1, e) / (1 + e)


def gate(pre, rounded):
    """c = σ(pre), rounded before anything is formed from it, σ′ = c(1 − c) and so its complex step included."""
    if rounded is same:
        return sigmoid(pre)
    c = rounded(sigmoid(np.real(pre)))
    return c + 1j * c * (1 - c) * np.imag(pre) if np.iscomplexobj(pre) else c


def gate_and_candidate(a, h, x, rounded=same):
    pre, v = a["w_c"] @ x, a["w_x"] @ x
    if "b_c" in a:
        pre = pre + a["b_c"]
    if "b_x" in a:
        v = v + a["b_x"]
    if "w_h" in a:
        pre = pre + a["w_h"] @ h
    return gate(pre, rounded), rounded(v)


def step(a, h, x, rounded=same):
    """One step of one example: h (m,), x (n,)."""
    c, v = gate_and_candidate(a, h, x, rounded)
    return rounded(c * h + (1 - c) * v)


def start(a, example):
    """h[0] of one example."""
    return a["h0"][example] if "h0" in a else np.zeros(len(a["w_c"]))


def times(x, example, lengths, reverse):
    """The steps of one example, in the order in which they are run."""
    order = range(len(x) if lengths is None else int(np.asarray(lengths)[example]))
    return list(reversed(order)) if reverse else list(order)


def forward(a, rounded=same, lengths=None, reverse=False):
    """(h_last (*batch, m), h (T, *batch, m)), from x (T, *batch, n)."""
    a = {name: rounded(value) for name, value in a.items()}
    x, m = a["x"], len(a["w_c"])
    kind = np.result_type(*a.values(), float)
    h_last, h = np.empty((*x.shape[1:-1], m), kind), np.zeros((*x.shape[:-1], m), kind)
    for example in np.ndindex(x.shape[1:-1]):
        state = start(a, example)
        for t in times(x, example, lengths, reverse):
            state = step(a, state, x[t, *example], rounded)
            h[t, *example] = state
        h_last[example] = state
    return h_last, h


def loss(a, g_last, y_bar, **run):
    h_last, h = forward(a, **run)
    return np.sum(g_last * h_last) + np.sum(y_bar * h)


def nudged(a, direction):
    return {name: value + 1j * EPSILON * direction[name] for name, value in a.items()}


def complex_step(a, g_last, y_bar, **run):
    """The gradient of `loss`, one number at a time."""
    gradient = {name: np.zeros(value.shape) for name, value in a.items()}
    for name, value in a.items():
        for i in np.ndindex(value.shape):
            bumped = value.astype(complex)
            bumped[i] += 1j * EPSILON
            gradient[name][i] = loss({**a, name: bumped}, g_last, y_bar, **run).imag / EPSILON
    return gradient


def slope(a, direction, g_last, y_bar, **run):
    """The derivative of `loss` in one direction."""
    return loss(nudged(a, direction), g_last, y_bar, **run).imag / EPSILON


def adjoint(a, g_last, y_bar, rounded=same, lengths=None, reverse=False):
    """The gradient of `loss` by the chain rule, last step first."""
    a = {name: rounded(value) for name, value in a.items()}
    x = a["x"]
    kind = np.result_type(*a.values(), float)
    gradient = {name: np.zeros(value.shape, kind) for name, value in a.items()}

    def add(name, amount, *index):
        if name in gradient:
            gradient[name][index] += amount

    for example in np.ndindex(x.shape[1:-1]):
        tape, h = [], start(a, example)
        order = times(x, example, lengths, reverse)
        for t in order:
            c, v = gate_and_candidate(a, h, x[t, *example], rounded)
            tape.append((h, c, v))
            h = rounded(c * h + (1 - c) * v)
        g = g_last[example].astype(kind)
        for t in reversed(order):
            h, c, v = tape.pop()
            g = rounded(g + y_bar[t, *example])
            nu = g * (1 - c)
            delta = g * (h - v) * c * (1 - c)
            add("w_c", np.outer(delta, x[t, *example]))
            add("w_h", np.outer(delta, h))
            add("w_x", np.outer(nu, x[t, *example]))
            add("b_c", delta)
            add("b_x", nu)
            add("x", delta @ a["w_c"] + nu @ a["w_x"], t, *example)
            g = g * c + (delta @ a["w_h"] if "w_h" in a else 0)
        add("h0", g, *example)
    return gradient


def curvature(a, direction, g_last, y_bar, rounded=same, **run):
    """The Hessian of `loss`, times a direction."""
    tilted = adjoint(nudged(a, direction), g_last, y_bar, rounded, **run)
    return {name: value.imag / EPSILON for name, value in tilted.items()}


def step_jacobian(a, h, x, rounded=same):
    """∂h[t]/∂h[t−1] of one example (m, m), one column after the other, by complex step."""
    m = len(h)
    columns = [step(a, h + 1j * EPSILON * unit, x, rounded).imag / EPSILON for unit in np.eye(m)]
    return np.stack(columns, axis=-1)


def jacobians(a, rounded=same):
    """∂h[t]/∂h[t−1] along the path of one example, x (T, n): a list of T matrices."""
    a = {name: rounded(value) for name, value in a.items()}
    h, found = start(a, ()), []
    for x in a["x"]:
        found.append(step_jacobian(a, h, x, rounded))
        h = step(a, h, x, rounded)
    return found


def flow(a, rounded=same):
    """(‖∂h[T]/∂h[t]‖₂ for t = 0 … T, Lyapunov exponents descending) of one example, as plain matrix products."""
    steps, m = jacobians(a, rounded), len(a["w_c"])
    product = np.eye(m)
    norms = [1.0]
    for jacobian in reversed(steps):
        product = rounded(product @ jacobian)
        norms.append(np.linalg.norm(product, 2))
    q, stretch = np.eye(m), np.zeros(m)
    for jacobian in steps:
        q, r = np.linalg.qr(rounded(jacobian @ q))
        stretch = rounded(stretch + np.log(np.abs(np.diag(r))))
    return np.array(norms[::-1]), np.sort(stretch / max(len(steps), 1))[::-1]
