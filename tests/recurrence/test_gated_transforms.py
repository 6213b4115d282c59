"""The gated recurrence under JAX's transformations, and what it costs: products computed, bytes kept, compilations."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gated_oracles as oracle
from gated_cases import BY_ID, WEIGHTS, Case, pick
from gated_judge import cast, expected, judge, losses, scan
from jaxconv import GatedParams, gated_scan, gated_step
from jaxconv.accuracy import error_model

pytestmark = pytest.mark.unoptimised

CASE = BY_ID["two-batch-axes"]
INPUTS, DIRECTION, G_LAST, Y_BAR = cast(CASE.draw(), jnp.float32)
PARAMS = GatedParams(*map(INPUTS.get, WEIGHTS))
LOSS = losses(CASE, G_LAST, Y_BAR)["both"]


def judge_gradient(gradient, case=CASE, seed=0):
    judge(case, gradient, *expected(case, "float32", "gradient", seed=seed), "float32")


def judge_states(states, case=CASE, seed=0):
    exact = expected(case, "float32", "states", seed=seed)
    judge(case, dict(zip(("h_last", "h"), states, strict=True)), *exact, "float32")


WRAPPED = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "checkpoint-that-keeps-nothing": lambda f: jax.checkpoint(f, policy=jax.checkpoint_policies.nothing_saveable),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_gradient_within(wrap):
    judge_gradient(jax.grad(wrap(LOSS))(INPUTS))


def test_gradient_outside_jit_of_gradient():
    judge_gradient(jax.jit(jax.grad(LOSS))(INPUTS))


# ------------------------------------------------------------------------------------------------------------- vmap


def test_vmap_over_examples():
    """A mapped batch axis, wherever it stands, does what a batch axis does."""
    x, h0 = INPUTS["x"], INPUTS["h0"]  # (time, 2, 3, n), (2, 3, m)
    inner = jax.vmap(lambda x, h0: gated_scan(PARAMS, x, h0), in_axes=(1, 0), out_axes=(0, 1))
    judge_states(jax.vmap(inner, in_axes=(2, 1), out_axes=(1, 2))(x, h0))


def test_gradient_of_vmap_over_examples():
    """The weights' gradients are summed over the mapped axis."""

    def loss(a):
        one = jax.vmap(lambda x, h0: gated_scan(GatedParams(*map(a.get, WEIGHTS)), x, h0), (1, 0), (0, 1))
        h_last, h = one(a["x"], a["h0"])
        return jnp.vdot(h_last, G_LAST) + jnp.vdot(h, Y_BAR)

    judge_gradient(jax.grad(loss)(INPUTS))


@pytest.mark.parametrize("case", pick("one-batch-axis", "nothing-optional"), ids=lambda case: case.id)
def test_vmap_over_everything(case):
    """Parameters, x, h0 and cotangents of their own for every example: states and gradients, example by example."""
    draws = [case.draw(seed=seed) for seed in range(3)]
    a, _, g_last, y_bar = cast(jax.tree.map(lambda *each: np.stack(each), *draws), jnp.float32)

    def states_and_gradient(a, g_last, y_bar):
        return scan(case, a), jax.grad(losses(case, g_last, y_bar)["both"])(a)

    states, gradients = jax.jit(jax.vmap(states_and_gradient))(a, g_last, y_bar)
    for seed in range(3):
        judge_states([each[seed] for each in states], case, seed)
        judge_gradient({name: value[seed] for name, value in gradients.items()}, case, seed)


def test_vmap_over_parameters_alone():
    """A shared x: its gradient is the sum over the sets of parameters."""
    a, factors = dict(INPUTS), jnp.array([1.0, 0.5, -2.0])
    x, h0 = a.pop("x"), a.pop("h0")
    params = GatedParams(*(factors.reshape(-1, *[1] * a[name].ndim) * a[name] for name in WEIGHTS))

    def each(x):
        return jax.vmap(lambda params: gated_scan(params, x, h0))(params)

    (h_last, h), pull_back = jax.vjp(each, x)
    judge_states((h_last[0], h[0]))
    alone = [jax.vjp(lambda x, i=i: gated_scan(GatedParams(*(p[i] for p in params)), x, h0), x) for i in range(3)]
    for i in range(3):
        judge(CASE, {"h": h[i]}, {"h": np.float64(alone[i][0][1])}, expected(CASE, "float32", "states")[1], "float32")
    (dx,) = pull_back(tuple(jnp.stack([g, 0 * g, 0 * g]) for g in (G_LAST, Y_BAR)))
    exact, spread = expected(CASE, "float32", "gradient")
    judge(CASE, {"x": dx}, {"x": exact["x"]}, spread, "float32")


def test_vmap_of_the_gradient_per_example():
    """vmap(grad) with shared weights: their gradient per example; summed it is the batch's."""
    a = {name: value for name, value in INPUTS.items() if name in WEIGHTS}

    def loss(a, x, h0, g_last, y_bar):
        h_last, h = gated_scan(GatedParams(*map(a.get, WEIGHTS)), x, h0)
        return jnp.vdot(h_last, g_last) + jnp.vdot(h, y_bar)

    each = jax.vmap(jax.grad(loss), (None, 1, 0, 0, 1))(a, INPUTS["x"], INPUTS["h0"], G_LAST, Y_BAR)
    assert {name: value.shape for name, value in each.items()} == {name: (2, *a[name].shape) for name in a}
    exact, spread = ({name: e[name] for name in a} for e in expected(CASE, "float32", "gradient"))
    judge(CASE, {name: value.sum(0) for name, value in each.items()}, exact, spread, "float32")


# ------------------------------------------------------------------------------------------------------------ loops


def test_inside_scan():
    """A scan over pieces of the sequence, each a gated_scan, equals one scan; so does its gradient."""
    case = BY_ID["time-40"]
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)

    def pieces(a):
        params, x = GatedParams(*map(a.get, WEIGHTS)), a["x"].reshape(8, 5, *a["x"].shape[1:])
        h_last, h = jax.lax.scan(lambda h, x: gated_scan(params, x, h), a["h0"], x)
        return h_last, h.reshape(y_bar.shape)

    def loss(a):
        h_last, h = pieces(a)
        return jnp.vdot(h_last, g_last) + jnp.vdot(h, y_bar)

    states, gradient = jax.jit(lambda a: (pieces(a), jax.grad(loss)(a)))(a)
    judge_states(states, case)
    judge_gradient(gradient, case)


def test_steps_equal_the_scan():
    """A scan of gated_step, whose gradient is JAX's, against the same oracle."""

    def by_steps(a):
        params = GatedParams(*map(a.get, WEIGHTS))
        return jax.lax.scan(lambda h, x: (gated_step(params, h, x),) * 2, a["h0"], a["x"])

    def loss(a):
        h_last, h = by_steps(a)
        return jnp.vdot(h_last, G_LAST) + jnp.vdot(h, Y_BAR)

    judge_states(by_steps(INPUTS))
    judge_gradient(jax.grad(loss)(INPUTS))


def test_step_broadcasts():
    """One state with many inputs, and many states with many inputs."""
    case = BY_ID["plain"]
    exact, *_ = case.draw()
    a = cast(exact, jnp.float32)
    params, states = GatedParams(*map(a.get, WEIGHTS)), np.stack([exact["h0"], 2 * exact["h0"]])
    of_x = gated_step(params, a["h0"], a["x"])
    of_both = gated_step(params, jnp.float32(states)[:, None], a["x"])

    def next_states(rounded, states):
        held = {name: rounded(value) for name, value in exact.items()}
        states = rounded(states)
        return (np.array([[oracle.step(held, h, x, rounded) for x in held["x"]] for h in states]),)

    for computed, before in ((of_x[None], states[:1]), (of_both, states)):
        (h,) = next_states(oracle.same, before)
        (spread,) = error_model.spread(lambda rounded, before=before: next_states(rounded, before), np.float32)
        judge(case, {"h": computed}, {"h": h}, {"h": spread}, "float32")


# ------------------------------------------------------------ derivative="jax", which goes both ways


def test_forward_derivatives_of_the_jax_form():
    """jvp and jacfwd where the derivative is left to JAX agree with the hand-written reverse form."""
    case = BY_ID["gate-bias-only"]
    a, direction, g_last, y_bar = cast(case.draw(), jnp.float32)
    loss = losses(case, g_last, y_bar, "jax")["both"]
    judge(case, jax.jit(jax.jacfwd(loss))(a), *expected(case, "float32", "gradient"), "float32")
    forward_over_reverse = jax.jit(lambda a: jax.jvp(jax.grad(loss), (a,), (direction,))[1])(a)
    judge(case, forward_over_reverse, *expected(case, "float32", "curvature"), "float32")


def test_hessian_of_the_jax_form():
    """jax.hessian in h0, times a direction."""
    case = BY_ID["time-1"]
    exact, direction, g_last, y_bar = case.draw()
    a, at = cast(exact, jnp.float32), direction["h0"]
    loss = losses(case, *cast((g_last, y_bar), jnp.float32), "jax")["both"]
    computed = jax.jit(jax.hessian(lambda h0: loss({**a, "h0": h0})))(a["h0"]) @ jnp.float32(at)

    def along(rounded):
        still = {name: np.zeros(value.shape) for name, value in exact.items()}
        return (oracle.curvature(exact, {**still, "h0": at}, g_last, y_bar, rounded)["h0"],)

    (want,), spread = along(oracle.same), error_model.spread(along, np.float32)
    judge(case, {"h0": computed}, {"h0": want}, {"h0": spread[0]}, "float32")


def test_hand_form_has_no_forward_derivative():
    """As JAX says it of every custom_vjp."""
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(LOSS, (INPUTS,), (DIRECTION,))


# ------------------------------------------------------------------------------------------------- what it costs


def count(jaxpr, name):
    """Equations of one primitive, those of inner programs included."""
    return sum(
        (each.primitive.name == name) + sum(count(inner, name) for inner in programs(each)) for each in jaxpr.eqns
    )


def programs(equation):
    """The programs that one equation runs."""
    held = [getattr(each, "jaxpr", each) for each in equation.params.values()]
    return [each for each in held if hasattr(each, "eqns")]


PRODUCTS = {"w_c": 1, "w_h": 1, "w_x": 1, "b_c": 0, "b_x": 0, "x": 2, "h0": 0}  # beyond those that every gradient needs


@pytest.mark.parametrize("name", PRODUCTS)
def test_only_what_is_asked_for_is_computed(name):
    """The gradient of one input holds the matrix products of that input alone."""

    def products(*names):
        part = {each: INPUTS[each] for each in names}
        return count(jax.make_jaxpr(jax.grad(lambda part: LOSS({**INPUTS, **part})))(part).jaxpr, "dot_general")

    shared = products("h0")
    assert products(name) - shared == PRODUCTS[name]
    assert products(*INPUTS) - shared == sum(PRODUCTS.values())


INTERLEAVED = [("x", "h0"), ("h0", "x"), ("w_c", "x"), ("b_x", "w_h")]


@pytest.mark.parametrize(("first", "second"), INTERLEAVED, ids=map("-then-".join, INTERLEAVED))
def test_pull_backs_do_not_disturb_each_other(first, second):
    """Two pull-backs in hand, for different inputs, and either may be used first.

    JAX asks a rule for the structure of its residuals when it pulls back, and answers with that of the forward pass
    traced last. What differs from one forward pass to the next must not be held in that structure.
    """
    case = Case(
        f"interleaved-{first}-{second}", time=3, m=2 + INTERLEAVED.index((first, second))
    )  # traced nowhere else
    a, _, g_last, y_bar = cast(case.draw(), jnp.float32)
    pull_backs = {
        name: jax.vjp(lambda value, name=name: scan(case, {**a, name: value}), a[name])[1] for name in (first, second)
    }
    exact, spread = expected(case, "float32", "gradient")
    for name, pull_back in pull_backs.items():
        (gradient,) = pull_back((g_last, y_bar))
        judge(case, {name: gradient}, {name: exact[name]}, spread, "float32")


def test_adjoint_is_one_loop_each_way():
    """No weight gradient and no projection within a loop: W_h h forwards and W_hᵀ δ backwards are all there is.

    (The loop that makes h anew from the gates holds no product at all, and stands in `platform_dependent`.)
    """
    jaxpr = jax.make_jaxpr(jax.grad(LOSS))(INPUTS).jaxpr
    assert count(jaxpr, "scan") == 2
    assert loop_products(jaxpr) == [1, 1]


def loop_products(jaxpr):
    """How many matrix products every loop holds."""
    found = []
    for each in jaxpr.eqns:
        for inner in programs(each):
            found += [count(inner, "dot_general")] if each.primitive.name == "scan" else loop_products(inner)
    return found


def test_nothing_but_the_gates_is_kept():
    """Between the two passes live the parameters, x, h0 (the start of the one block) and c, as large as h."""
    _, pull_back = jax.vjp(lambda *a: gated_scan(*a), PARAMS, INPUTS["x"], INPUTS["h0"])
    kept = Counter(leaf.shape for leaf in jax.tree.leaves(pull_back) if leaf.size > 1)
    allowed = Counter(leaf.shape for leaf in (*PARAMS, INPUTS["x"], INPUTS["h0"][None], Y_BAR))
    assert kept <= allowed


def test_second_call_compiles_nothing(caplog):
    pull = jax.grad(LOSS)

    def everything():
        gated_step(PARAMS, INPUTS["h0"], INPUTS["x"][0])
        gated_scan(PARAMS, INPUTS["x"], INPUTS["h0"])
        gated_scan(PARAMS, INPUTS["x"])
        pull(INPUTS)

    everything()
    with jax.log_compiles():
        everything()
        assert not [record for record in caplog.records if "ompil" in record.getMessage()]
        gated_scan(PARAMS, INPUTS["x"][:-1])  # another length: the counter itself works
        assert [record for record in caplog.records if "ompil" in record.getMessage()]


@pytest.mark.parametrize("case", pick("two-batch-axes", "time-0", "batch-0", "nothing-optional"), ids=lambda c: c.id)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_eval_shape(case, dtype):
    a = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in case.shapes().items()}
    h_last, h = jax.eval_shape(lambda a: scan(case, a), a)
    assert (h_last.shape, h.shape) == ((*case.batch, case.m), (case.time, *case.batch, case.m))
    assert h_last.dtype == h.dtype == jnp.dtype(dtype)
