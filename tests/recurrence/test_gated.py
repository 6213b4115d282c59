"""The gated recurrence against float64 loops: states, every gradient, and the gradient of the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gated_oracles as oracle
from gated_cases import BY_ID, EVERY, SOME, WEIGHTS, pick
from gated_judge import cast, expected, judge, losses, scan, x64
from jaxconv import GatedParams, gated_init, gated_step
from jaxconv.accuracy import error_model

pytestmark = pytest.mark.unoptimised

EXTREME = pick("large-recurrent-weight", "gates-near-1")
ONE_OUTPUT = pick("two-batch-axes", "no-recurrent-weight", "time-0")
AGAINST_JAX = pick("two-batch-axes", "gate-bias-only", "gates-near-1", "time-0", "lengths-reverse", "linear-every-3")
PRECISIONS = [
    *[(case, "float32") for case in EVERY],
    *[(case, "float64") for case in pick("two-batch-axes", "time-0", "time-40")],
    *[(case, half) for case in SOME[:2] for half in ("bfloat16", "float16")],
    *[(case, "bfloat16") for case in pick("lengths-reverse", "every-3-of-7", "save-lengths-reverse")],
]
TWICE = [
    *[(case, "float32") for case in [*SOME[:3], *EXTREME, *pick("time-0", "time-1", "unroll-3-of-7")]],
    *[(case, "float32") for case in pick("lengths-reverse", "every-3-of-7-lengths", "save-lengths-reverse")],
    *[(case, "float64") for case in pick("two-batch-axes", "gates-near-1")],
]

# Each kind of case once.
KINDS = (
    "plain", "time-0", "time-40", "batch-0", "no-biases", "nothing-optional", "gates-near-1", "large-recurrent-weight",
    "lengths-reverse", "every-3-of-7", "every-3-of-7-lengths", "linear-lengths", "linear-every-3",
    "save-lengths-reverse", "time-before-features",
)  # fmt: skip


def names(pairs):
    return [pytest.param(case, dtype, id=f"{case.id}-{dtype}") for case, dtype in pairs]


@pytest.mark.short("two-batch-axes", *(f"^{id}-float32$" for id in KINDS), "^every-3-of-7-bfloat16")
@pytest.mark.parametrize(("case", "dtype"), names(PRECISIONS))
def test_states_and_gradients(case, dtype):
    """Both outputs, and the gradient for every input under random cotangents on both."""
    with x64(dtype):
        a, _, g_last, y_bar = cast(case.draw(dtype), dtype)

        @jax.jit
        def both(a):
            states, pull_back = jax.vjp(lambda a: scan(case, a), a)
            return states, pull_back((g_last, y_bar))[0]

        states, gradient = both(a)
    judge(case, dict(zip(("h_last", "h"), states, strict=True)), *expected(case, dtype, "states"), dtype)
    judge(case, gradient, *expected(case, dtype, "gradient"), dtype)


@pytest.mark.short("two-batch-axes|lengths-reverse|linear")
@pytest.mark.parametrize("case", AGAINST_JAX, ids=lambda case: case.id)
def test_gradients_left_to_jax(case):
    """derivative="jax": its states and gradient lie within the model too, and within it of the hand-written ones."""
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)

    @jax.jit
    def both(a):
        forms = (jax.vjp(lambda a, form=form: scan(case, a, form), a) for form in ("hand", "jax"))
        return [(states, pull_back((g_last, y_bar))[0]) for states, pull_back in forms]

    (states, gradient), (states_jax, gradient_jax) = both(a)
    named = [dict(zip(("h_last", "h"), each, strict=True)) for each in (states, states_jax)]
    exact, spread = expected(case, "float32", "states")
    judge(case, named[1], exact, spread, "float32")
    judge(case, named[0], {name: np.float64(value) for name, value in named[1].items()}, spread, "float32")
    exact, spread = expected(case, "float32", "gradient")
    judge(case, gradient_jax, exact, spread, "float32")
    judge(case, gradient, {name: np.float64(value) for name, value in gradient_jax.items()}, spread, "float32")


@pytest.mark.short("two-batch-axes")
@pytest.mark.parametrize("output", ["last", "stack"])
@pytest.mark.parametrize("case", ONE_OUTPUT, ids=lambda case: case.id)
def test_gradients_through_one_output(case, output):
    """A loss that reads h_last alone, or the stack alone: the other cotangent is a symbolic zero."""
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    computed = jax.jit(jax.grad(losses(case, g_last, y_bar)[output]))(a)
    judge(case, computed, *expected(case, "float32", "gradient", output), "float32")


@pytest.mark.short("^two-batch-axes-float32|no-recurrent|every-3-of-7-lengths")
@pytest.mark.parametrize(("case", "dtype"), names(TWICE))
def test_second_order(case, dtype):
    """The gradient of ⟨gradient, d⟩, reverse over reverse: the Hessian times d."""
    with x64(dtype):
        a, direction, g_last, y_bar = cast(case.draw(dtype), dtype)
        loss = losses(case, g_last, y_bar)["both"]

        @jax.jit
        def twice(a):
            along = jax.grad(lambda a: sum(jax.tree.leaves(jax.tree.map(jnp.vdot, jax.grad(loss)(a), direction))))
            return along(a)

        computed = twice(a)
    judge(case, computed, *expected(case, dtype, "curvature"), dtype)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.id)
def test_adjoint_oracle(case):
    """The oracle's adjoint is its complex step: number by number where that is quick, else along a direction."""
    a, direction, g_last, y_bar = case.draw(np.float64)
    adjoint, spread = expected(case, np.float64, "gradient")
    steps = case.time * int(np.prod(case.batch))
    if steps * sum(value.size for value in a.values()) < 3000:
        judge(case, oracle.complex_step(a, g_last, y_bar, **case.run), adjoint, spread, np.float64)
    along = sum(np.sum(adjoint[name] * direction[name]) for name in a)
    inner = sum(np.sum(np.abs(adjoint[name] * direction[name])) for name in a)
    error = abs(oracle.slope(a, direction, g_last, y_bar, **case.run) - along)
    blur = sum(np.sum(spread[name] * np.abs(direction[name])) for name in a)
    assert error <= error_model.C * (error_model.unit_roundoff(np.float64) * inner + blur)


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
def test_curvature_oracle_is_symmetric(case):
    """⟨d, H e⟩ = ⟨e, H d⟩"""
    a, d, g_last, y_bar = case.draw(np.float64)
    _, e, _, _ = case.draw(np.float64, seed=1)
    h_d, h_e = (oracle.curvature(a, each, g_last, y_bar) for each in (d, e))
    terms = np.concatenate([(d[name] * h_e[name] - e[name] * h_d[name]).ravel() for name in a])
    size = np.concatenate([np.abs(d[name] * h_e[name]).ravel() for name in a]).sum()
    assert abs(terms.sum()) <= error_model.C * error_model.unit_roundoff(np.float64) * np.sqrt(terms.size) * size


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
def test_step_is_the_first_of_the_scan(case):
    a, *_ = case.draw()
    a = cast(a, jnp.float32)
    first = gated_step(GatedParams(*map(a.get, WEIGHTS)), a["h0"], a["x"][0])
    (_, h), (_, spread) = (expected(case, "float32", "states")[i].values() for i in (0, 1))
    found = error_model.measured_units(first, h[0], spread[0], case.sums()["h"], np.float32)
    assert found.max() <= error_model.C


def test_last_state_is_the_last_of_the_stack():
    a, *_ = cast(BY_ID["two-batch-axes"].draw(), jnp.float32)
    h_last, h = scan(BY_ID["two-batch-axes"], a)
    np.testing.assert_array_equal(h_last, h[-1])


def test_numpy_arrays_are_taken():
    a, *_ = BY_ID["plain"].draw()
    of_numpy = scan(BY_ID["plain"], {name: value.astype(np.float32) for name, value in a.items()})
    jax.tree.map(np.testing.assert_array_equal, of_numpy, scan(BY_ID["plain"], cast(a, jnp.float32)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_init(bias, dtype):
    """Shapes, dtype and the documented variances: 1/n for W_c and W_x, 1/(4m) for W_h, within four standard errors."""
    n, m = 60, 90
    params = gated_init(jax.random.key(3), n, m, bias=bias, dtype=dtype)
    assert [None if p is None else p.shape for p in params] == [(m, n), (m, m), (m, n), *[(m,) if bias else None] * 2]
    assert {p.dtype for p in params if p is not None} == {jnp.dtype(dtype)}
    for w, variance in ((params.w_c, 1 / n), (params.w_h, 1 / (4 * m)), (params.w_x, 1 / n)):
        squares = np.float64(w) ** 2
        assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(squares.size)
        assert np.abs(np.float64(w)).max() <= (3 * variance) ** 0.5 * (1 + error_model.unit_roundoff(dtype))
    assert not bias or not np.any(np.float64(params.b_c)) | np.any(np.float64(params.b_x))
    assert not np.array_equal(params.w_c, params.w_x)


def test_init_can_be_donated():
    """No two leaves share a buffer: an optimiser step may donate the parameters."""
    params = gated_init(jax.random.key(0), 2, 3)
    update = jax.jit(lambda params: jax.tree.map(lambda p: p + 1, params), donate_argnums=0)
    assert update(params).b_x.shape == (3,)
