"""JAX's explicit sharding on eight devices: how results and cotangents of a convolution lie; their numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxconv import conv
from many_devices import mesh_of, put

pytestmark = pytest.mark.unoptimised

IMAGE, DENSE, DEPTHWISE = (8, 16, 16, 10), (16, 16, 3, 3), {"groups": 16, "padding": 1}

CASES = {  # x's shape, w's shape, options, how x, w and y lie
    "batch": (IMAGE, DENSE, {"padding": 1}, P("i"), P(), P("i")),
    "batch, stride": (IMAGE, DENSE, {"padding": 1, "stride": 2}, P("i"), P(), P("i")),
    "batch, grouped": (IMAGE, (16, 4, 3, 3), {"groups": 4}, P("i"), P(), P("i")),
    "batch, depthwise": (IMAGE, (16, 1, 3, 3), DEPTHWISE, P("i"), P(), P("i")),
    "output channels": (IMAGE, DENSE, {"dilation": 2}, P(), P("i"), P(None, "i")),
    "rows": (IMAGE, DENSE, {"padding": 1}, P(None, None, "i"), P(), P(None, None, "i")),
    "rows, depthwise": (IMAGE, (16, 1, 3, 3), DEPTHWISE, P(None, None, "i"), P(), P(None, None, "i")),
    "input channels": (IMAGE, DENSE, {"padding": 1}, P(None, "i"), P(), P()),
    "input channels of both": (IMAGE, DENSE, {"padding": 1}, P(None, "i"), P(None, "i"), P()),
    "channels, grouped": (IMAGE, (16, 2, 3, 3), {"groups": 8}, P(None, "i"), P("i"), P(None, "i")),
    "channels, depthwise": (IMAGE, (16, 1, 3, 3), DEPTHWISE, P(None, "i"), P("i"), P(None, "i")),
    "rows that cannot be cut": (IMAGE, DENSE, {"stride": 2}, P(None, None, "i"), P(), P()),
}


REFUSED_BY_JAX = {  # cases that lax itself refuses in explicit mode, with derivative="jax", and with what
    "output channels": "out_sharding",
    "input channels": "out_sharding",
    "input channels of both": "out_sharding",
    "channels, grouped": "out_sharding",
    "channels, depthwise": "out_sharding",
    "rows that cannot be cut": "not divisible by mesh axes",
}


def whole_numbers(seed, shape):
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def spec_of(array):
    return tuple(jax.typeof(array).sharding.spec)


def there(case, *arrays):
    """A mesh, and x, w and the cotangent of y on it, as the case says."""
    mesh = mesh_of(8, kind=AxisType.Explicit)
    return mesh, [put(each, mesh, lies) for each, lies in zip(arrays, case[3:], strict=True)]


def assert_same_numbers(made, right):
    """Whole numbers: no rounding."""
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(right), strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()


@pytest.mark.parametrize("derivative", ["hand", "any", "jax"])
@pytest.mark.parametrize("name", CASES)
def test_results_and_cotangents(name, derivative):
    x_shape, w_shape, options, *lies = CASES[name]
    x, w = whole_numbers(0, x_shape), whole_numbers(1, w_shape)
    y, pull = jax.vjp(lambda x, w: conv(x, w, **options), jnp.asarray(x), jnp.asarray(w))
    g = whole_numbers(2, y.shape)
    mesh, arrays = there(CASES[name], x, w, g)

    def both(x, w, g):
        y, pull = jax.vjp(lambda x, w: conv(x, w, **options, derivative=derivative), x, w)
        return y, *pull(g)

    with jax.set_mesh(mesh):
        if derivative == "jax" and name in REFUSED_BY_JAX:
            with pytest.raises(Exception, match=REFUSED_BY_JAX[name]):
                jax.jit(both)(*arrays)
            return
        made = jax.jit(both)(*arrays)
        for one, how in zip(made, (lies[2], *lies[:2]), strict=True):
            assert spec_of(one) == (*how, *(None,) * (one.ndim - len(how)))
        assert_same_numbers(made, (y, *pull(jnp.asarray(g))))


@pytest.mark.parametrize("derivative", ["hand", "any"])
@pytest.mark.parametrize("name", CASES)
def test_a_bias_and_gradients_example_by_example(name, derivative):
    """The bias lies as the output channels; one gradient for each example, lying as the examples do."""
    x_shape, w_shape, options, x_lies, w_lies, _ = CASES[name]
    x, w, b = whole_numbers(0, x_shape), whole_numbers(1, w_shape), whole_numbers(2, w_shape[:1])
    b_lies = P(*w_lies[:1])

    def each(x, w, b):
        loss = lambda w, b, x: (conv(x, w, b, **options, derivative=derivative) ** 2).sum()  # noqa: E731
        summed = lambda w, b: loss(w, b, x)  # noqa: E731
        return jax.vmap(jax.grad(loss), (None, None, 0))(w, b, x), jax.grad(summed, (0, 1))(w, b)

    right = each(*map(jnp.asarray, (x, w, b)))
    mesh, arrays = there((None, None, None, x_lies, w_lies, b_lies), x, w, b)
    with jax.set_mesh(mesh):
        examples, (dw, db) = jax.jit(each)(*arrays)
        assert spec_of(examples)[0] == next(iter(x_lies), None)
        assert spec_of(db) == (*b_lies, *(None,) * (1 - len(b_lies)))
        assert_same_numbers((examples, (dw, db)), right)


@pytest.mark.parametrize("name", CASES)
def test_forward_mode_and_transposition(name):
    x_shape, w_shape, options, *_ = CASES[name]
    x, w = whole_numbers(0, x_shape), whole_numbers(1, w_shape)
    f = lambda x, w: conv(x, w, **options, derivative="any")  # noqa: E731
    g = whole_numbers(2, jax.eval_shape(f, x, w).shape)

    def several(x, w, g):
        second = jax.jvp(jax.grad(lambda x, w: (f(x, w) * g).sum(), (0, 1)), (x, w), (x, w))
        return jax.jvp(f, (x, w), (x, w)), second, jax.linear_transpose(lambda x: f(x, w), x)(g)

    right = several(*map(jnp.asarray, (x, w, g)))
    mesh, arrays = there(CASES[name], x, w, g)
    with jax.set_mesh(mesh):
        assert_same_numbers(jax.jit(several)(*arrays), right)


@pytest.mark.parametrize("derivative", ["hand", "any"])
def test_one_mesh_axis_twice_is_an_error(derivative):
    mesh = mesh_of(8, kind=AxisType.Explicit)
    with jax.set_mesh(mesh):
        x, w = put(whole_numbers(0, IMAGE), mesh, P("i")), put(whole_numbers(1, DENSE), mesh, P("i"))
        with pytest.raises(ValueError, match=r"conv: the result must not be split over one mesh axis twice.*'i'"):
            conv(x, w, derivative=derivative)
