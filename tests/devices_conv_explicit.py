"""JAX's explicit sharding on eight devices: how results and cotangents of a convolution lie; their numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from many_devices import mesh_of, put

from jaxconv import conv

IMAGE, DENSE, DEPTHWISE = (8, 16, 16, 10), (16, 16, 3, 3), {"groups": 16, "padding": 1}

CASES = {  # x's shape, w's shape, options, how x, w and y lie
    "batch": (IMAGE, DENSE, {"padding": 1}, P("i"), P(), P("i")),
    "batch, stride": (IMAGE, DENSE, {"padding": 1, "stride": 2}, P("i"), P(), P("i")),
    "batch, grouped": (IMAGE, (16, 4, 3, 3), {"groups": 4}, P("i"), P(), P("i")),
    "batch, depthwise": (IMAGE, (16, 1, 3, 3), DEPTHWISE, P("i"), P(), P("i")),
    "output channels": (IMAGE, DENSE, {"dilation": 2}, P(), P("i"), P(None, "i")),
    "rows": (IMAGE, DENSE, {"padding": 1}, P(None, None, "i"), P(), P(None, None, "i")),
    "rows, depthwise": (IMAGE, (16, 1, 3, 3), DEPTHWISE, P(None, None, "i"), P(), P(None, None, "i")),
    "rows that cannot be cut": (IMAGE, DENSE, {"stride": 2}, P(None, None, "i"), P(), P()),
}


def whole_numbers(seed, shape):
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def spec_of(array):
    return tuple(jax.typeof(array).sharding.spec)


@pytest.mark.parametrize("name", CASES)
def test_results_and_cotangents(name):
    x_shape, w_shape, options, x_lies, w_lies, y_lies = CASES[name]
    x, w = whole_numbers(0, x_shape), whole_numbers(1, w_shape)
    y, pull = jax.vjp(lambda x, w: conv(x, w, **options), jnp.asarray(x), jnp.asarray(w))
    g = whole_numbers(2, y.shape)
    mesh = mesh_of(8, kind=AxisType.Explicit)
    with jax.set_mesh(mesh):
        x_there, w_there, g_there = put(x, mesh, x_lies), put(w, mesh, w_lies), put(g, mesh, y_lies)

        def both(x, w, g):
            y, pull = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
            return y, *pull(g)

        made = jax.jit(both)(x_there, w_there, g_there)
        for one, lies in zip(made, (y_lies, x_lies, w_lies), strict=True):
            assert spec_of(one) == (*lies, *(None,) * (one.ndim - len(lies)))
        for one, right in zip(made, (y, *pull(jnp.asarray(g))), strict=True):
            assert (np.asarray(one) == np.asarray(right)).all()  # whole numbers: no rounding


def test_one_mesh_axis_twice_is_an_error():
    mesh = mesh_of(8, kind=AxisType.Explicit)
    with jax.set_mesh(mesh):
        x, w = put(whole_numbers(0, IMAGE), mesh, P("i")), put(whole_numbers(1, DENSE), mesh, P("i"))
        with pytest.raises(ValueError, match=r"conv: the result must not be split over one mesh axis twice.*'i'"):
            conv(x, w)
