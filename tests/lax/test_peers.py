"""Models of five libraries, unchanged: one training step with and without `accelerate` has the same loss and gradients.

Each is a small residual net with strided, grouped, depthwise, dilated and transposed layers as its library writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv

pytestmark = pytest.mark.slow

IMAGES = jnp.sin(jnp.arange(2 * 12 * 12 * 8.0)).reshape(2, 12, 12, 8)
Net = tuple[Callable[..., Any], Any, jax.Array]  # loss(parameters, images), parameters, images


def linen(convolve: Any = None) -> Net:
    nn = pytest.importorskip("flax.linen")
    how = {} if convolve is None else {"conv_general_dilated": convolve}

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.relu(nn.Conv(16, (3, 3), strides=2, **how)(x))
            z = nn.relu(nn.Conv(16, (3, 3), feature_group_count=4, **how)(y))
            z = nn.Conv(16, (3, 3), feature_group_count=16, **how)(z)
            y = nn.relu(y + nn.Conv(16, (3, 3), kernel_dilation=2, **how)(z))
            return nn.ConvTranspose(4, (3, 3), strides=(2, 2))(y)

    net = Net()
    return lambda p, x: jnp.mean(net.apply(p, x) ** 2), net.init(jax.random.key(0), IMAGES), IMAGES


def nnx(convolve: Any = None) -> Net:
    nnx = pytest.importorskip("flax.nnx")
    how = {} if convolve is None else {"conv_general_dilated": convolve}

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs, **how)
            self.grouped = nnx.Conv(16, 16, (3, 3), feature_group_count=4, rngs=rngs, **how)
            self.depthwise = nnx.Conv(16, 16, (3, 3), feature_group_count=16, rngs=rngs, **how)
            self.dilated = nnx.Conv(16, 16, (3, 3), kernel_dilation=2, rngs=rngs, **how)
            self.up = nnx.ConvTranspose(16, 4, (3, 3), strides=(2, 2), rngs=rngs)

        def __call__(self, x):
            y = nnx.relu(self.stem(x))
            return self.up(nnx.relu(y + self.dilated(self.depthwise(nnx.relu(self.grouped(y))))))

    definition, state = nnx.split(Net(nnx.Rngs(0)))
    return lambda p, x: jnp.mean(nnx.merge(definition, p)(x) ** 2), state, IMAGES


def equinox() -> Net:
    eqx = pytest.importorskip("equinox")
    keys = iter(jax.random.split(jax.random.key(0), 5))

    class Net(eqx.Module):
        stem: Any
        grouped: Any
        depthwise: Any
        dilated: Any
        up: Any

        def __init__(self):
            self.stem = eqx.nn.Conv2d(8, 16, 3, stride=2, padding=1, key=next(keys))
            self.grouped = eqx.nn.Conv2d(16, 16, 3, padding=1, groups=4, key=next(keys))
            self.depthwise = eqx.nn.Conv2d(16, 16, 3, padding=1, groups=16, key=next(keys))
            self.dilated = eqx.nn.Conv2d(16, 16, 3, padding=2, dilation=2, key=next(keys))
            self.up = eqx.nn.ConvTranspose2d(16, 4, 3, stride=2, padding=1, key=next(keys))

        def __call__(self, x):
            y = jax.nn.relu(self.stem(x))
            return self.up(jax.nn.relu(y + self.dilated(self.depthwise(jax.nn.relu(self.grouped(y))))))

    params, static = eqx.partition(Net(), eqx.is_array)
    images = jnp.moveaxis(IMAGES, -1, 1)
    return lambda p, x: jnp.mean(jax.vmap(eqx.combine(p, static))(x) ** 2), params, images


def haiku() -> Net:
    hk = pytest.importorskip("haiku")

    def net(x):
        y = jax.nn.relu(hk.Conv2D(16, 3, stride=2)(x))
        z = jax.nn.relu(hk.Conv2D(16, 3, feature_group_count=4)(y))
        z = hk.DepthwiseConv2D(1, 3)(z)
        y = jax.nn.relu(y + hk.Conv2D(16, 3, rate=2)(z))
        return hk.Conv2DTranspose(4, 3, stride=2)(y)

    net = hk.without_apply_rng(hk.transform(net))
    return lambda p, x: jnp.mean(net.apply(p, x) ** 2), net.init(jax.random.key(0), IMAGES), IMAGES


def keras(monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "jax":
        pytest.skip("keras was imported with another backend")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = keras.Input((12, 12, 8))
    y = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    z = layers.Conv2D(16, 3, padding="same", groups=4, activation="relu")(y)
    z = layers.DepthwiseConv2D(3, padding="same")(z)
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(16, 3, padding="same", dilation_rate=2)(z)]))
    net = keras.Model(x, layers.Conv2DTranspose(4, 3, strides=2, padding="same")(y))
    params = [each.value for each in net.trainable_variables]
    return lambda p, x: jnp.mean(net.stateless_call(p, [], x)[0] ** 2), params, IMAGES


def step(net: Net) -> tuple[Any, Any]:
    """Loss, gradients and the parameters after one step of descent, of a program that is compiled anew."""
    loss, params, images = net

    def trained(params: Any, images: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(params, images)
        return value, gradients, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)

    return jax.jit(trained)(params, images)


def assert_near(got: Any, right: Any) -> None:
    """Apart by less than rounding makes of five layers of sums of up to 1,000 terms."""
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * scale + 1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["linen", "nnx", "equinox", "haiku", "keras"])
def test_a_training_step(name, monkeypatch):
    net = keras(monkeypatch) if name == "keras" else globals()[name]()
    right = step(net)
    with jaxconv.accelerate() as handle:
        got = step(net)
    assert_near(got, right)
    report = handle.report()
    assert report.left == ()
    maps = {row.which for row in report.taken}
    assert maps == {"conv", "conv_input_vjp", "conv_weight_vjp"}
    # five values, five gradients of kernels, four of layers' inputs; equal ones of a program may count once
    assert sum(row.times for row in report.taken) == 14, report
    assert len(jaxconv.layers(jax.grad(net[0]), *net[1:]).rows) == 14


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["linen", "nnx"])
def test_the_one_line_of_flax(name):
    right = step(globals()[name]())
    assert_near(step(globals()[name](jaxconv.conv_general_dilated)), right)
