"""`check_vjp` on kinds of rules met in public packages: a right and a wrong twin of each."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import check_vjp
from jaxconv.check.programs import room
from jaxconv.check.programs.noise import disturbed

INF = jnp.inf


def vjp_of(f, backward):
    rule = jax.custom_vjp(f)
    rule.defvjp(lambda *args: (f(*args), args), backward)
    return rule


def mk(f, slope):
    return vjp_of(f, lambda args, g: (slope(args[0]) * g,))


def jvp_of(f, slope):
    rule = jax.custom_jvp(f)
    rule.defjvp(lambda at, by: (f(*at), slope(*at) * by[0]))
    return rule


def report(f, *args, **options):
    args = (jnp.asarray(each, jnp.float32) if isinstance(each, list) else each for each in args)
    return check_vjp(f, *args, **({"transforms": False, "directions": 2} | options))


# ------------------------------------------------------------------------------------------------ loops to a tolerance


def fixed_point(tolerance, factor):
    """c = cos(a c), with the implicit derivative −c sin(a c) / (1 + a sin(a c)), times `factor`."""

    def solve(a):
        cos = lambda c: jnp.cos(a * c)  # noqa: E731
        apart = lambda c: jnp.max(jnp.abs(c - cos(c))) > tolerance  # noqa: E731
        return jax.lax.while_loop(apart, cos, jnp.ones_like(a))

    def backward(args, g):
        a, c = args[0], solve(args[0])
        return (-factor * g * c * jnp.sin(a * c) / (1 + a * jnp.sin(a * c)),)

    return vjp_of(solve, backward)


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.001, False)])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-10])
def test_a_loop_to_a_tolerance_ends_and_is_judged(tolerance, factor, passed):
    with jax.enable_x64(tolerance < 1e-7):
        found = check_vjp(fixed_point(tolerance, factor), jnp.asarray([0.7, 0.9]), directions=2)
    assert found.passed == passed, found
    assert "forward" in found.rows[0].method
    again = found.transforms[-1]
    assert again.passed
    assert "cannot apply" in again.detail


# ------------------------------------------------------------------------------------------------ what is no number


def softmax(x):
    e = jnp.exp(x - jnp.max(x))
    return e / jnp.sum(e)


@pytest.mark.parametrize(("share", "passed"), [(1, True), (0, False)])
def test_an_infinite_input_leaves_the_others_to_be_judged(share, passed):
    def backward(args, g):
        p = softmax(args[0])
        return (p * (g - share * jnp.sum(p * g)),)

    found = report(vjp_of(softmax, backward), [0.3, -0.2, -INF, 1.0])
    assert found.passed == passed, found
    assert "not judged" not in str(found)


def test_where_nothing_can_be_judged_nothing_is_called_right():
    found = report(mk(lambda x: x * jnp.nan, jnp.ones_like), [1.0, 2.0])
    assert not found.passed
    assert found.outcome == "NOT JUDGED"
    assert "WRONG" not in str(found)
    with pytest.raises(AssertionError, match="cannot be judged"):
        found.raise_if_failed()


@pytest.mark.parametrize("opaque", [False, True], ids=["by JAX", "by differences"])
@pytest.mark.parametrize(("third", "passed"), [(1.0, True), (jnp.nan, False), (INF, False)])
def test_a_rule_without_a_number_is_no_reason_not_to_judge(third, passed, opaque):
    """Whether there is a right answer f's own values say, never the rule."""
    f = jnp.sin
    if opaque:
        f = lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)  # noqa: E731
    found = report(mk(f, lambda x: jnp.cos(x).at[2].multiply(third)), [0.1, 0.4, 0.7, 1.1])
    assert found.passed == passed, found
    assert passed or found.outcome == "WRONG"
    assert passed or found.rows[0].index == (2,)


@pytest.mark.parametrize(("at_zero", "passed"), [(0.0, True), (1.0, False), (jnp.nan, False), (-INF, False)])
def test_where_jax_has_no_number_f_still_may(at_zero, passed):
    """sin(x) / x, 1 at 0: the derivative that JAX makes of this `where` is NaN there."""
    sinc = lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x)  # noqa: E731

    def slope(x):
        y = jnp.where(x == 0, 1.0, x)
        return jnp.where(x == 0, at_zero, jnp.cos(y) / y - jnp.sin(y) / y**2)

    found = report(mk(sinc, slope), [0.0, 0.4, -1.3])
    assert found.passed == passed, found
    assert "not judged" not in str(found)


def test_where_f_has_no_number_the_rest_is_judged():
    for factor, passed in ((1, True), (1.001, False)):
        found = report(mk(jnp.log, lambda x, factor=factor: factor / jnp.where(x > 0, x, jnp.nan)), [-1.0, 0.4, 2.0])
        assert found.passed == passed, found
        assert passed == ("1 of 3 not judged" in str(found))


@pytest.mark.parametrize(("at_zero", "passed"), [(0.0, True), (5.0, False)])
def test_a_norm_at_0_is_judged_by_differences(at_zero, passed):
    """JAX's derivative of it is NaN there, f is 0 there, and the slopes to both sides differ."""

    def backward(args, g):
        size = jnp.linalg.norm(args[0])
        return (g * jnp.where(size == 0, at_zero, args[0] / jnp.where(size == 0, 1, size)),)

    found = report(vjp_of(lambda x: jnp.sqrt(jnp.sum(x * x)), backward), [0.0, 0.0, 0.0])
    assert found.passed == passed, found
    assert found.outcome != "NOT JUDGED"
    assert passed or found.rows[0].cause == "algebra"


@pytest.mark.parametrize(("factor", "passed"), [(1, True), (-1, False)])
def test_an_infinite_gradient_is_the_slope_to_one_side(factor, passed):
    """x log x, 0 at 0: JAX's derivative of the `where` is 0 there, the slope to the right has no bound."""
    f = lambda x: jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0)  # noqa: E731
    slope = lambda x: jnp.where(x == 0, factor * (1 + jnp.log(x)), 1 + jnp.log(x))  # noqa: E731
    assert report(jvp_of(f, slope), [0.0, 0.5, 2.0], directions=8).passed == passed


@pytest.mark.slow
@pytest.mark.parametrize(("share", "passed"), [(1, True), (0.9, False)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_values_that_pass_through_float32_are_known_to_that(dtype, share, passed):
    """Differences of them say less than of float64 values, and confirm JAX's derivative to fewer digits."""

    def normal(x):
        x = x.astype(jnp.float32)
        return (x - x.mean()) * jax.lax.rsqrt(jnp.mean((x - x.mean()) ** 2) + 1e-5)

    def backward(args, g):
        x, g = args[0].astype(jnp.float32), g.astype(jnp.float32)
        n, r = normal(x), jax.lax.rsqrt(jnp.mean((x - x.mean()) ** 2) + 1e-5)
        return ((r * (g - g.mean() - share * n * jnp.mean(g * n))).astype(args[0].dtype),)

    rule = vjp_of(lambda x: normal(x).astype(x.dtype), backward)
    found = report(rule, jnp.linspace(-1, 2, 8).astype(dtype) ** 3)
    assert found.passed == passed, found
    assert "JAX's derivative" in found.rows[0].method


@pytest.mark.slow
def through(dtype, f, back=True):
    """f at x rounded to `dtype`; without `back` its values stay in that."""
    return lambda x: f(x.astype(dtype)).astype(x.dtype if back else dtype)


stopped = lambda f: lambda x: jax.lax.stop_gradient(f(x))  # noqa: E731  # a body that JAX cannot differentiate
UNCONFIRMED = {
    "float32 within": (through(jnp.float32, stopped(jnp.sin)), jnp.float32),
    "float32 within bfloat16": (through(jnp.float32, stopped(jnp.sin)), jnp.bfloat16),
    "float32 whatever x is": (through(jnp.float32, stopped(jnp.sin), back=False), jnp.float32),
    "bfloat16 within": (through(jnp.bfloat16, jnp.sin), jnp.float32),
}


@pytest.mark.parametrize("kind", UNCONFIRMED)
@pytest.mark.parametrize("factor", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in (1.001, 0.9)), -1])
def test_a_custom_jvp_is_not_compared_with_itself(kind, factor):
    """Where differences do not confirm JAX's derivative of the body: bfloat16 tells no factor of 1.001."""
    f, dtype = UNCONFIRMED[kind]
    rule = jax.custom_jvp(f)
    rule.defjvp(lambda at, by: (f(*at), (factor * jnp.cos(*at) * by[0]).astype(f(*at).dtype)))
    found = report(rule, jnp.asarray([0.3, 0.9, 1.7, -2.2], dtype), directions=8)
    assert found.passed == (factor == 1 or (factor == 1.001 and kind == "bfloat16 within")), found


@pytest.mark.parametrize("factor", [1, 0.9, -1])
def test_what_only_a_rule_says_is_not_right_without_a_word(factor):
    """Values in steps of bfloat16, and a body without a derivative: differences tell the sign alone everywhere."""
    f = through(jnp.bfloat16, stopped(jnp.sin))
    found = report(jvp_of(f, lambda x: factor * jnp.cos(x)), [0.3, 0.9, 1.7, -2.2], directions=8)
    assert found.passed == (factor > 0), found
    assert factor < 0 or "not judged" in str(found)


def test_a_rule_that_closes_over_what_is_differentiated_is_right_once():
    def fixed(step, a, c):
        return jax.lax.fori_loop(0, 60, lambda _, c: step(a, c), c)

    solve = jax.custom_vjp(fixed, nondiff_argnums=(0,))

    def backward(step, kept, g):
        a, c = kept
        pull = lambda _, u: g + jax.vjp(lambda c: step(a, c), c)[1](u)[0]  # noqa: E731
        return jax.vjp(lambda a: step(a, c), a)[1](solve(pull, a, g))[0], jnp.zeros_like(c)

    solve.defvjp(lambda step, a, c: (solve(step, a, c), (a, solve(step, a, c))), backward)
    found = report(
        lambda a: solve(lambda a, c: 0.5 * jnp.sin(a * c) + 0.1, a, jnp.zeros(2)), [0.3, 0.7], transforms=True
    )
    assert found.passed, found
    assert "cannot apply" in found.transforms[-1].detail


# --------------------------------------------------------------------------------------------- elements of many sizes


@pytest.mark.parametrize(
    ("f", "slope", "x", "passed"),
    [
        (lambda x: jnp.arctan(1e9 * x), lambda x: 1e9 / (1 + (1e9 * x) ** 2), [1e-9, 1.0], True),
        (lambda x: jnp.arctan(1e9 * x), lambda x: 1.001e9 / (1 + (1e9 * x) ** 2), [1e-9, 1.0], False),
        (jnp.log, lambda x: 1 / x, [1e-6, 0.1, 1.0], True),
        (jnp.log, lambda x: 1 / jnp.maximum(x, 1e-3), [1e-6, 0.1, 1.0], False),
    ],
)
@pytest.mark.parametrize("opaque", [False, True])
def test_small_elements_are_moved_by_their_own_size(f, slope, x, passed, opaque):
    def called(x):
        exact = {"log": np.log}.get(getattr(f, "__name__", ""), lambda x: np.arctan(1e9 * x))
        return jax.pure_callback(exact, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    assert report(mk(called if opaque else f, slope), x).passed == passed


@pytest.mark.parametrize(("top", "passed"), [(1, True), (1000, False)])
def test_a_removable_singularity_allows_no_factor(top, passed):
    def power(x, a):
        other = jnp.where(a == -1, 0.0, a)
        return jnp.where(a == -1, jnp.log(x), (x ** (other + 1) - 1) / (other + 1))

    def backward(args, g):
        x, a = args
        n, log = a + 1, jnp.log(x)
        m = jnp.where(n == 0, 1.0, n)
        slope = jnp.where(n == 0, top * log**2 / 2, (x**m * (m * log - 1) + 1) / m**2)
        return g * x**a, g * slope

    found = report(vjp_of(power, backward), [2.0, 3.0], [-1.0, 0.5])
    assert found.passed == passed, found


@pytest.mark.parametrize(("at_tie", "passed"), [((0.5, 0.5), True), ((1.0, 0.0), True), ((1.5, -0.5), False)])
def test_noise_that_breaks_a_tie_allows_no_other_gradient(at_tie, passed):
    rule = vjp_of(lambda x: jnp.max(x), lambda args, g: (g * jnp.asarray([*at_tie, 0.0]),))
    found = report(rule, [2.0, 2.0, 1.0])
    assert found.passed == passed, found


# ------------------------------------------------------------------------------------------------------- custom_jvp


@pytest.mark.parametrize(
    ("slope", "passed"),
    [
        (jnp.cos, True),
        (lambda x: jnp.cos(x) * jnp.where(x > 0.999, 3, 1), False),
        (lambda x: jnp.cos(x) * (1 + 9e-7), False),
    ],
)
def test_a_custom_jvp_is_compared_with_its_body(slope, passed):
    assert check_vjp(jvp_of(jnp.sin, slope), jnp.linspace(0, 1, 200), transforms=False).passed == passed


@pytest.mark.parametrize(("at_zero", "passed"), [(-INF, True), (123.0, False)])
def test_an_infinite_slope_is_no_number_of_any_size(at_zero, passed):
    inside = lambda p: jnp.where(p > 0, p, 1)  # noqa: E731
    plogp = lambda p: jnp.where(p > 0, p * jnp.log(inside(p)), 0)  # noqa: E731
    slope = lambda p: jnp.where(p > 0, 1 + jnp.log(inside(p)), at_zero)  # noqa: E731
    assert report(jvp_of(plogp, slope), [0.0, 0.2, 0.8]).passed == passed


# ---------------------------------------------------------------------------------------------------- grad of grad


@pytest.mark.parametrize(("factor", "passed"), [(1, True), (2, False)])
def test_grad_of_grad_skips_what_is_infinite(factor, passed):
    def backward(args, g):
        w, x = args
        squared = g * g / jax.lax.stop_gradient(g) if factor == 2 else g  # right once, not linear
        return squared * jnp.log(x), squared * w / x

    found = report(vjp_of(lambda w, x: jnp.sum(w * jnp.log(x)), backward), [1.0, 2.0], [0.5, 3.0], transforms=True)
    assert found.passed == passed, found
    if passed:
        f = vjp_of(lambda w, x: jnp.sum(w * jnp.log(x)), backward)
        assert all(each.passed for each in report(f, [1.0, 2.0], [0.0, 3.0], transforms=True).transforms)


# --------------------------------------------------------------------------------------------------- approximations


def test_an_approximation_is_named_and_may_be_allowed():
    near = lambda error: mk(jnp.sin, lambda x: jnp.cos(x) + error * x**2)  # noqa: E731
    x = [0.1, 0.4, 0.7, 0.9, 1.1]
    assert "ulp of float32 off" in report(near(1e-8), x).rows[0].verdict
    row = report(near(3e-6), x).rows[0]
    assert (row.passed, row.cause, row.pattern) == (False, "approximation", None), row
    assert report(near(3e-6), x, allow=100).passed
    assert not report(near(3e-6), x, allow=2).passed


def test_no_float16_is_invented():
    random = jnp.asarray(np.random.default_rng(0).standard_normal(8) * 3e-4, jnp.float32)
    row = report(mk(jnp.sin, lambda x: jnp.cos(x) * (1 + random)), jnp.linspace(0.1, 1, 8)).rows[0]
    assert not row.passed
    assert "float16" not in str(row)


@pytest.mark.parametrize("allow", [-1, "some"])
def test_allow_is_a_number_of_ulp(allow):
    with pytest.raises((TypeError, ValueError), match="`allow`"):
        report(mk(jnp.sin, jnp.cos), [1.0], allow=allow)


# ------------------------------------------------------------------------------------------------------------ words


def test_a_factor_near_1_and_no_ulp_of_0():
    found = report(mk(jnp.sin, lambda x: jnp.cos(x) * (1 + 3e-6)), [0.1, 0.4, 0.7])
    assert found.rows[0].pattern == "all by one factor: 1 + 3e-06"
    zero = report(mk(lambda x: 0 * x, lambda x: 1e-3 * jnp.ones_like(x)), [0.1, 0.4])
    assert not zero.passed
    assert "ulp" not in str(zero)


def test_what_cannot_be_judged_is_titled_so_everywhere():
    found = report(mk(lambda x: x * jnp.nan, jnp.ones_like), [1.0, 2.0])
    for text in (str(found), found._repr_html_(), found.plot().get_suptitle()):
        assert "NOT JUDGED" in text
        assert "WRONG" not in text


def test_what_a_rule_prints_is_shown_once(capsys):
    def backward(args, g):
        print("backward")
        return (g * jnp.cos(args[0]),)

    assert report(vjp_of(jnp.sin, backward), [0.1, 0.4], transforms=True).passed
    assert capsys.readouterr().out == "backward\n"


# ----------------------------------------------------------------------------------------------------- long programs


def unrolled(steps):
    def body(x, w):
        for _ in range(steps):
            x = jnp.sin(x @ w) + 0.9 * x
        return jax.lax.scan(lambda c, _: (jnp.tanh(c) + x, None), x, None, length=3)[0]

    return body


def rule_of(body, factor):
    def backward(args, g):
        dx, dw = jax.vjp(body, *args)[1](g)
        return dx, dw.at[1, 0].multiply(factor)

    return vjp_of(body, backward)


SQUARE = np.random.default_rng(0).standard_normal((2, 3, 3)).astype(np.float32) / 3


@pytest.mark.slow
@pytest.mark.parametrize("equations", [40, 300, 900], ids="{} equations".format)
@pytest.mark.parametrize(("factor", "passed"), [(1, True), (1.0001, False)])
def test_a_program_of_any_length(equations, factor, passed):
    """Compiled whole, run equation by equation, and so with less tried."""
    found = report(rule_of(unrolled(equations // 11), factor), *SQUARE, transforms=passed)
    assert found.passed == passed, found
    assert "derivative" in found.rows[1].method
    if passed:
        scan = {each.name: each.detail for each in found.transforms}["scan"]
        assert scan.startswith("not tried") == (equations > 800)
    else:
        assert (found.rows[0].passed, found.rows[1].index) == (True, (1, 0))


@pytest.mark.slow
@pytest.mark.parametrize("big", [800, 20], ids="big from {} equations".format)
@pytest.mark.parametrize("steps", [3, 30])
def test_a_residual_kept_outside_shows_in_a_program_of_any_length(steps, big, monkeypatch):
    monkeypatch.setattr("jaxconv.check.call.BIG", big)
    body, kept = unrolled(steps), {}

    def forward(*args):
        kept["args"] = args
        return body(*args), None

    leaking = jax.custom_vjp(body)
    leaking.defvjp(forward, lambda _, g: jax.vjp(body, *kept["args"])[1](g))
    found = report(leaking, *SQUARE)
    assert not found.passed
    assert "leaks a residual" in found.faults[0], found


def test_noise_has_variance_1_and_differs_from_draw_to_draw_and_place_to_place():
    with jax.enable_x64(True):
        for value in (np.ones(64), np.arange(1.0, 65.0), 2.0 ** np.arange(-32, 32)):
            draws = np.stack([disturbed(value, seed, 1.0) / value - 1 for seed in range(200)])
            assert abs(draws.mean()) < 0.05
            assert abs(draws.var() - 1) < 0.05
            for each in (draws, draws.T):  # correlations are about the root of 1 over the number of samples
                unrelated = np.corrcoef(each)[np.triu_indices(len(each), 1)]
                assert np.sqrt(np.mean(unrelated**2)) < 1.2 * each.shape[1] ** -0.5
                assert abs(each.sum(1).std() / each.shape[1] ** 0.5 - 1) < 0.3


@pytest.mark.skipif("JAXCONV_TIMED" not in os.environ, reason="measures time, where JAXCONV_TIMED=1 asks for it")
@pytest.mark.parametrize(("equations", "seconds"), [(2_000, 10), (8_000, 30)])
def test_the_time_of_a_long_program(equations, seconds):
    """Seconds of processor time."""
    f = rule_of(unrolled(equations // 11), 1)
    start = time.process_time()
    assert check_vjp(f, *SQUARE).passed
    assert time.process_time() - start < seconds


@pytest.mark.skipif(not room.mapped(), reason="the system does not say how much memory is mapped")
def test_compiled_programs_are_let_go_before_a_process_has_no_room_for_more():
    assert report(rule_of(jnp.matmul, 1), *SQUARE).passed
    full = room.mapped()
    room.make_room(2 * full)
    held = room.mapped()
    room.make_room(full // 2)
    assert room.mapped() < held
    assert report(rule_of(jnp.matmul, 1), *SQUARE).passed
