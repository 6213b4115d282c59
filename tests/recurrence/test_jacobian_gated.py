"""One step's Jacobian, and how gradients fare over many: against complex steps and plain matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gated_oracles as oracle
from gated_cases import BY_ID, WEIGHTS, Case, pick
from gated_judge import cast, x64
from jaxconv import GatedParams, GradientFlow, gated_scan, gated_step, gated_step_jacobian, gradient_flow
from jaxconv.accuracy import error_model

pytestmark = pytest.mark.unoptimised


def within(computed, exact, spread, length, dtype=np.float32):
    found = error_model.measured_units(computed, exact, spread, length, dtype)
    assert found.shape == np.shape(exact)
    assert found.max(initial=0.0) <= error_model.C


def params_of(a):
    return GatedParams(*map(a.get, WEIGHTS))


# --------------------------------------------------------------------------------------------------------- one step

STEPS = [
    *[(case, "float32") for case in pick("plain", "no-recurrent-weight", "no-biases", "candidate-bias-only")],
    *[(case, "float32") for case in pick("one-feature-one-state", "large-recurrent-weight", "gates-near-1")],
    *[(BY_ID["plain"], dtype) for dtype in ("float64", "bfloat16", "float16")],
]


@pytest.mark.short("^(plain|no-recurrent|one-feature)")
@pytest.mark.parametrize(("case", "dtype"), STEPS, ids=[f"{case.id}-{dtype}" for case, dtype in STEPS])
def test_step_jacobian(case, dtype):
    """At the first state, for every x of the sequence: h and x broadcast."""
    exact, *_ = case.draw(dtype)
    h, x = exact["h0"].reshape(-1, case.m)[0], exact["x"].reshape(-1, case.n)

    def each(rounded):
        a = {name: rounded(value) for name, value in exact.items()}
        return (np.array([oracle.step_jacobian(a, rounded(h), rounded(each), rounded) for each in x]),)

    (want,), (spread,) = each(oracle.same), error_model.spread(each, dtype)
    with x64(dtype):
        params = params_of(cast(exact, dtype))
        computed = gated_step_jacobian(params, jnp.asarray(h, dtype), jnp.asarray(x, dtype))
    assert computed.dtype == jnp.dtype(dtype)
    within(computed, want, spread, max(case.n, case.m) + 1, dtype)


def test_step_jacobian_is_that_of_the_step():
    exact, *_ = BY_ID["plain"].draw(np.float64)
    with x64("float64"):
        a = cast(exact, jnp.float64)
        params, h, x = params_of(a), a["h0"], a["x"][0]
        computed, left_to_jax = gated_step_jacobian(params, h, x), jax.jacobian(gated_step, 1)(params, h, x)
    u = error_model.unit_roundoff(np.float64)
    within(computed, np.float64(left_to_jax), u * np.ones(left_to_jax.shape), 5, np.float64)


def test_step_jacobian_over_two_batch_axes():
    a = cast(BY_ID["two-batch-axes"].draw()[0], jnp.float32)
    computed = gated_step_jacobian(params_of(a), a["h0"], a["x"][0])
    assert computed.shape == (2, 3, 4, 4)
    alone = gated_step_jacobian(params_of(a), a["h0"][1, 2], a["x"][0, 1, 2])
    within(computed[1, 2], np.float64(alone), error_model.unit_roundoff(np.float32) * np.abs(alone), 5)


# ------------------------------------------------------------------------------------------------------- many steps


def example_of(a, example):
    """One example of a batch."""
    own = {"x": a["x"][:, *example], **({"h0": a["h0"][example]} if "h0" in a else {})}
    return {**a, **own}


FLOWS = pick("plain", "two-batch-axes", "zero-start", "time-1", "time-0", "batch-0", "one-feature-one-state", "time-40")


@pytest.mark.short("two-batch|time-0|time-40")
@pytest.mark.parametrize("case", FLOWS, ids=lambda case: case.id)
def test_flow(case):
    """Norms and exponents, example by example, in float64 and so far from underflow."""
    exact, *_ = case.draw(np.float64)
    with x64("float64"):
        a = cast(exact, jnp.float64)
        flow = gradient_flow(params_of(a), a["x"], a.get("h0"))
    assert flow.norms.shape == flow.log_norms.shape == (case.time + 1, *case.batch)
    assert flow.exponents.shape == (*case.batch, case.m)
    for example in np.ndindex(case.batch):
        own = example_of(exact, example)
        norms, exponents = oracle.flow(own)
        of_norms, of_exponents = error_model.spread(lambda rounded, own=own: oracle.flow(own, rounded), np.float64)
        length = max(case.time, case.m + 1)
        within(flow.norms[:, *example], norms, of_norms, length, np.float64)
        within(flow.exponents[example], exponents, of_exponents, length, np.float64)
        # an error of e in a norm is one of e / norm in its logarithm
        within(flow.log_norms[:, *example], np.log(norms), of_norms / norms, length, np.float64)


def test_flow_ends_at_one():
    """∂h[T]/∂h[T] is the identity."""
    a = cast(BY_ID["two-batch-axes"].draw()[0], jnp.float32)
    flow = gradient_flow(params_of(a), a["x"], a["h0"])
    np.testing.assert_array_equal(flow.norms[-1], 1)
    np.testing.assert_array_equal(flow.log_norms[-1], 0)
    norms, exponents = flow
    assert norms is flow.norms
    assert exponents is flow.exponents


@pytest.mark.parametrize("case", pick("time-0", "time-0-batch-unroll-3", "time-0-zero-start"), ids=lambda case: case.id)
def test_flow_of_no_time(case):
    a = cast(case.draw()[0], jnp.float32)
    flow = gradient_flow(params_of(a), a["x"], a.get("h0"))
    np.testing.assert_array_equal(flow.norms, np.ones((1, *case.batch)))
    np.testing.assert_array_equal(flow.exponents, np.zeros((*case.batch, case.m)))


def test_exponents_descend():
    a = cast(BY_ID["two-batch-axes"].draw()[0], jnp.float32)
    assert np.all(np.diff(gradient_flow(params_of(a), a["x"], a["h0"]).exponents) <= 0)


def test_norms_are_those_of_the_gradient():
    """‖∂h[T]/∂h[0]‖₂ from the dense Jacobian of the whole scan."""
    case = BY_ID["plain"]
    with x64("float64"):
        a = cast(case.draw(np.float64)[0], jnp.float64)
        flow = gradient_flow(params_of(a), a["x"], a["h0"])
        jacobian = jax.jacrev(lambda h0: gated_scan(params_of(a), a["x"], h0)[0])(a["h0"])
    want = np.linalg.norm(jacobian, 2)
    within(flow.norms[0], want, error_model.unit_roundoff(np.float64) * want, case.time * case.m, np.float64)


# ------------------------------------------------------------------------------------------- exercise 9: three regimes

REGIME = {"time": 100, "n": 4, "m": 8}
VANISH = Case("vanish", **REGIME, recurrent=0.1)
HOLD = Case("hold", **REGIME, recurrent=0.1, gate=14.0)


def flow_of(case, **kwargs):
    a = cast(case.draw(**kwargs)[0], jnp.float32)
    return gradient_flow(params_of(a), a["x"], a["h0"])


@pytest.mark.parametrize("seed", range(3))
def test_gates_inside_and_a_small_weight_vanish(seed):
    """Every step shrinks: the norms fall monotonically, going back, to less than e⁻¹⁰."""
    flow = flow_of(VANISH, seed=seed)
    assert np.all(np.diff(flow.log_norms[20:]) > 0)
    assert flow.log_norms[0] < -10
    assert np.all(flow.exponents < 0)


@pytest.mark.parametrize("seed", range(3))
def test_gates_at_one_hold(seed):
    """c → 1 keeps the norm at 1, to a per cent after 100 steps."""
    flow = flow_of(HOLD, seed=seed)
    assert np.all(np.abs(flow.log_norms) < 0.01)
    assert np.all(np.abs(flow.exponents) < 1e-3)


def flow_with(log_norms):
    log_norms = np.float32(log_norms)
    return GradientFlow(np.exp(log_norms), np.zeros(1), log_norms)


def test_summary_of_the_regimes():
    """What is said is what the norms did: which way, and after how many steps back by more than a factor e."""
    assert flow_of(VANISH).summary().startswith("vanish within ")
    assert flow_of(HOLD).summary().startswith("hold: ‖∂h[T]/∂h[0]‖ = exp(")
    explode = swing(10.0, time=20)  # log 99.75 in two steps; the last one alone 1/2 + 10
    assert explode.summary() == "explode within 1 steps: ‖∂h[T]/∂h[0]‖ = exp(46.03) over T = 20 steps"


def test_summary_of_many_sequences():
    logs = [[-30.0, 2.5, 0.3, -9.0], [-20.0, 1.5, 0.2, -3.0], [-0.5, 0.5, 0.1, -2.0], [0.0, 0.0, 0.0, 0.0]]
    said = "vanish within 2 steps in 2 of 4, hold in 1 of 4, explode within 2 steps in 1 of 4"
    assert flow_with(logs).summary() == f"{said}: ‖∂h[T]/∂h[0]‖ = exp(-30) to exp(2.5) over T = 3 steps"


def test_summary_counts_the_steps_of_its_own_side():
    """Where the norm was beyond the other limit before, or came back, the steps are those until it stays."""
    logs = np.array([[-3.0, 3.0, -3.0], [-2.0, 0.5, -0.5], [5.0, 2.0, -2.0], [2.0, -2.0, -2.0], [0.0, 0.0, 0.0]])
    said = [flow_with(logs[:, i]).summary().split(":")[0] for i in range(3)]
    assert said == ["vanish within 3 steps", "explode within 4 steps", "vanish within 4 steps"]


def test_summary_at_the_edges():
    assert flow_with([0.0]).summary() == "hold: ‖∂h[T]/∂h[0]‖ = exp(0) over T = 0 steps"
    assert flow_with([[-np.inf, -np.inf]] * 2 + [[0.0, 0.0]]).summary().startswith("vanish within 1 steps in 2 of 2")
    assert flow_with([[np.nan, 0.5], [0.0, 0.0]]).summary().startswith("hold in 1 of 2, not a number in 1 of 2")
    assert flow_with(np.zeros((3, 0))).summary() == "no sequence: nothing to say over T = 2 steps"


def swing(weight, time):
    """One state that swings between −1 and 1 with every gate at 1/2, whatever W_h is, in exact arithmetic.

    x = ±1, v = 3x, h[t−1] = −x, W_c = W_h: then c = σ(W_h x − W_h x) = 1/2, h[t] = (−x + 3x)/2 = x, and
    ∂h[t]/∂h[t−1] = 1/2 − W_h x: (1/2 − W_h)(1/2 + W_h) in two steps.
    """
    params = GatedParams(jnp.full((1, 1), weight), jnp.full((1, 1), weight), jnp.full((1, 1), 3.0))
    x = jnp.tile(jnp.array([1.0, -1.0]), time // 2)[:, None]
    return gradient_flow(params, x, jnp.array([-1.0]))


@pytest.mark.parametrize("weight", [0.125, 1.0, 2.0, 10.0])
def test_a_large_weight_explodes_sigmoid_or_not(weight):
    """The same states and the same gates: the size of W_h alone decides."""
    flow = swing(weight, time=20)
    pair = np.log(abs(0.25 - weight**2))
    assert (pair > 0) == (weight > 5**0.5 / 2)
    want = np.exp(pair * np.arange(10, -1, -1))
    u = error_model.unit_roundoff(np.float32)
    within(flow.norms[::2], want, u * want * np.maximum(1, np.abs(np.log(want))), 20)
    within(flow.exponents, np.array([pair / 2]), u * np.ones(1), 20)


def test_ten_thousand_steps():
    """Far below the smallest float the logarithms remain, and they agree with float64."""
    case = Case("long", time=10_000, n=2, m=2, recurrent=0.5)
    exact, *_ = case.draw()
    a = cast(exact, jnp.float32)
    flow = gradient_flow(params_of(a), a["x"], a["h0"])
    assert np.all(np.isfinite(flow.log_norms))
    assert np.all(np.isfinite(flow.exponents))
    assert flow.norms[0] == 0
    assert flow.log_norms[0] < np.log(np.finfo(np.float32).smallest_subnormal)
    with x64("float64"):
        wide = cast(exact, jnp.float64)
        long = gradient_flow(params_of(wide), wide["x"], wide["h0"])
    u = error_model.unit_roundoff(np.float32)  # every step adds the logarithm of a norm near 1, off by about u
    within(flow.log_norms, np.float64(long.log_norms), u * np.ones(flow.log_norms.shape), case.time)
    np.testing.assert_allclose(flow.exponents.max(), flow.log_norms[0] / case.time, rtol=10 / case.time)


def test_ten_thousand_steps_of_explosion():
    """The norm leaves the range of floats, its logarithm does not."""
    flow = swing(10.0, time=10_000)
    assert np.isinf(flow.norms[0])
    assert np.all(np.isfinite(flow.log_norms))
    want = 5000 * np.log(99.75)
    u = error_model.unit_roundoff(np.float32)
    # one sign throughout and the same term again and again: the roundings of the sum, each u of it, may all agree
    assert abs(flow.log_norms[0] - want) <= error_model.C * u * 10_000 * want / 2
    assert abs(flow.exponents[0] - want / 10_000) <= error_model.C * u * want / 2


def test_closed_gates_stop_the_gradient():
    """c = 0 throughout: norm 0 and logarithm −∞ before the last step, and no NaN anywhere."""
    params = GatedParams(jnp.zeros((2, 1)), None, jnp.ones((2, 1)), jnp.full(2, -200.0))
    flow = gradient_flow(params, jnp.ones((3, 1)))
    np.testing.assert_array_equal(flow.norms, [0, 0, 0, 1])
    np.testing.assert_array_equal(flow.log_norms, [-np.inf] * 3 + [0])
    np.testing.assert_array_equal(flow.exponents, [-np.inf] * 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_flow_dtype(dtype):
    a = cast(BY_ID["plain"].draw(dtype)[0], dtype)
    assert {each.dtype for each in jax.tree.leaves(gradient_flow(params_of(a), a["x"], a["h0"]))} == {jnp.dtype(dtype)}


def test_flow_under_jit_and_vmap():
    case = BY_ID["one-batch-axis"]
    a = cast(case.draw()[0], jnp.float32)
    params = params_of(a)
    whole = jax.jit(gradient_flow)(params, a["x"], a["h0"])
    mapped = jax.vmap(lambda x, h0: gradient_flow(params, x, h0), in_axes=(1, 0))(a["x"], a["h0"])
    u = error_model.unit_roundoff(np.float32)
    within(mapped.norms.T, np.float64(whole.norms), u * np.abs(whole.norms), case.time * case.m)
    within(mapped.exponents, np.float64(whole.exponents), u * np.ones((3, case.m)), case.time * case.m)
