"""The recurrence exported: serialised, with symbolic batch and time, right for every size that comes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from cases import assert_close
from jaxconv import GatedParams, GradientFlow, gated_init, gated_scan, gated_scan_both, gradient_flow

pytestmark = pytest.mark.unoptimised

PLATFORMS = ("cpu", "cuda", "tpu")
CELL = gated_init(jax.random.key(0), 3, 4)
LINEAR = GatedParams(CELL.w_c, None, CELL.w_x)
OPTIONS = {
    "recompute": {},
    "save": {"residuals": "save"},
    "every 3": {"residuals": 3},
    "reverse": {"reverse": True},
    "unroll": {"unroll": 2},
    "by JAX": {"derivative": "jax"},
}


def looks_of(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def exported(f, params, shape, lengths=False):
    """f(params, x) or f(params, x, lengths), written down and read again."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    more = [jax.ShapeDtypeStruct(shape[1:2], jnp.int32)] if lengths else []
    made = export.export(jax.jit(f), platforms=PLATFORMS)(looks_of(params), x, *more)
    return export.deserialize(made.serialize())


def inputs(params, time, batch, lengths=False):
    x = np.random.default_rng(time).standard_normal((time, batch, 3)).astype(np.float32)
    return params, x, *([np.int32([time, 0, 2][:batch])] if lengths else [])


def value_and_gradients(options, params, x, lengths=None):
    run = partial(gated_scan, lengths=lengths, **options)
    values, pull_back = jax.vjp(run, params, x)
    return values, pull_back(values)


@pytest.mark.short("every 3-recurrent|recompute-linear")
@pytest.mark.parametrize("params", [CELL, LINEAR], ids=["recurrent", "linear"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_symbolic_time_and_batch(options, params):
    f = partial(value_and_gradients, options)
    steps = options.get("residuals") if isinstance(options.get("residuals"), int) else 1
    shape = export.symbolic_shape(f"{steps}*t, b, 3")
    reloaded = exported(f, params, shape, lengths=True)
    for time, batch in ((2 * steps, 1), (9, 3)):
        at = inputs(params, time, batch, lengths=True)
        assert_close(reloaded.call(*at), f(*at))


@pytest.mark.parametrize("sizes", ["7, b, 3", "t, 2, 3", "t, b, 3", "7, 2, 3"])
def test_some_sizes_symbolic(sizes):
    f = partial(value_and_gradients, {})
    at = inputs(CELL, 7, 2)
    assert_close(exported(f, CELL, export.symbolic_shape(sizes)).call(*at), f(*at))


@pytest.mark.parametrize("name", ["both directions", "flow"])
def test_what_is_made_of_it(name):
    f = {"both directions": lambda p, x: gated_scan_both(p, p, x), "flow": gradient_flow}[name]
    reloaded = exported(f, CELL, export.symbolic_shape("t, b, 3"))
    at = inputs(CELL, 6, 2)
    found, right = reloaded.call(*at), f(*at)
    assert_close(found, right)
    assert isinstance(found, GradientFlow) == (name == "flow")


def test_steps_that_may_not_divide_a_symbolic_time():
    time, batch = export.symbolic_shape("t, b")
    with pytest.raises(ValueError, match="gated_scan: `residuals`") as error:
        exported(partial(gated_scan, residuals=3), CELL, (time, batch, 3))
    assert str(error.value) == (
        "gated_scan: `residuals` must divide a symbolic time, as it does that of 3*t steps, or be a policy's name; "
        "got residuals=3, x with t steps."
    )
