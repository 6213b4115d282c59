"""`check_vjp`: right rules pass, wrong ones are named, bad input is refused; everything of ours goes through it."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import (
    check_vjp,
    conv,
    gated_init,
    gated_scan,
    gated_step,
)
from jaxconv.check.protocol import in_words


def normal(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def ruled(f, backward):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), backward)
    return g


def product(x, w):
    return x @ w


X, W = normal(5, 7), normal(7, 3, seed=1)


def gradients(args, g):
    x, w = args
    return g @ w.T, x.T @ g


def spoilt(change):
    return ruled(product, lambda args, g: change(*gradients(args, g)))


# ---------------------------------------------------------------------------------------------------- wrong rules

CHANGES = {
    "all by one factor: 1.0001": lambda dx, dw: (dx * 1.0001, dw),
    "one element: [2, 1]": lambda dx, dw: (dx.at[2, 1].multiply(1.0001), dw),
    "sign": lambda dx, dw: (-dx, dw),
    "zero": lambda dx, dw: (dx * 0, dw),
    "flipped along axis 1": lambda dx, dw: (dx[:, ::-1], dw),
    "last column": lambda dx, dw: (dx.at[:, -1].set(0), dw),
    "one slice: index 3 of axis 0": lambda dx, dw: (dx.at[3].add(1), dw),
    "shifted by 1 along axis 1": lambda dx, dw: (jnp.roll(dx, 1, 1), dw),
    "summed over axis 0": lambda dx, dw: (dx.sum(0, keepdims=True) + 0 * dx, dw),
    "averaged over axis 0": lambda dx, dw: (dx.mean(0, keepdims=True) + 0 * dx, dw),
    "NaN in 1 elements, the first at [0, 0]": lambda dx, dw: (dx.at[0, 0].set(jnp.nan), dw),
    "rounded as in bfloat16": lambda dx, dw: (dx.astype(jnp.bfloat16).astype(dx.dtype), dw),
    "a constant added: 0.5": lambda dx, dw: (dx + 0.5, dw),
}


@pytest.mark.short("None-(all by|one element|flipped|rounded|NaN|sign)")
@pytest.mark.parametrize("pattern", CHANGES)
@pytest.mark.parametrize("reference", [None, product])
def test_wrong_rule_is_named(pattern, reference):
    report = check_vjp(spoilt(CHANGES[pattern]), X, W, reference=reference, transforms=False)
    first, second = report.rows
    assert not report.passed
    assert not first.passed
    assert second.passed
    assert pattern in first.pattern
    assert first.cause == ("rounding" if "rounded" in pattern else "algebra")
    with pytest.raises(AssertionError, match="WRONG"):
        report.raise_if_failed()


def test_swapped_and_transposed():
    def outer(a, b):
        return a * b

    swapped = ruled(outer, lambda args, g: (g * args[0], g * args[1]))
    assert "swapped" in check_vjp(swapped, normal(4), normal(4, seed=1), transforms=False).rows[0].pattern
    turned = ruled(jnp.sin, lambda args, g: ((g * jnp.cos(args[0])).T,))
    assert "transposed" in check_vjp(turned, normal(4, 4), transforms=False).rows[0].pattern


@pytest.mark.slow
def test_one_element_of_half_a_million():
    rule = ruled(jnp.sin, lambda args, g: ((g * jnp.cos(args[0])).at[400, 321].multiply(1.0001),))
    for reference in (None, jnp.sin):
        row = check_vjp(rule, normal(700, 720), reference=reference, directions=1, transforms=False).rows[0]
        assert (row.passed, row.index, row.wrong) == (False, (400, 321), 1)


def opaque(x):
    """Values that JAX cannot differentiate."""
    return jax.pure_callback(lambda v: np.sin(v), jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize("size", [6, 900])
def test_from_values_alone(size):
    right = ruled(opaque, lambda args, g: (g * jnp.cos(args[0]),))
    wrong = ruled(opaque, lambda args, g: ((g * jnp.cos(args[0])).at[4].multiply(1.0001),))
    x = normal(size)
    assert check_vjp(right, x, transforms=False).passed
    row = check_vjp(wrong, x, transforms=False).rows[0]
    assert (row.passed, row.index) == (False, (4,))
    assert "differences" in row.method


def test_protocol_faults_in_words():
    structure = ruled(product, lambda args, g: (g @ args[1].T,))
    assert "structure" in check_vjp(structure, X, W).faults[0]
    shape = ruled(product, lambda args, g: (args[0].T, args[1]))
    assert "shape" in check_vjp(shape, X, W).faults[0]
    kept = []

    def forward(x):
        kept.append(x * 2)
        return jnp.sin(x), None

    leaking = jax.custom_vjp(jnp.sin)
    leaking.defvjp(forward, lambda _, g: (g * kept[0],))
    jax.jit(lambda x: jax.vjp(leaking, x)[1](x))(X)
    report = check_vjp(leaking, X, transforms=False)
    assert not report.passed
    assert "leaks a residual: a traced value" in report.faults[0], str(report)


def test_a_residual_kept_outside_is_found():
    kept = {}

    def forward(x):
        kept["x"] = x
        return jnp.sin(x), None

    leaking = jax.custom_vjp(jnp.sin)
    leaking.defvjp(forward, lambda _, g: (g * jnp.cos(kept["x"]),))
    report = check_vjp(leaking, X, transforms=False)
    assert "leaks a residual" in report.faults[0], str(report)


@pytest.mark.parametrize("place", ["", " attached to f at /a/pa th/" + 400 * "long" + ".py:70"])
def test_a_wrong_shape_is_named_however_long_the_path(place):
    said = (
        f"Custom VJP bwd rule{place} must produce an output with the same type as the args tuple of the primal "
        "function, but at output[1]['w'] the bwd rule produced an output of type float32[4,5] corresponding to an "
        "input of type bfloat16[5,5], so the shapes do not match"
    )
    fault = in_words("the rule", ValueError(said))
    assert fault.startswith(
        "the rule fails: gradient [1]['w'] has the wrong shape and dtype: float32[4,5] for bfloat16[5,5]"
    )
    assert "long" not in fault


def test_value_and_nondeterminism():
    right = ruled(jnp.sin, lambda args, g: (g * jnp.cos(args[0]),))
    report = check_vjp(right, X, reference=lambda x: jnp.sin(x) + 1e-3, transforms=False)
    assert "the value differs" in report.faults[0]
    random = np.random.default_rng(0)
    drifting = ruled(jnp.sin, lambda args, g: (g * jnp.cos(args[0]) * random.uniform(1, 2),))
    assert any("not deterministic" in fault for fault in check_vjp(drifting, X, transforms=False).faults)


def test_a_rule_that_differs_under_vmap():
    @jax.custom_batching.custom_vmap
    def slope(x):
        return jnp.cos(x)

    slope.def_vmap(lambda size, batched, x: (2 * jnp.cos(x), True))
    rows = {r.name: r for r in check_vjp(ruled(jnp.sin, lambda args, g: (g * slope(args[0]),)), X).transforms}
    assert rows["jit"].passed
    assert not rows["vmap"].passed


# ------------------------------------------------------------------------------------------- algebra or rounding


def low(x):
    """Rounded to bfloat16 unless full precision is asked for, as a product on an accelerator may be."""
    if jax.config.jax_default_matmul_precision == "highest":
        return x
    return x.astype(jnp.bfloat16).astype(x.dtype)


def low_rule(factor):
    return ruled(product, lambda args, g: (factor * (low(g) @ low(args[1]).T), args[0].T @ g))


@pytest.mark.short("None")
@pytest.mark.parametrize("reference", [None, product])
def test_rounding_agrees_at_precision_highest(reference):
    with jax.default_matmul_precision("default"):
        row = check_vjp(low_rule(1), X, W, reference=reference, transforms=False).rows[0]
        assert (row.passed, row.cause, row.rerun) == (False, "rounding", "agrees at precision highest")
        wrong = check_vjp(low_rule(1.01), X, W, reference=reference, transforms=False)
    assert wrong.rows[0].cause == "algebra"
    assert "wrong in float64 at precision highest too" in str(wrong)
    assert "factor: 1.01" in wrong.rows[0].pattern
    with jax.default_matmul_precision("highest"):
        assert check_vjp(low_rule(1), X, W, reference=reference, transforms=False).passed


def single(x):
    if x.dtype == jnp.float64:
        raise TypeError("no float64 here")
    return x


@pytest.mark.parametrize("where", ["rule", "function"])
def test_algebra_or_rounding_without_float64(where):
    f = product if where == "rule" else lambda x, w: single(x) @ w
    of = {
        1: ruled(f, lambda args, g: (single(low(g)) @ args[1].T, args[0].T @ g)),
        1.01: ruled(f, lambda args, g: (1.01 * (single(low(g)) @ args[1].T), args[0].T @ g)),
    }
    with jax.default_matmul_precision("default"):
        row = check_vjp(of[1], X, W, transforms=False).rows[0]
        assert (row.passed, row.cause, row.rerun) == (False, "rounding", "agrees at precision highest")
        row = check_vjp(of[1.01], X, W, transforms=False).rows[0]
        assert (row.passed, row.cause, row.rerun) == (False, "algebra", "wrong at precision highest too")
        assert "factor: 1.01" in row.pattern


def test_bfloat16_inside_is_rounding_at_any_precision():
    rule = ruled(product, lambda args, g: ((g.astype("bfloat16") @ args[1].T.astype("bfloat16")).astype(g.dtype),
                                           args[0].T @ g))  # fmt: skip
    row = check_vjp(rule, X, W, transforms=False).rows[0]
    assert (row.passed, row.cause) == (False, "rounding")
    assert row.rerun == "at precision highest too: the rule itself rounds"
    assert "bfloat16" in row.pattern


@pytest.mark.slow
def test_a_product_asked_for_by_name_is_known_to_round():
    """XLA's CPU rounds the factors of a float64 product, too, where the algorithm is asked for by name."""
    dot = partial(jax.lax.dot, precision=jax.lax.DotAlgorithmPreset.BF16_BF16_F32)
    both = ruled(dot, lambda args, g: (dot(g, args[1].T), dot(args[0].T, g)))
    assert check_vjp(both, X, W, transforms=False).passed
    rule = ruled(product, lambda args, g: (dot(g, args[1].T), args[0].T @ g))
    row = check_vjp(rule, X, W, transforms=False).rows[0]
    assert (row.passed, row.cause) == (False, "rounding")
    with jax.default_matmul_precision("BF16_BF16_F32"):
        assert check_vjp(spoilt(lambda *each: each), X, W, transforms=False).passed


# ------------------------------------------------------------------------------- what no derivative is to be had of


def of_slope(f, slope):
    return ruled(f, lambda args, g: (g * slope(args[0]),))


def relu(x):
    return jnp.maximum(x, 0)


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_at_a_kink_either_side_is_right(at_zero):
    x = jnp.asarray([1.0, 0.0, -2.0, 0.0, 3.0])
    rule = of_slope(relu, lambda x: jnp.where(x == 0, at_zero, x > 0))
    for reference in (None, relu):
        report = check_vjp(rule, x, reference=reference, transforms=False)
        assert report.passed, str(report)


def test_beside_a_kink_wrong_is_wrong():
    x = jnp.asarray([1.0, 0.0, -2.0, 0.0, 3.0])
    for slope in (lambda x: jnp.where(x == 0, 1.1, x > 0), lambda x: (x > 0) + 0.01 * (x < 0), jnp.ones_like):
        assert not check_vjp(of_slope(relu, slope), x, transforms=False).passed


def test_a_tie_may_go_to_either():
    tie = jnp.asarray([1.0, 2.0, 2.0])
    for slope, passed in (([0, 1.0, 0], True), ([0, 0.3, 0.7], True), ([0, 2.0, 0], False), ([0.1, 1, 0], False)):
        rule = of_slope(lambda x: jnp.max(x), lambda x, slope=slope: jnp.asarray(slope))
        assert check_vjp(rule, tie, transforms=False).passed == passed


def test_rounded_constants_are_no_algebra():
    """1/√8 written in float32 is another number than the inverse of √8 in float32: neither is wrong."""
    root = np.sqrt(8).astype(np.float32)
    inverse = np.float32(1) / root

    def scaled(slope):
        return ruled(lambda x: jnp.sum(x**2) / root, lambda args, g: (g * 2 * args[0] * slope,))

    assert check_vjp(scaled(inverse), X, transforms=False).passed
    assert not check_vjp(scaled(inverse * np.float32(1.00001)), X, transforms=False).passed


# ---------------------------------------------------------------------------------------- where rules are met with


@pytest.mark.slow
def test_rules_inside_loops_and_with_symbolic_zeros():
    def step(slope):
        return ruled(lambda h, x: jnp.tanh(h + x), lambda args, g: (slope(args[0] + args[1]) * g,) * 2)

    for slope, passed in ((lambda z: 1 - jnp.tanh(z) ** 2, True), (lambda z: 1.001 - jnp.tanh(z) ** 2, False)):
        rule = step(slope)
        in_scan = lambda x, h: jax.lax.scan(lambda h, x: (rule(h, x),) * 2, h, x)[1]  # noqa: B023, E731
        in_vmap = lambda x, h: jax.vmap(rule, (0, None))(x, h)  # noqa: B023, E731
        for f in (in_scan, in_vmap):
            assert check_vjp(f, X, normal(7, seed=2), transforms=False).passed == passed

    for slip, passed in ((1.0, True), (1.01, False)):
        pair = jax.custom_vjp(lambda x, w: (x * w, jnp.sin(x)))
        pair.defvjp(
            lambda x, w: ((x.value * w.value, jnp.sin(x.value)), (x.value, w.value)),
            lambda kept, g, slip=slip: (g[0] * kept[1] + g[1] * jnp.cos(kept[0]), slip * g[0] * kept[0]),
            symbolic_zeros=True,
        )
        assert check_vjp(pair, X, X + 1, transforms=False).passed == passed


def test_one_part_of_a_complex_gradient():
    z = (X + 1j * normal(5, 7, seed=3)).astype(np.complex64)
    rule = ruled(lambda z: z * z, lambda args, g: ((2 * args[0] * g).real + 0j * g,))
    assert check_vjp(rule, z, transforms=False).rows[0].pattern == "the imaginary part is missing"


# ---------------------------------------------------------------------------------------------------- right rules


@pytest.mark.short("bfloat16|complex64")
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.complex64])
def test_dtypes(dtype):
    x = (X + 1j * normal(5, 7, seed=3)).astype(dtype) if dtype is np.complex64 else X.astype(dtype)
    rule = ruled(lambda x: x * x, lambda args, g: (2 * args[0] * g,))
    assert check_vjp(rule, x).raise_if_failed().passed
    wrong = ruled(lambda x: x * x, lambda args, g: (jnp.conj(2 * args[0] * g) * (1 if dtype is np.complex64 else 2),))
    assert not check_vjp(wrong, x, transforms=False).passed


def test_trees_integers_and_options():
    @partial(jax.custom_vjp, nondiff_argnums=(2,))
    def pick(tree, index, how):
        return {"y": tree["w"][index] * (2 if how == "twice" else 1)}

    def back(how, residual, g):
        shape, index = residual
        return {"w": jnp.zeros(shape, g["y"].dtype).at[index].add(g["y"] * (2 if how == "twice" else 1))}, None

    pick.defvjp(lambda tree, index, how: (pick(tree, index, how), (tree["w"].shape, index)), back)
    report = check_vjp(pick, {"w": normal(6)}, jnp.array([1, 3, 3]), "twice")
    assert report.raise_if_failed().rows[0].input == "args[0]['w']"


@pytest.mark.short("1e-06")
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scale_changes_no_verdict(scale):
    assert check_vjp(spoilt(lambda dx, dw: (dx, dw)), X * scale, W, transforms=False).passed
    assert not check_vjp(spoilt(lambda dx, dw: (dx * 1.0001, dw)), X * scale, W, transforms=False).passed


@pytest.mark.parametrize(
    ("f", "backward", "x"),
    [
        (jnp.log, lambda args, g: (g / args[0],), [0.0, 1.0, 2.0]),
        (jnp.sin, lambda args, g: (g * jnp.cos(args[0]),), [jnp.inf, 1.0, jnp.nan]),
        (lambda x: jnp.exp(1e3 * x), lambda args, g: (2 * g,), [1.0, 2.0, -3.0]),
        (jnp.sin, lambda args, g: (g * jnp.inf,), [1.0, 2.0, 3.0]),
    ],
    ids=["at a pole", "no numbers", "overflow", "infinite"],
)
def test_what_is_no_number_is_said_in_the_report_and_nowhere_else(f, backward, x):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        report = check_vjp(ruled(f, backward), jnp.asarray(x), transforms=False)
    assert [str(each.message) for each in warned] == []
    assert "args[0] float32[3]: " in str(report)


@pytest.mark.parametrize(("factor", "passed"), [(2, True), (3, False)])
def test_float64_whose_squares_overflow(factor, passed):
    with jax.enable_x64(True):
        f = ruled(lambda x: x * 1e200 * 2, lambda args, g: (factor * 1e200 * g,))
        assert check_vjp(f, jnp.ones(3) * 0.5, transforms=False).passed == passed


@pytest.mark.slow
def test_sums_of_what_is_flushed_to_zero():
    """Compiled, a product may keep what the same product run by itself flushes, over 4096 terms; a factor is found."""
    x = 3e-38 * (1 + 0.1 * normal(4096, 3))
    report = check_vjp(spoilt(lambda *each: each), x, jnp.ones((3, 1)))
    assert report.passed, report
    wrong = check_vjp(spoilt(lambda dx, dw: (dx, 1.01 * dw)), x, jnp.ones((3, 1)), transforms=False)
    assert [row.pattern for row in wrong.rows] == [None, "all by one factor: 1.01"]


@pytest.mark.slow
def test_long_cancelling_sum():
    rule = ruled(lambda x, w: jnp.sum(x * w), lambda args, g: (g * args[1], g * args[0]))
    deep = ruled(lambda w: jnp.sum(X1 * w), lambda args, g: (g * jnp.cumsum(X1)[-1] + 0 * args[0],))
    assert check_vjp(rule, normal(100_000), normal(100_000, seed=1), directions=2, transforms=False).passed
    assert check_vjp(deep, jnp.float32(2), directions=2, transforms=False).passed


X1 = normal(100_000, seed=5)


# ----------------------------------------------------------------------------------------------------------- ours


def test_ours():
    """With JAX's transforms; test_check_catalogue.py has all maps, test_transforms_table.py the transforms of each."""
    f = partial(conv, stride=2, padding=1, groups=2)
    check_vjp(f, normal(4, 4, 7), normal(4, 2, 3, seed=1), directions=2).raise_if_failed()


@pytest.mark.slow
def test_our_cell():
    params = gated_init(jax.random.key(0), 3, 4)
    check_vjp(gated_step, params, normal(2, 4), normal(2, 3), directions=2).raise_if_failed()


@pytest.mark.slow
def test_our_recurrence():
    params = gated_init(jax.random.key(0), 3, 4)
    f = partial(gated_scan, residuals="save", reverse=True, lengths=jnp.array([5, 2]))
    check_vjp(f, params, normal(5, 2, 3), normal(2, 4), directions=2).raise_if_failed()


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "`f` must be a function", lambda: check_vjp(3, X)),
        (TypeError, "must hold an array of floats", lambda: check_vjp(jnp.sin, 3)),
        (TypeError, "`reference`", lambda: check_vjp(jnp.sin, X, reference=3)),
        (ValueError, "`directions` must be at least 1", lambda: check_vjp(jnp.sin, X, directions=0)),
        (TypeError, "`seed` must be an integer", lambda: check_vjp(jnp.sin, X, seed=0.5)),
        (ValueError, "`seed` must be at least 0", lambda: check_vjp(jnp.sin, X, seed=-1)),
        (TypeError, "`transforms`", lambda: check_vjp(jnp.sin, X, transforms="all")),
    ],
)
def test_bad_input(error, words, call):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("reference", [None, partial(jax.nn.gelu, approximate=False)], ids=["alone", "reference"])
def test_a_forward_rule_with_another_value_is_found(reference):
    exact = partial(jax.nn.gelu, approximate=False)

    @jax.custom_vjp
    def gelu(x):
        return exact(x)

    gelu.defvjp(lambda x: (jax.nn.gelu(x, approximate=True), x), lambda x, g: jax.vjp(exact, x)[1](g))
    report = check_vjp(gelu, jnp.linspace(-2.0, 2.0, 7), reference=reference, transforms=False)
    assert not report.passed
    assert "the forward rule returns another value than the function" in str(report)


def test_a_reference_of_another_shape_is_named():
    @jax.custom_vjp
    def cumsum(x):
        return jnp.cumsum(x)

    cumsum.defvjp(lambda x: (jnp.cumsum(x), None), lambda _, g: (jnp.cumsum(g[::-1])[::-1],))
    report = check_vjp(cumsum, jnp.arange(4.0), reference=jnp.sum, transforms=False)
    assert not report.passed
    assert "the reference returns other shapes than the function: [] for [4]" in str(report)
