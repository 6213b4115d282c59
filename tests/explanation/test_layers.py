"""`layers`: every convolution of a function is there once, with the right numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv import cli, layers
from lax_calls import drawn

X, W = jax.ShapeDtypeStruct((2, 16, 16, 4), "float32"), jax.ShapeDtypeStruct((3, 3, 4, 4), "float32")
NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolved(x, w, stride=1, **how):
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=NUMBERS, **how)


def scanned(x, w):
    return lax.scan(lambda c, _: (jnp.tanh(convolved(c, w)), None), x, None, length=5)[0]


def looped(x, w):
    return lax.while_loop(lambda c: c.sum() < 9, lambda c: convolved(c, w), x)


def ruled(kind, define, rules):
    """With a rule of its own, which nobody asks for."""
    f = kind(lambda x, w: convolved(x, w))
    getattr(f, define)(*[lambda *a: None] * rules)
    return lambda x, w: f(x, w)


INSIDE = {
    "jit": (lambda x, w: jax.jit(convolved)(x, w), [1]),
    "scan": (scanned, [5]),
    "scan of scans": (lambda x, w: lax.scan(lambda c, _: (scanned(c, w), None), x, None, length=3)[0], [15]),
    "while": (looped, [None]),
    "cond": (lambda x, w: lax.cond(x.sum() > 0, convolved, lambda x, w: x, x, w), [1]),
    "remat": (lambda x, w: jax.checkpoint(convolved)(x, w), [1]),
    "vmap": (lambda x, w: jax.vmap(lambda x: convolved(x[None], w)[0])(x), [1]),
    "hand": (lambda x, w: jaxconv.conv(x, w, padding=1, layout="channels_last"), [1]),
    "any": (lambda x, w: jaxconv.conv(x, w, padding=1, layout="channels_last", derivative="any"), [1]),
    "drop-in": (lambda x, w: jaxconv.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NUMBERS), [1]),
    "custom_jvp": (ruled(jax.custom_jvp, "defjvp", 1), [1]),
    "custom_vjp": (ruled(jax.custom_vjp, "defvjp", 2), [1]),
    "none": (lambda x, w: x, []),
}


@pytest.mark.parametrize("name", INSIDE)
def test_finds_those_inside(name):
    f, times = INSIDE[name]
    rows = layers(f, X, W).rows
    assert [row.times for row in rows] == times
    for row in rows:
        assert (row.which, row.multiply_adds_with_padding) == ("conv", 2 * 16 * 16 * 9 * 4 * 4)
        assert row.multiply_adds == jaxconv.conv_cost(X.shape, W.shape, padding=1, layout="channels_last").value[0]
        assert row.bytes == 4 * (2 * 2 * 16 * 16 * 4 + 9 * 4 * 4)
        assert row.algorithm in jaxconv.conv_algorithm(X.shape, W.shape, padding=1, layout="channels_last").candidates
        assert row.seconds > 0


def test_a_gradient_has_all_three_maps():
    rows = layers(jax.grad(lambda x, w: convolved(x, w, 2).sum() ** 2, (0, 1)), X, W).rows
    assert sorted(row.which for row in rows) == ["conv", "conv_input_vjp", "conv_weight_vjp"]
    assert len({row.multiply_adds for row in rows}) == 1, "one trilinear form"


@pytest.mark.parametrize("seed", range(40))
def test_multiply_adds_are_those_that_the_sum_has(seed):
    """Counted one by one: groups of both kinds, all dilations, strides and negative paddings."""
    call = drawn(seed, "float32")
    (row,) = layers(lambda a, b: lax.conv_general_dilated(a, b, **call.how),
                    *(jax.ShapeDtypeStruct(shape, "float32") for shape in (call.lhs, call.rhs))).rows  # fmt: skip
    how, specs = call.params, call.params["dimension_numbers"]
    met = 1
    for axis, (lo, _) in enumerate(how["padding"]):
        n, k, m = (shape[spec[2 + axis]] for shape, spec in zip((call.lhs, call.rhs, call.out), specs, strict=True))
        s, d, t = (how[name][axis] for name in ("window_strides", "rhs_dilation", "lhs_dilation"))
        met *= sum(s * j + d * q - lo in range(0, t * n, t) for j, q in itertools.product(range(m), range(k)))
    batch, filters = (call.out[axis] for axis in specs[2][:2])
    assert row.multiply_adds == batch * filters * call.rhs[specs[1][1]] * met


def support(f, x, w):
    """Per spatial axis the first and the last input that the middle output depends on, by the gradient."""
    y = jax.eval_shape(f, x, w)
    at = (0, *(n // 2 for n in y.shape[1:-1]))
    dx = np.abs(jax.grad(lambda x: f(x, w)[at].sum())(x)).sum((0, -1))
    seen = [np.flatnonzero(dx.sum(1 - axis)) for axis in range(2)]
    return [(int(each[0]), int(each[-1])) for each in seen], at[1:]


CHAINS = {
    "two": lambda x, w: convolved(jax.nn.relu(convolved(x, w, 2)), w),
    "residual": lambda x, w: (lambda y: y + convolved(y, w, rhs_dilation=(2, 2)))(convolved(x, w, 2)),
    "pooled": lambda x, w: convolved(
        lax.reduce_window(convolved(x, w), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"), w
    ),
    "transposed": lambda x, w: convolved(lax.conv_transpose(convolved(x, w, 2), w, (2, 2), "VALID"), w, 2),
    "padded": lambda x, w: lax.conv_general_dilated(
        jnp.pad(x, ((0, 0), (3, 1), (0, 2), (0, 0))), w, (1, 2), "VALID", dimension_numbers=NUMBERS
    ),
    "jit within": lambda x, w: jax.jit(lambda y: convolved(y, w) + 1.0)(convolved(x, w, 2)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_receptive_field_is_where_the_gradient_is(name):
    x = jnp.abs(jnp.sin(jnp.arange(2 * 24 * 24 * 4.0))).reshape(2, 24, 24, 4) + 1
    w = jnp.abs(jnp.cos(jnp.arange(3 * 3 * 4 * 4.0))).reshape(3, 3, 4, 4) + 1  # positive: nothing cancels
    f = CHAINS[name]
    field = layers(f, x, w).rows[-1].receptive_field
    if name == "residual":
        f = lambda x, w: convolved(convolved(x, w, 2), w, rhs_dilation=(2, 2))  # noqa: E731  # what the last one sees
    if name == "jit within":
        f = lambda x, w: convolved(convolved(x, w, 2), w)  # noqa: E731
    if name == "pooled":
        f = lambda x, w: convolved(  # noqa: E731  # the largest of two has one gradient, their sum has both
            lax.reduce_window(convolved(x, w), 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"), w
        )
    seen, at = support(f, x, w)
    for axis, (first, last) in enumerate(seen):
        start = field.start[axis] + at[axis] * field.stride[axis]
        assert (first, last) == (max(start, 0), min(start + field.size[axis] - 1, 23))


def test_no_chain_has_no_field():
    rows = layers(lambda x, w: convolved(jnp.sort(convolved(x, w), 1), w), X, W).rows
    assert rows[0].receptive_field is not None
    assert rows[1].receptive_field is None


def test_text_and_page_hold_every_row():
    report = layers(jax.grad(lambda x, w: jax.named_scope("stem")(convolved)(x, w, 2).sum() ** 2, 1), X, W)
    assert len(str(report).splitlines()) == 1 + len(report.rows) + 1
    assert "stem" in str(report)
    assert "3x3 s2 p0:1" in str(report)
    assert report._repr_html_().count("<tr>") == 1 + len(report.rows)
    assert f"{report.multiply_adds:,}" in str(report)


def test_what_no_map_expresses_says_why():
    both = {"lhs_dilation": (2, 2), "rhs_dilation": (2, 2), "dimension_numbers": NUMBERS}
    (row,) = layers(lambda x, w: lax.conv_general_dilated(x, w, (2, 2), [(0, 0)] * 2, **both), X, W).rows
    assert (row.which, row.geometry, row.algorithm) == ("lax", None, "lax")
    assert "exceed 1" in row.why
    assert "exceed 1" in str(layers(lambda x, w: lax.conv_general_dilated(x, w, (2, 2), [(0, 0)] * 2, **both), X, W))


def test_no_function():
    with pytest.raises(TypeError, match="layers: `f` must be callable; got f of type int"):
        layers(3)


# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module beside the current folder, by the name that is returned."""
    name = f"a_model_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(
        "import jax, jax.numpy as jnp\n"
        "def net(x, w):\n    return jax.lax.conv(x, w, (2, 2), 'SAME')\n"
        "def args():\n    return jnp.ones((1, 2, 8, 8)), jnp.ones((4, 2, 3, 3))\n"
        "def fails(x, w):\n    raise ArithmeticError('of no use')\n"
    )
    monkeypatch.chdir(tmp_path)
    return name


def test_the_command_prints_the_table(module, capsys):
    assert cli.main(["size", f"{module}:net", "--args", f"{module}:args"]) == 0
    out = capsys.readouterr().out
    assert "3x3 s2 p0:1" in out
    assert "1 convolution, " in out


def test_tune_takes_the_convolutions_of_a_function(module, capsys, tmp_path):
    command = ["tune", f"{module}:net", "--args", f"{module}:args", "--output", str(tmp_path / "w.json"), "--dry-run"]
    assert cli.main(command) == 0
    assert "layer 1" in capsys.readouterr().out
    assert cli.main(["tune", f"{module}:args", "--output", str(tmp_path / "w.json"), "--dry-run"]) == 2
    assert "must have a convolution that one of the three maps expresses; got none." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["{}:fails", "--args", "{}:args"], "fails could not be traced with the arguments of {}:args: ArithmeticError"),
        (["{}:net"], "net could not be traced with no arguments; give --args MODULE:MAKE: TypeError"),
        (["{}:nothing", "--args", "{}:args"], "has no attribute 'nothing'"),
        (["no_such_module:f", "--args", "{}:args"], "there is no module 'no_such_module'"),
        (["{}:net", "--args", "{}:net"], "--args: {}:net() raised TypeError"),
    ],
)
def test_the_command_says_what_is_wrong(module, capsys, call, said):
    assert cli.main(["size", *(each.format(module) for each in call)]) == 2
    assert said.replace("{}", module) in capsys.readouterr().err
