"""Pull-backs for different inputs, made one after the other and pulled in any order, do not disturb each other.

What a rule is asked for has to travel with each trace: JAX pulls every trace of a shared jit back with the structure of
what the last one kept.
"""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import conv, conv_input_vjp, conv_transpose, conv_weight_vjp, gated_init, gated_scan

X = jnp.arange(1.0, 10).reshape(1, 3, 3)
W = jnp.array([[[1.0, 2.0, 3.0]] * 3])  # of the same shape as X, so that no shape error helps
B = jnp.array([0.5])
G = jnp.array([[2.0]])
CELL = gated_init(jax.random.key(0), 3, 3)

PRODUCTS = {
    "conv": (lambda x, w: conv(x, w), (X, W)),
    "conv with bias": (lambda x, w, b: conv(x, w, b), (X, W, B)),
    "conv_input_vjp": (lambda g, w: conv_input_vjp(g, w, input_size=3), (G, W)),
    "conv_weight_vjp": (lambda x, g: conv_weight_vjp(x, g, kernel_size=3), (X, G[None])),
    "conv_transpose": (lambda x, w: conv_transpose(x, w), (G, W)),
    "gated_scan": (lambda w_h, x, h0: gated_scan(CELL._replace(w_h=w_h), x, h0)[1], (CELL.w_h, X[0], X[0, 0])),
}


def pull_back(f, arguments, i):
    """The pull-back for argument i alone."""
    y, pull = jax.vjp(lambda a: f(*arguments[:i], a, *arguments[i + 1 :]), arguments[i])
    return lambda: pull(jnp.ones_like(y))[0]


@pytest.mark.short("gated|transpose|scan")
@pytest.mark.parametrize(("f", "arguments"), PRODUCTS.values(), ids=PRODUCTS)
def test_interleaved_pull_backs(f, arguments):
    y, pull = jax.vjp(f, *arguments)
    right = pull(jnp.ones_like(y))
    for order in permutations(range(len(arguments))):
        pulls = {i: pull_back(f, arguments, i) for i in order}
        for i in (*order, *reversed(order)):
            np.testing.assert_array_equal(pulls[i](), right[i])


@pytest.mark.parametrize(("f", "arguments"), PRODUCTS.values(), ids=PRODUCTS)
def test_interleaved_inside_a_jit(f, arguments):
    @jax.jit
    def both(*arguments):
        pulls = [pull_back(f, arguments, i) for i in range(len(arguments))]
        return [pull() for pull in pulls]

    y, pull = jax.vjp(f, *arguments)
    for ours, right in zip(both(*arguments), pull(jnp.ones_like(y)), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-6)
