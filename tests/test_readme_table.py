"""Our column of the table of options: a test behind every row."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import (
    Window,
    conv,
    conv_cost,
    conv_transpose,
    conv_weight_vjp,
    input_sizes,
    output_size,
    receptive_field,
)

ROOT = Path(__file__).parent.parent
X = jnp.arange(2.0 * 4 * 9).reshape(2, 4, 9) % 7
W = jnp.arange(6.0 * 4 * 3).reshape(6, 4, 3) % 5
ROWS = {}


def row(label):
    def register(check):
        ROWS[label] = check
        return check

    return register


def differentiable(f, *arguments):
    """The value of f, whose hand-written gradients are those of JAX; whole numbers make them equal to the bit."""
    y, pull = jax.vjp(lambda *at: f(*at, derivative="hand"), *arguments)
    _, pull_jax = jax.vjp(lambda *at: f(*at, derivative="jax"), *arguments)
    for ours, theirs in zip(pull(y), pull_jax(y), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return y


@row("stride, dilation and groups together")
def _():
    y = differentiable(lambda x, w, **kw: conv(x, w, stride=2, dilation=2, groups=2, **kw), X, W[:, :2])
    assert y.shape == (2, 6, 3)


@row("one (lo, hi) per axis")
def _():
    assert differentiable(lambda x, w, **kw: conv(x, w, padding=[(1, 2)], **kw), X, W).shape == (2, 6, 10)


@row("negative padding")
def _():
    y = differentiable(lambda x, w, **kw: conv(x, w, padding=[(-1, 0)], **kw), X, W)
    np.testing.assert_array_equal(y, conv(X[..., 1:], W))


@row('"SAME" with a stride')
def _():
    assert differentiable(lambda x, w, **kw: conv(x, w, padding="SAME", stride=2, **kw), X, W).shape == (2, 6, 5)


@row('"SAME_LOWER"')
def _():
    y = differentiable(lambda x, w, **kw: conv(x, w, padding="SAME_LOWER", **kw), X, W[..., :2])
    np.testing.assert_array_equal(y, conv(X, W[..., :2], padding=[(1, 0)]))


@row('"CAUSAL"')
def _():
    x, w = jnp.ones((1, 5, 5)), jnp.ones((1, 1, 3, 3))
    y = differentiable(lambda x, w, **kw: conv(x, w, padding="CAUSAL", **kw), x, w)
    later = conv(x.at[0, 3:].set(9), w, padding="CAUSAL")
    np.testing.assert_array_equal(y[0, :3], later[0, :3])


@row('"FULL"')
def _():
    assert differentiable(lambda x, w, **kw: conv(x, w, padding="FULL", **kw), X, W).shape == (2, 6, 11)


@row("reflect, edge, circular padding")
def _():
    for mode, numpy_mode in (("reflect", "reflect"), ("edge", "edge"), ("circular", "wrap")):
        y = differentiable(lambda x, w, mode=mode, **kw: conv(x, w, padding=2, padding_mode=mode, **kw), X, W)
        np.testing.assert_array_equal(y, conv(np.pad(X, ((0, 0), (0, 0), (2, 2)), mode=numpy_mode), W))


@row("channels first and last")
def _():
    last = conv(X.swapaxes(1, 2), W.transpose(2, 1, 0), layout="channels_last")
    np.testing.assert_array_equal(last.swapaxes(1, 2), conv(X, W))


@row("any number of batch axes, none included")
def _():
    np.testing.assert_array_equal(conv(X[0], W), conv(X, W)[0])
    np.testing.assert_array_equal(conv(X[None, :, None], W)[0, :, 0], conv(X, W))


@row("four or more spatial axes")
def _():
    x, w = jnp.ones((1, 2, 3, 3, 3, 3)), jnp.ones((2, 2, 2, 2, 2, 2))
    y = differentiable(lambda x, w, **kw: conv(x, w, **kw), x, w)
    np.testing.assert_array_equal(y, jnp.full((1, 2, 2, 2, 2, 2), 32.0))


@row("complex dtypes")
def _():
    y = differentiable(lambda x, w, **kw: conv(x, w, **kw), X + 1j * X[::-1], W - 2j * W)
    np.testing.assert_array_equal(y, (1 - 2j) * (conv(X, W) + 1j * conv(X[::-1], W)))


@row("transposed: output_padding")
def _():
    y = differentiable(lambda x, w, **kw: conv_transpose(x, w, stride=2, output_padding=1, **kw), X, W[:4])
    assert y.shape == (2, 4, 20)


@row("transposed: output_size")
def _():
    assert conv_transpose(X, W[:4], stride=2, output_size=20).shape == (2, 4, 20)


@row("transposed: groups")
def _():
    assert differentiable(lambda x, w, **kw: conv_transpose(x, w, groups=2, **kw), X, W[:4, :2]).shape == (2, 4, 11)


@row("transposed: the exact adjoint of the convolution")
def _():
    g = conv(X, W, stride=2, padding=1)
    left = jnp.vdot(conv_transpose(g, W, stride=2, padding=1, output_size=9), X)
    right = jnp.vdot(g, conv(X, W, stride=2, padding=1))
    third = jnp.vdot(W, conv_weight_vjp(X, g, kernel_size=3, stride=2, padding=1))
    assert left == right == third


@row("every input size that gives an output size")
def _():
    assert [n for n in range(1, 40) if n >= 3 and output_size(n, 3, stride=4) == 5] == list(input_sizes(5, 3, stride=4))


@row("receptive field of a stack")
def _():
    assert tuple(receptive_field([Window(7, 2, 3), Window(3, 2, 1)])) == (11, 4, -5)


@row("multiply-adds and bytes of a call")
def _():
    cost = conv_cost((4, 9), (6, 4, 3)).value
    assert cost.multiply_adds == 6 * 4 * 3 * 7
    assert cost.bytes_read == 4 * (4 * 9 + 6 * 4 * 3)


@row("a window wider than the input is an error")
def _():
    with pytest.raises(ValueError, match="needs at least 3 positions; got 2"):
        conv(X[..., :2], W)


TABLE = re.findall(r"^\| ([^|]+) \| yes \|", (ROOT / "jaxconv/convolution/README.md").read_text(), re.MULTILINE)


def test_every_row_has_a_test():
    assert list(ROWS) == TABLE


@pytest.mark.short("groups|CAUSAL|negative|channels|window|multiply|every input|receptive|output_size")
@pytest.mark.parametrize("label", ROWS)
def test_row(label):
    ROWS[label]()
