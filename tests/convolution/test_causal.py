"""`causal_conv`: whole or piece by piece the same, equal to `conv` of the whole, gradients through the state."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import causal_conv, conv

RANDOM = np.random.default_rng(0)
X, W, B = (jnp.asarray(RANDOM.standard_normal(shape), jnp.float32) for shape in ((2, 3, 9), (3, 1, 4), (3,)))
STATE = jnp.asarray(RANDOM.standard_normal((2, 3, 3)), jnp.float32)


def close(ours, right):
    np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-5)


def by_hand(x, w, b, state):
    z = np.concatenate([state, x], -1).astype(np.float64)
    k = w.shape[-1]
    y = sum(np.float64(w)[:, 0, q][:, None] * z[..., q : q + x.shape[-1]] for q in range(k)) + np.float64(b)[:, None]
    return y, z[..., z.shape[-1] - (k - 1) :]


def test_is_the_sum_and_conv_of_the_whole():
    for ours, right in zip(causal_conv(X, W, B, STATE), by_hand(X, W, B, STATE), strict=True):
        close(ours, right)
    y, state = causal_conv(X, W, B)
    close(y, conv(X, W, B, padding="CAUSAL", groups=3))
    np.testing.assert_array_equal(state, X[..., -3:])


@pytest.mark.parametrize("cuts", [(0, 1, 9), (0, 2, 2, 3, 9), tuple(range(10))], ids=["two", "an-empty-one", "single"])
def test_piece_by_piece(cuts):
    state, pieces = None, []
    for start, end in pairwise(cuts):
        y, state = causal_conv(X[..., start:end], W, B, state)
        assert state.shape == (2, 3, 3)
        pieces.append(y)
    whole, last = causal_conv(X, W, B)
    close(jnp.concatenate(pieces, -1), whole)
    np.testing.assert_array_equal(state, last)


def test_gradients_reach_through_the_state():
    """Of two pieces, the second fed by the first's state, every gradient is that of the whole."""
    g = jnp.asarray(RANDOM.standard_normal(X.shape), jnp.float32)

    def pieces(x, w, b, state):
        first, state = causal_conv(x[..., :4], w, b, state)
        second, _ = causal_conv(x[..., 4:], w, b, state)
        return jnp.vdot(jnp.concatenate([first, second], -1), g)

    def whole(x, w, b, state):
        z = jnp.concatenate([state, x], -1)
        return jnp.vdot(sum(w[:, :, q] * z[..., q : q + 9] for q in range(4)) + b[:, None], g)

    ours, right = (jax.jit(jax.grad(f, (0, 1, 2, 3)))(X, W, B, STATE) for f in (pieces, whole))
    jax.tree.map(close, ours, right)


def test_kernel_of_one_has_no_state():
    y, state = causal_conv(X, W[..., :1])
    close(y, X * W[..., 0])
    assert state.shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"w": W[:, 0]}, "`w` must have the shape (channels, 1, k); got w.shape=(3, 4)."),
        ({"x": X[:, :2]}, "`x` must have the shape (*batch, channels, time) with the 3 channels of w.shape=(3, 1, 4); "
         "got x.shape=(2, 2, 9)."),
        ({"b": B[:2]}, "`b` must have the shape (channels,) = (3,); got b.shape=(2,)."),
        ({"state": STATE[..., :2]}, "`state` must have the shape (*batch, channels, k - 1) = (2, 3, 3); got "
         "state.shape=(2, 3, 2) (x.shape=(2, 3, 9), w.shape=(3, 1, 4))."),
    ],
    ids=["w", "x", "b", "state"],
)  # fmt: skip
def test_bad_input(changed, message):
    with pytest.raises(ValueError, match="causal_conv") as caught:
        causal_conv(**({"x": X, "w": W, "b": B, "state": STATE} | changed))
    assert str(caught.value) == f"causal_conv: {message}"
