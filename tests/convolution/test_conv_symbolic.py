"""Symbolic sizes: an exported convolution and its gradients are right for every size that comes.

Whole numbers, so that every order of adding gives the same bits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxconv import conv, output_shape

pytestmark = pytest.mark.unoptimised

OPTIONS = {
    "padding": {"padding": 1},
    "stride with a remainder": {"padding": 1, "stride": 2},
    "stride and dilation": {"padding": 3, "stride": 3, "dilation": 2},
    "SAME": {"padding": "SAME"},
    "SAME, stride 2": {"padding": "SAME", "stride": 2},
    "SAME_LOWER, stride 2": {"padding": "SAME_LOWER", "stride": 2},
    "CAUSAL": {"padding": "CAUSAL", "dilation": 2},
    "FULL": {"padding": "FULL"},
    "channels last": {"padding": 1, "layout": "channels_last"},
    "groups": {"padding": 1, "groups": 3},
}


def value_and_pull_back(options):
    def f(x, w):
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
        return y, *pull_back(y)

    return jax.jit(f)


@pytest.mark.short("^stride and dilation", "^SAME, stride 2", "last", "groups")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_exported_with_symbolic_batch_and_space(options):
    last = options.get("layout") == "channels_last"
    shape = export.symbolic_shape("b, h, w, 3" if last else "b, 3, h, w")
    kernel = (3, 3, 3, 6) if last else (6, 3 // options.get("groups", 1), 3, 3)
    f = value_and_pull_back(options)
    exported = export.export(f, platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(kernel, jnp.float32)
    )
    random = np.random.default_rng(0)
    for sizes in ((1, 5, 6), (2, 8, 7)):
        b, h, w = sizes
        x = jnp.asarray(random.integers(-3, 4, (b, h, w, 3) if last else (b, 3, h, w)), jnp.float32)
        kernel_array = jnp.asarray(random.integers(-3, 4, kernel), jnp.float32)
        for ours, expected in zip(exported.call(x, kernel_array), f(x, kernel_array), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_valid_with_a_constraint():
    shape = export.symbolic_shape("b, 3, h, w", constraints=["h >= 3", "w >= 3"])
    arguments = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((4, 3, 3, 3), jnp.float32)
    exported = export.export(value_and_pull_back({"stride": 2}))(*arguments)
    y, dx, dw = exported.call(jnp.ones((2, 3, 6, 9)), jnp.ones((4, 3, 3, 3)))
    assert y.shape == (2, 4, 2, 4)
    assert dx.shape == (2, 3, 6, 9)
    assert dw.shape == (4, 3, 3, 3)


def test_output_shape():
    b, h = export.symbolic_shape("b, h")
    assert output_shape((b, 3, h), (8, 3, 3), padding=1) == (b, 8, h)
    assert output_shape((b, 3, h), (8, 3, 3), padding="SAME", stride=2) == (b, 8, -(-h // 2))
    assert str(output_shape((b, 3, h), (8, 3, 3), stride=2, padding=1)[2]) == "floordiv(h - 1, 2) + 1"
