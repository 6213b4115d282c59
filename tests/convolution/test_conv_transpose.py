"""The transposed convolution: the adjoint of conv with the same kernel and options, exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array

import oracles
from cases import FEW, LOWERINGS, PADDED, Case, assert_same, by_id, integers
from jaxconv import conv, conv_transpose, conv_weight_vjp
from jaxconv.convolution.padding import PADDING_MODES
from jaxconv.sizes.arithmetic import input_sizes

pytestmark = pytest.mark.unoptimised


@pytest.mark.short("^(1d|3d).*reference")
@pytest.mark.parametrize("lowering", LOWERINGS[1:])
@pytest.mark.parametrize("case", **by_id(FEW))
def test_adjoint(case: Case, lowering: str) -> None:
    """⟨x, conv(y, w)⟩ = ⟨conv_transpose(x, w), y⟩, exact on whole numbers, and it is the oracle's."""
    y, w, x = integers(0, case.x_shape, case.w_shape, case.y_shape)
    result = conv_transpose(x, w, output_size=case.input_size, **case.options, lowering=lowering)
    assert result.shape == case.x_shape
    assert jnp.vdot(result, y) == jnp.vdot(x, conv(y, w, **case.options))
    assert (result == oracles.conv_input_vjp(x, w, input_size=case.input_size, **case.options)).all()


@pytest.mark.parametrize("extra", range(3))
@pytest.mark.parametrize("padding", [0, (2, 1), (-1, 0)], ids=str)
def test_output_padding_names_one_of_the_possible_sizes(padding: Any, extra: int) -> None:
    x, w, b = integers(1, (2, 4, 5), (4, 3, 2), (3,))
    options: dict[str, Any] = {"stride": 3, "padding": padding if padding == 0 else [padding], "dilation": 2}
    (sizes,) = input_sizes((5,), 2, **options)
    by_padding = conv_transpose(x, w, b, output_padding=extra, **options)
    assert by_padding.shape == (2, 3, sizes[extra])
    assert_same(by_padding, conv_transpose(x, w, b, output_size=sizes[extra], **options))
    assert (by_padding == oracles.conv_input_vjp(x, w, input_size=sizes[extra], **options) + b[:, None]).all()


def test_worked_example() -> None:
    """Two positions, 1 and 10, spread a kernel of 1, 2, 3 at stride 2; the third output gets both."""
    x, w = jnp.array([[1.0, 10.0]]), jnp.array([[[1.0, 2.0, 3.0]]])
    assert_same(conv_transpose(x, w, stride=2), jnp.array([[1.0, 2.0, 13.0, 20.0, 30.0]]))
    assert_same(conv_transpose(x, w, stride=2, padding=1, output_padding=1), jnp.array([[2.0, 13.0, 20.0, 30.0]]))


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER"])
def test_same_multiplies_the_size_by_the_stride(padding: str) -> None:
    x, w = integers(2, (2, 4, 5, 3), (4, 3, 4, 3))
    y = conv_transpose(x, w, stride=(2, 3), padding=padding)
    assert y.shape == (2, 3, 10, 9)
    assert (y == oracles.conv_input_vjp(x, w, input_size=(10, 9), stride=(2, 3), padding=padding)).all()
    smaller = conv_transpose(x, w, stride=(2, 3), padding=padding, output_size=(9, 7))
    assert (smaller == oracles.conv_input_vjp(x, w, input_size=(9, 7), stride=(2, 3), padding=padding)).all()


def test_groups_and_layouts() -> None:
    """w is (in, out/groups, *kernel); channels last (*kernel, out/groups, in)."""
    x, w, b = integers(3, (2, 6, 5), (6, 2, 3), (4,))
    y = conv_transpose(x, w, b, stride=2, groups=2)
    assert y.shape == (2, 4, 11)
    by_group = [conv_transpose(x[:, i : i + 3], w[i : i + 3], stride=2) for i in (0, 3)]
    assert_same(y, jnp.concatenate(by_group, 1) + b[:, None])
    x_last, w_last = x.swapaxes(1, 2), jnp.moveaxis(w, (0, 1), (-1, -2))
    assert_same(y.swapaxes(1, 2), conv_transpose(x_last, w_last, b, stride=2, groups=2, layout="channels_last"))


def test_batch_axes() -> None:
    x, w = integers(4, (2, 1, 3, 4, 5), (4, 3, 2))
    y = conv_transpose(x, w, stride=2)
    assert y.shape == (2, 1, 3, 3, 10)
    assert_same(y[1, 0, 2], conv_transpose(x[1, 0, 2], w, stride=2))
    assert conv_transpose(x[:0], w).shape == (0, 1, 3, 3, 6)


@pytest.mark.parametrize("derivative", ["hand", "jax"])
def test_gradients(derivative: str) -> None:
    """The adjoint's adjoint is the convolution: dx = conv(t, w), dw = conv_weight_vjp(t, x), db = Σ t."""
    x, w, b, t = integers(5, (2, 4, 5), (4, 3, 3), (3,), (2, 3, 11))
    options: dict[str, Any] = {"stride": 2, "padding": [(0, 1)]}
    f = lambda x, w, b: conv_transpose(x, w, b, output_size=11, **options, derivative=derivative)  # noqa: E731
    dx, dw, db = jax.vjp(f, x, w, b)[1](t)
    assert (dx == oracles.conv(t, w, **options)).all()
    assert (dw == oracles.conv_weight_vjp(t, x, kernel_size=(3,), **options)).all()
    assert_same(db, t.sum((0, 2)))
    assert_same((dx, dw), (conv(t, w, **options), conv_weight_vjp(t, x, kernel_size=3, **options)))


def test_second_order() -> None:
    x, w, t = integers(6, (2, 4, 5), (4, 3, 3), (2, 4, 5), most=2)

    def second(derivative: str) -> Array:
        loss = lambda x, w: (conv_transpose(x, w, stride=2, derivative=derivative) ** 3).sum()  # noqa: E731
        return jax.grad(lambda x, w: jnp.vdot(t, jax.grad(loss)(x, w)), (0, 1))(x, w)

    assert_same(second("hand"), second("jax"))


def test_forward_mode_through_jax() -> None:
    x, w, t = integers(7, (2, 4, 5), (4, 3, 3), (2, 4, 5))
    f = lambda x: conv_transpose(x, w, stride=2, derivative="jax")  # noqa: E731
    assert_same(jax.jvp(f, (x,), (t,))[1], f(t))


# ------------------------------------------------------------------------------------ padding that is not zeros

COPIES = [mode for mode in PADDING_MODES if mode != "zeros"]


@pytest.mark.short("2d-padded-same-(edge|circular)", "1d-cut-before-reflect")
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("case", **by_id(PADDED))
def test_adjoint_of_every_padding_mode(case: Case, mode: str) -> None:
    """⟨x, conv(y, w)⟩ = ⟨conv_transpose(x, w), y⟩, and it is the gradient of that conv as JAX derives it."""
    y, w, x = integers(0, case.x_shape, case.w_shape, case.y_shape)
    options = {**case.options, "padding_mode": mode}
    result = conv_transpose(x, w, output_size=case.input_size, **options)
    assert jnp.vdot(result, y) == jnp.vdot(x, conv(y, w, **options))
    assert_same(result, jax.vjp(lambda y: conv(y, w, **options, derivative="jax"), y)[1](x)[0])
    for lowering in LOWERINGS[1:]:
        assert_same(result, conv_transpose(x, w, output_size=case.input_size, **options, lowering=lowering))


@pytest.mark.short("1")
@pytest.mark.parametrize("mode", COPIES)
@pytest.mark.parametrize("extra", range(3))
def test_output_padding_with_copies(extra: int, mode: str) -> None:
    """The positions behind are the output's own, padded in their turn."""
    x, w, b = integers(1, (2, 4, 5), (4, 3, 2), (3,))
    options: dict[str, Any] = {"stride": 3, "padding": [(2, 1)], "dilation": 2, "padding_mode": mode}
    result = conv_transpose(x, w, b, output_padding=extra, **options)
    (y,) = integers(2, (2, 3, 12 + extra))
    assert jnp.vdot(result - b[:, None], y) == jnp.vdot(x, conv(y, w, **options))


def test_worked_example_of_copies() -> None:
    """The kernel 1, 2, 3 spread by 1 and by 10 covers 1 12 23 30: its ends lie in the padding, and go back inside."""
    x, w = jnp.array([[1.0, 10.0]]), jnp.array([[[1.0, 2.0, 3.0]]])
    right = {"zeros": [12, 23], "reflect": [12 + 30, 23 + 1], "edge": [12 + 1, 23 + 30], "circular": [12 + 30, 23 + 1]}
    for mode, numbers in right.items():
        assert_same(conv_transpose(x, w, padding=1, padding_mode=mode), jnp.array([numbers], jnp.float32))
    wider = conv_transpose(x, w, padding=[(0, 2)], padding_mode="edge")
    assert_same(wider, jnp.array([[1.0, 12.0 + 23.0 + 30.0]]))


@pytest.mark.short("reflect-hand")
@pytest.mark.parametrize("derivative", ["hand", "any", "jax"])
@pytest.mark.parametrize("mode", COPIES)
def test_gradients_with_copies(mode: str, derivative: str) -> None:
    """The adjoint's adjoint is the convolution of the padded cotangent, of both orders; with "any" forward, too."""
    x, w, b, t = integers(5, (2, 4, 5), (4, 3, 3), (3,), (2, 3, 9))
    options: dict[str, Any] = {"stride": 2, "padding": [(2, 1)], "padding_mode": mode}
    f = lambda x, w, b: conv_transpose(x, w, b, output_padding=1, **options, derivative=derivative)  # noqa: E731
    dx, dw, db = jax.vjp(f, x, w, b)[1](t)
    assert_same(dx, conv(t, w, **options))
    assert_same(dw, jax.vjp(lambda w: conv(t, w, **options, derivative="jax"), w)[1](x)[0])
    assert_same(db, t.sum((0, 2)))

    def second(f: Any) -> Any:
        pull_back = lambda x, w, t: jax.vjp(lambda x, w: f(x, w, b), x, w)[1](t)  # noqa: E731
        return jax.vjp(pull_back, x, w, t)[1]((x, w))

    by_jax = lambda x, w, b: conv_transpose(x, w, b, output_padding=1, **options, derivative="jax")  # noqa: E731
    assert_same(second(f), second(by_jax))
    if derivative != "hand":
        assert_same(jax.jvp(f, (x, w, b), (x, w, b))[1], 2 * f(x, w, 0 * b) + b[:, None])


def test_copies_of_half_precision_are_added_in_single() -> None:
    """Much and 64 ones go to one edge: to much, half precision adds ones in vain."""
    x = jnp.ones((1, 65), jnp.bfloat16).at[0, 0].set(256)
    w = jnp.ones((1, 1, 1), jnp.bfloat16)
    assert_same(conv_transpose(x, w, padding=[(64, 0)], padding_mode="edge"), jnp.full((1, 1), 320, jnp.bfloat16))


def test_copies_in_any_place() -> None:
    """No batch axis or several, under vmap of x and of w, and with a size known only later."""
    x, w = integers(8, (2, 3, 4, 5), (4, 3, 3))
    f = lambda x, w: conv_transpose(x, w, padding=2, padding_mode="reflect")  # noqa: E731
    whole = f(x, w)
    assert_same(whole[1, 2], f(x[1, 2], w))
    assert_same(whole, jax.vmap(jax.vmap(f, (0, None)), (0, None))(x, w))
    assert_same(jnp.stack([f(x, w), f(x, 2 * w)]), jax.vmap(f, (None, 0))(x, jnp.stack([w, 2 * w])))
    (n,) = jax.export.symbolic_shape("n", constraints=["n >= 3"])
    exported = jax.export.export(jax.jit(f))(jax.ShapeDtypeStruct((2, 4, n), x.dtype), w)
    assert_same(exported.call(x[:, 0], w), f(x[:, 0], w))


X, W = jnp.zeros((2, 4, 5)), jnp.zeros((4, 3, 3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"stride": 2, "output_padding": 2},
            ValueError,
            "`output_padding` must be smaller than the stride; got output_padding=2, stride=2 on spatial axis 0.",
        ),
        (
            {"output_padding": -1},
            ValueError,
            "`output_padding` must be at least 0; got output_padding=-1.",
        ),
        (
            {"stride": 2, "output_padding": 1, "output_size": 12},
            ValueError,
            "`output_padding` and `output_size` are two ways to say one thing: give one of them; got output_padding=1, "
            "output_size=12.",
        ),
        (
            {"stride": 2, "output_size": 13},
            ValueError,
            "`output_size` must be one that the convolution maps to 5 positions: 11 to 12 (or give output_padding 0 to "
            "1 instead); got output_size=13 on spatial axis 0.",
        ),
        (
            {"padding": 4},
            ValueError,
            "`padding` must leave at least one position of the output; got an output of -1 on spatial axis 0 "
            "(size=5, padding=(4, 4)).",
        ),
        (
            {"padding_mode": "replicate"},
            ValueError,
            "`padding_mode` must be one of 'zeros', 'reflect', 'edge', 'circular'; got padding_mode='replicate'.",
        ),
        (
            {"padding": (2, 2), "stride": 2, "padding_mode": "reflect", "output_size": 8},
            ValueError,
            "`padding` must be one integer, one per spatial axis (1) or one (lo, hi) pair per spatial axis; got "
            "padding=(2, 2): write [(2, 2)] for one (lo, hi) pair.",
        ),
        (
            {"padding": 3, "padding_mode": "circular"},
            ValueError,
            "`padding` with padding_mode='circular' must not be wider than the 1 positions to copy; got padding=(3, 3) "
            "on spatial axis 0 of 1 positions.",
        ),
        (
            {"groups": 3},
            ValueError,
            "`groups` must divide the input channels; got groups=3, channels=4 (x.shape=(2, 4, 5), w.shape=(4, 3, 3)).",
        ),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        conv_transpose(X, W, **options)
    assert str(raised.value) == f"conv_transpose: {message}"
