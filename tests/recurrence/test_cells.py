"""GRU and LSTM against float64 NumPy: states, gradients, Jacobians, initial memories; what every cell is asked."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cell_oracles as oracle
from jaxconv import (
    GRUParams,
    LSTMParams,
    check_vjp,
    gated_init,
    gradient_flow,
    gru_init,
    gru_scan,
    gru_scan_both,
    gru_step,
    gru_step_jacobian,
    lstm_init,
    lstm_scan,
    lstm_scan_both,
    lstm_step,
    lstm_step_jacobian,
)
from jaxconv.accuracy import error_model
from jaxconv.examples.minimal_gated_unit import mgu_init, mgu_scan

pytestmark = pytest.mark.unoptimised

WEIGHTS = ("w_ih", "w_hh", "b_ih", "b_hh")
ROWS = {"after": 3, "before": 3, "lstm": 4}
TIME, BATCH, N, M = 5, 2, 2, 3
KINDS = pytest.mark.parametrize("kind", ROWS)
OPTIONS = {
    "plain": {},
    "lengths-reverse-every-2": {"lengths": (5, 2), "reverse": True, "residuals": 2},
    "lengths": {"lengths": (4, 0)},
    "reverse": {"reverse": True},
    "save-lengths": {"residuals": "save", "lengths": (5, 3)},
    "every-3": {"residuals": 3},
    "every-100-reverse": {"residuals": 100, "reverse": True},
}


@cache
def drawn(kind, dtype="float32"):
    """Inputs, cotangents of the last state and of h, as float64 arrays of numbers that the dtype holds."""
    random, rows = np.random.default_rng(len(kind)), ROWS[kind]
    shapes = {"w_ih": (rows * M, N), "w_hh": (rows * M, M), "b_ih": (rows * M,), "b_hh": (rows * M,)}
    shapes |= {"x": (TIME, BATCH, N), "h0": (BATCH, M)} | ({"c0": (BATCH, M)} if kind == "lstm" else {})
    normal = lambda shape: random.standard_normal(shape).astype(jnp.dtype(dtype)).astype(np.float64)  # noqa: E731
    a = {name: normal(shape) for name, shape in shapes.items()}
    return a, tuple(normal((BATCH, M)) for _ in range(1 + (kind == "lstm"))), normal((TIME, BATCH, M))


def scan(kind, a, **options):
    """(last state as a tuple, h) of ours."""
    if kind == "lstm":
        return lstm_scan(LSTMParams(*map(a.get, WEIGHTS)), a["x"], (a["h0"], a["c0"]), **options)
    last, h = gru_scan(GRUParams(*map(a.get, WEIGHTS)), a["x"], a["h0"], reset=kind, **options)
    return (last,), h


def cast(tree, dtype=jnp.float32):
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), tree)


def judge(found, exact, spread, length, dtype=np.float32):
    for ours, right, scale in zip(found, exact, spread, strict=True):
        assert ours.shape == right.shape
        assert error_model.measured_units(ours, right, scale, length, dtype).max(initial=0) <= error_model.C


def spread_of(f, dtype=np.float32):
    return f(oracle.same), error_model.spread(f, dtype)


CASES = [(kind, name) for kind in ROWS for name in OPTIONS]


@pytest.mark.short("after-plain", "(before|lstm)-lengths-reverse-every-2")
@pytest.mark.parametrize(("kind", "name"), CASES, ids=map("-".join, CASES))
def test_states_and_gradients(kind, name):
    """The last state, h and the gradient for every input, under random cotangents on all outputs."""
    a, g_last, y_bar = drawn(kind)
    options = OPTIONS[name]
    run = {key: options[key] for key in ("lengths", "reverse") if key in options}
    ours = {key: np.array(value) if key == "lengths" else value for key, value in options.items()}

    @jax.jit
    def both(a):
        outputs, pull_back = jax.vjp(lambda a: scan(kind, a, **ours), a)
        return outputs, pull_back((cast(g_last), cast(y_bar)))[0]

    (last, h), gradient = both(cast(a))

    def exact(rounded):
        last, h, gradient = oracle.value_and_gradient(kind, a, g_last, y_bar, rounded, **run)
        return (*last, h, *gradient.values())

    judge((*last, h, *(gradient[name] for name in a)), *spread_of(exact), TIME * BATCH + 2 * M)


@pytest.mark.short("bfloat16-lstm|lstm-bfloat16")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@KINDS
def test_half_precision(kind, dtype):
    """States in the dtype of the inputs, accumulated in float32."""
    a, *_ = drawn(kind, dtype)
    (last, *_), h = scan(kind, cast(a, dtype))
    assert last.dtype == h.dtype == jnp.dtype(dtype)

    def exact(rounded):
        held = {name: rounded(value)[None] for name, value in a.items()}
        last, h = oracle.forward(kind, held, rounded)
        return last[0][0], h[0]

    found = (np.asarray(each, np.float64) for each in (last, h))
    judge(found, *spread_of(exact, dtype), 2 * M, dtype)


@KINDS
def test_steps_and_their_jacobian(kind):
    """A step is the first of the scan; its Jacobian is the complex step's, at every example."""
    a, *_ = drawn(kind)
    state = tuple(a[name] for name in ("h0", "c0") if name in a)

    def exact(rounded):
        held = {name: rounded(value) for name, value in a.items()}
        states = [tuple(rounded(s[b]) for s in state) for b in range(BATCH)]
        return (
            np.stack([oracle.step_jacobian(kind, held, s, held["x"][0, b], rounded) for b, s in enumerate(states)]),
        )

    ours = cast(a)
    x, now = ours["x"][0], tuple(ours[name] for name in ("h0", "c0") if name in ours)
    if kind == "lstm":
        params = LSTMParams(*map(ours.get, WEIGHTS))
        after, jacobian = lstm_step(params, now, x), lstm_step_jacobian(params, now, x)
    else:
        params = GRUParams(*map(ours.get, WEIGHTS))
        after, jacobian = (gru_step(params, now[0], x, reset=kind),), gru_step_jacobian(params, now[0], x, reset=kind)
    judge([jacobian], *spread_of(exact), 2 * M)
    judge([after[0]], *spread_of(lambda rounded: (first(kind, a, rounded),)), 2 * M)


def first(kind, a, rounded):
    held = {name: rounded(value)[None] for name, value in a.items()}
    return oracle.forward(kind, {**held, "x": held["x"][:, :1]}, rounded)[1][0, 0]


@pytest.mark.parametrize("kind", ["after", pytest.param("lstm", marks=pytest.mark.slow)])
def test_both_directions(kind):
    """Side by side what each direction gives alone."""
    a = cast(drawn(kind)[0])
    params = (LSTMParams if kind == "lstm" else GRUParams)(*map(a.get, WEIGHTS))
    run, both = (lstm_scan, lstm_scan_both) if kind == "lstm" else (gru_scan, gru_scan_both)
    there, back = run(params, a["x"]), run(params, a["x"], reverse=True)
    want = jax.tree.map(lambda *pair: jnp.concatenate(pair, -1), there, back)
    jax.tree.map(np.testing.assert_array_equal, both(params, params, a["x"]), want)


# ------------------------------------------------------------------------------------------------- the checker

CELLS = {
    "gru-after": (gru_scan, gru_init, {}),
    "gru-before": (gru_scan, gru_init, {"reset": "before"}),
    "lstm": (lstm_scan, lstm_init, {}),
    "mgu": (mgu_scan, mgu_init, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_checker_passes(name):
    run, init, own = CELLS[name]
    params = jax.tree.map(lambda p: p + 0.25, init(jax.random.key(1), 2, 3))
    report = check_vjp(partial(run, **own), params, jax.random.normal(jax.random.key(2), (4, 2, 2)))
    assert report.passed, str(report)


# ------------------------------------------------------------------------------------------------- memories

INITS = {"gated": (gated_init, {}), "after": (gru_init, {}), "before": (gru_init, {"reset": "before"}),
         "lstm": (lstm_init, {})}  # fmt: skip


@pytest.mark.short("after")
@pytest.mark.parametrize("name", INITS)
def test_memory(name):
    """With biases 0 nothing of 60 steps is left, with memory=60 a gradient comes through, and does not explode."""
    init, options = INITS[name]
    x = jax.random.normal(jax.random.key(1), (60, 3))
    forgets, remembers = (
        float(gradient_flow(init(jax.random.key(0), 3, 4, memory=memory), x, **options).norms[0])
        for memory in (None, 60)
    )
    assert forgets < 1e-6
    assert 0.05 < remembers < 2


def test_memory_sets_the_gates():
    """σ(bias) = 1 − 1/(1 + u) for u from 1 to memory − 1; an LSTM's input gate the other way."""
    u = np.linspace(99, 1, 5)
    keep = 1 - 1 / (1 + u)
    gated, gru, lstm = (init(jax.random.key(0), 2, 5, memory=100) for init in (gated_init, gru_init, lstm_init))
    for bias in (gated.b_c, gru.b_ih[5:10], lstm.b_ih[5:10], -lstm.b_ih[:5]):
        np.testing.assert_allclose(jax.nn.sigmoid(bias), keep, rtol=1e-6)
    assert not np.any(gru.b_ih[:5]) | np.any(gru.b_ih[10:]) | np.any(lstm.b_ih[10:]) | np.any(gru.b_hh)


# ------------------------------------------------------------------------------------------------- what it costs


@pytest.mark.parametrize(("run", "init", "arrays"), [(gru_scan, gru_init, 1), (lstm_scan, lstm_init, 2)])
def test_kept(run, init, arrays):
    """Between the passes by default the parameters, x and the states; nothing as wide as all gates."""
    x, params = jnp.ones((64, 2, 3)), init(jax.random.key(0), 3, 5)
    _, pull_back = jax.vjp(lambda *a: run(*a), params, x)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pull_back))
    least = x.size + sum(p.size for p in params) + arrays * 64 * 2 * 5
    assert least <= kept <= 1.1 * least


@pytest.mark.slow
@pytest.mark.parametrize(("run", "init", "states"), [(gru_scan, gru_init, 1), (lstm_scan, lstm_init, 2)])
def test_a_million_steps(run, init, states):
    """One step of training in memory for T/k + k states, though T states pass by."""
    time, k, m = 10**6, 1000, 8
    params, x = init(jax.random.key(0), 1, m, memory=k), jax.random.normal(jax.random.key(1), (time, 1))

    def loss(params):
        return sum(jnp.sum(s**2) for s in jax.tree.leaves(run(params, x, residuals=k)[0]))

    gradient = jax.jit(jax.grad(loss)).lower(params).compile()
    assert gradient.memory_analysis().temp_size_in_bytes < 40 * (time / k + k) * states * m * 4
    trained = jax.tree.map(lambda p, d: p - 0.01 * d, params, gradient(params))
    assert all(np.all(np.isfinite(p)) for p in jax.tree.leaves(trained))
    assert float(loss(trained)) < float(loss(params))


# ------------------------------------------------------------------------------------------------- bad input

GRU, LSTM = gru_init(jax.random.key(0), 3, 4), lstm_init(jax.random.key(0), 3, 4)
X, H = jnp.zeros((5, 2, 3)), jnp.zeros((2, 4))
WRONG = [
    (gru_scan, (GRU._replace(w_ih=jnp.zeros((13, 3))), X), ValueError, "gru_scan: `params.w_ih` must have the shape "
     "(3m, n), gates in the order r, z, n; got params.w_ih.shape=(13, 3)."),
    (gru_scan, (GRU._replace(w_hh=jnp.zeros((4, 12))), X), ValueError, "gru_scan: `params.w_hh` must have the shape "
     "(12, 4), gates in the order r, z, n, that params.w_ih.shape=(12, 3) implies; got params.w_hh.shape=(4, 12)."),
    (lstm_scan, (LSTM._replace(b_hh=jnp.zeros(4)), X), ValueError, "lstm_scan: `params.b_hh` must have the shape (16,),"
     " gates in the order i, f, g, o, that params.w_ih.shape=(16, 3) implies; got params.b_hh.shape=(4,)."),
    (lstm_scan, (GRU, X), TypeError, "lstm_scan: `params` must be a LSTMParams; got params of type GRUParams."),
    (lstm_scan, (LSTM, X, H), TypeError, "lstm_scan: `h0` must be a tuple (h0, c0); got h0 of type ArrayImpl."),
    (lstm_scan, (LSTM, X, (H, H[0])), ValueError, "lstm_scan: `c0` must have the shape (*batch, m) = (2, 4); got "
     "c0.shape=(4,) (x.shape=(5, 2, 3))."),
    (lstm_step, (LSTM, (H, H[:, :3]), X[0]), ValueError, "lstm_step: the last axis of `c` must have the 4 features of "
     "params.w_ih.shape=(16, 3); got c.shape=(2, 3)."),
    (lstm_step, (LSTM, (H, H, H), X[0]), TypeError, "lstm_step: `h` must be a tuple (h, c); got a tuple of 3."),
    (partial(gru_scan, reset="afer"), (GRU, X), ValueError, "gru_scan: `reset` must be one of 'after', 'before'; got "
     "reset='afer': did you mean 'after'?"),
    (partial(lstm_init, memory=1), (jax.random.key(0), 3, 4), ValueError, "lstm_init: `memory` must be at least 2 steps"
     " and finite; got memory=1."),
    (partial(gru_init, memory=9, bias=False), (jax.random.key(0), 3, 4), ValueError, "gru_init: `memory` must be left "
     "out where `bias` is False: it sets biases; got memory=9."),
    (gru_scan_both, (GRU, GRU, X, H), TypeError, "gru_scan_both: `h0` must be a pair of states or None; got h0 of type "
     "ArrayImpl."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "args", "kind", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_bad_input(call, args, kind, message):
    with pytest.raises(kind) as caught:
        call(*args)
    assert str(caught.value) == message
