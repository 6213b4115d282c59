"""Layers of flax and keras with our scan inside, beside the same layer with its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_convert import close, keras  # noqa: F401

from jaxconv import recurrent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]  # keras
X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 6, 4)), jnp.float32)  # (batch, time, n)
CALLS = {
    "plain": {},
    "reverse": {"reverse": True, "return_carry": True},
    "reverse in order": {"reverse": True, "keep_order": True},
    "lengths": {"seq_lengths": jnp.array([6, 2, 4])},
    "lengths reverse in order": {"seq_lengths": jnp.array([6, 2, 4]), "reverse": True, "keep_order": True},
    "time first": {"time_major": True, "return_carry": True},
    "time first, lengths": {"time_major": True, "return_carry": True, "seq_lengths": jnp.array([3, 2, 0, 1, 3, 2])},
}


def same(ours, theirs):
    jax.tree.map(close, ours, theirs)


@pytest.mark.parametrize("cell", ["GRUCell", "OptimizedLSTMCell", "LSTMCell"])
def test_flax(cell):
    """Results of every way to call it, and the gradient for the shared cell."""
    nnx = pytest.importorskip("flax.nnx")
    layer = nnx.RNN(getattr(nnx, cell)(4, 5, rngs=nnx.Rngs(0), bias_init=jax.nn.initializers.normal()))
    ours = recurrent(layer)
    assert isinstance(ours, nnx.RNN)
    assert ours.cell is layer.cell
    for options in CALLS.values():
        same(ours(X, **options), layer(X, **options))
    gradients = [nnx.grad(lambda layer: jnp.sum(layer(X) ** 2))(each) for each in (ours, layer)]
    for a, b in zip(*(jax.tree.leaves(nnx.to_pure_dict(g["cell"])) for g in gradients), strict=True):
        close(a, b)


def test_flax_bidirectional():
    nnx = pytest.importorskip("flax.nnx")
    made = [nnx.RNN(nnx.GRUCell(4, 5, rngs=nnx.Rngs(i))) for i in range(2)]
    layer = nnx.Bidirectional(*made)
    for options in ({}, {"seq_lengths": jnp.array([6, 2, 4]), "return_carry": True}):
        same(recurrent(layer)(X, **options), layer(X, **options))


def test_flax_of_another_kind():
    nnx = pytest.importorskip("flax.nnx")
    with pytest.raises(ValueError, match="must hold a GRUCell, an OptimizedLSTMCell or an LSTMCell"):
        recurrent(nnx.RNN(nnx.SimpleCell(4, 5, rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match="and the other tanh to be taken over; got sigmoid and relu"):
        recurrent(nnx.RNN(nnx.GRUCell(4, 5, activation_fn=jax.nn.relu, rngs=nnx.Rngs(0))))


@pytest.mark.parametrize("kind", ["after", "before", "lstm"])
@pytest.mark.parametrize("options", [{}, {"go_backwards": True, "return_sequences": True, "return_state": True}])
def test_keras(keras, kind, options):  # noqa: F811
    """Results of the layer before and after, with a mask and in training with dropout, too; it trains."""
    own = {} if kind == "lstm" else {"reset_after": kind == "after"}
    layer = (keras.layers.LSTM if kind == "lstm" else keras.layers.GRU)(5, **own, **options)
    mask = jnp.arange(6) < jnp.array([6, 2, 4])[:, None]
    before = layer(X), layer(X, mask=mask)
    weights = [jnp.asarray(w) for w in layer.get_weights()]

    def gradient():
        def loss(weights):
            y, _ = layer.stateless_call(weights, layer.non_trainable_variables, X)
            return sum(jnp.sum(each**2) for each in jax.tree.leaves(y))

        return jax.grad(loss)(weights)

    right = gradient()
    assert recurrent(layer) is layer
    same((layer(X), layer(X, mask=mask)), before)
    same(gradient(), right)


def test_keras_bidirectional(keras):  # noqa: F811
    layer = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))
    before = layer(X)
    same(recurrent(layer)(X), before)
