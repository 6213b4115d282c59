"""No examples, no features, no states: results of the right shape and dtype, empty where nothing is computed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import assert_same
from jaxconv import (
    GatedParams,
    conv,
    conv_input_jacobian,
    conv_input_vjp,
    conv_transpose,
    conv_weight_jacobian,
    conv_weight_vjp,
    gated_scan,
    gradient_flow,
)

pytestmark = pytest.mark.unoptimised

OPTIONS = {
    "plain": {},
    "groups": {"groups": 2, "stride": 2},
    "channels last": {"layout": "channels_last"},
    "reflect": {"padding_mode": "reflect", "padding": 1},
}
MAPPED = {"first": (0, None), "second": (None, 0), "both": (0, 0)}


def arrays(options, mapped, examples):
    last, groups = options.get("layout") == "channels_last", options.get("groups", 1)
    x, w = (2, 7, 4) if last else (2, 4, 7), (3, 4, 6) if last else (6, 4 // groups, 3)
    sizes = [() if axis is None else (examples,) for axis in mapped]
    return jnp.ones((*sizes[0], *x)), jnp.ones((*sizes[1], *w))


def none_of(tree):
    """What one example gives, of no examples."""
    return jax.tree.map(lambda a: a[:0], tree)


@pytest.mark.short("hand-groups|any-reflect-both")
@pytest.mark.parametrize("mapped", MAPPED.values(), ids=MAPPED)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("derivative", ["hand", "any"])
def test_vmap_over_no_examples(derivative, options, mapped):
    """The value and both gradients."""
    f = partial(conv, derivative=derivative, **options)

    def value_and_gradients(x, w):
        y, pull_back = jax.vjp(f, x, w)
        return y, *pull_back(y)

    every = jax.vmap(value_and_gradients, mapped)
    one, none = (arrays(options, mapped, examples) for examples in (1, 0))
    assert_same(every(*none), none_of(jax.jit(every)(*one)))


def test_vmap_of_every_map_over_no_examples():
    x, w, g = jnp.ones((0, 2, 4, 7)), jnp.ones((0, 6, 4, 3)), jnp.ones((0, 2, 6, 5))
    assert jax.vmap(partial(conv_input_vjp, input_size=7))(g, w).shape == x.shape
    assert jax.vmap(partial(conv_weight_vjp, kernel_size=3))(x, g).shape == w.shape
    assert jax.vmap(partial(conv_transpose, derivative="any"))(g, w).shape == x.shape
    assert jax.vmap(jax.vmap(conv, (None, 0)), (0, None))(x, w).shape == (0, 0, 2, 6, 5)


@pytest.mark.parametrize("derivative", ["hand", "any", "jax"])
def test_jacobians_of_an_empty_batch(derivative):
    x, w = jnp.ones((0, 2, 7)), jnp.ones((3, 2, 3))
    assert conv_input_jacobian(x, w, derivative=derivative).shape == (0, 3, 5, 0, 2, 7)
    assert conv_weight_jacobian(x, w, derivative=derivative).shape == (0, 3, 5, 3, 2, 3)


def params_of(n, m, recurrent):
    w = jnp.full((m, n), 0.5)
    return GatedParams(w, jnp.full((m, m), 0.5) if recurrent else None, w, jnp.ones(m), jnp.full(m, 2.0))


RUNS = {
    "recompute": {},
    "save": {"residuals": "save"},
    "every 2": {"residuals": 2},
    "lengths": {"reverse": True, "lengths": np.array([5, 2])},
}


@pytest.mark.short("recompute-3-0-True", "lengths-0-4-False", "save-0-0-True")
@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize(("n", "m"), [(3, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_recurrence_without_features_or_states(options, n, m, recurrent):
    """The hand-written gradients are JAX's, which without a feature are those of biases and states alone."""
    params, x, h0 = params_of(n, m, recurrent), jnp.ones((5, 2, n)), jnp.ones((2, m))

    def value_and_gradients(derivative):
        run = partial(gated_scan, derivative=derivative, **options)
        values, pull_back = jax.vjp(run, params, x, h0)
        return values, pull_back(jax.tree.map(jnp.ones_like, values))

    ours, theirs = map(value_and_gradients, ("hand", "jax"))
    assert ours[0][1].shape == (5, 2, m)
    assert jax.tree.map(jnp.shape, ours[1]) == jax.tree.map(jnp.shape, (params, x, h0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)


def test_flow_of_no_states_or_no_sequences():
    flow = gradient_flow(params_of(3, 0, True), jnp.ones((5, 2, 3)))
    assert flow.exponents.shape == (2, 0)
    assert gradient_flow(params_of(3, 4, True), jnp.ones((5, 0, 3))).norms.shape == (6, 0)
