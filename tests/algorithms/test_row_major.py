"""What asks for the order of an array in memory changes no number, goes through `vmap`, and stays out of exports."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import export

from cases import assert_same, integers
from jaxconv import conv
from jaxconv._jax.row_major import row_major, transposed

CALLS = {  # x, w, options; channels last, so that each of these moves some array
    "gemm": ((2, 9, 8, 6), (3, 2, 3, 8), {"groups": 2, "stride": 2, "padding": 1}),
    "direct": ((2, 9, 8, 6), (3, 2, 3, 8), {"groups": 2, "stride": 2, "padding": 1}),
    "patches": ((2, 9, 8, 3), (2, 2, 3, 4), {"stride": 2}),
}


def all_three(**how):
    """The value and both gradients, by one algorithm where it has the map."""

    def f(x, w):
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **how), x, w)
        return y, *pull_back(y)

    return f


@pytest.mark.parametrize("lowering", CALLS)
def test_a_program_with_moved_arrays_is_exported(lowering):
    """JAX refuses to serialise the call that asks for an order."""
    *shapes, options = CALLS[lowering]
    x, w = integers(0, *shapes)
    f = jax.jit(all_three(**options, layout="channels_last", lowering=lowering))
    exported = export.export(f, platforms=("cpu", "cuda"))(x, w)
    reloaded = export.deserialize(exported.serialize())
    assert_same(tuple(reloaded.call(x, w)), f(x, w))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_moved_axes_under_every_transform(axis):
    (x,) = integers(0, (3, 4, 5))
    f = lambda x: row_major(transposed(x, (1, 0)) * 2)  # noqa: E731
    right = np.stack([2 * part.T for part in np.moveaxis(np.asarray(x), axis, 0)])
    assert_same(jax.vmap(f, axis)(x), right)
    assert_same(jax.jit(jax.vmap(f, axis))(x), right)
    assert_same(jax.jit(jax.vmap(f, axis, out_axes=2))(x), np.moveaxis(right, 0, 2))
    assert jax.eval_shape(jax.vmap(f, axis), x).shape == right.shape


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("lowering", ["gemm", "direct", "canonical"])
def test_with_numbers_of_64_bits(lowering, groups, layout):
    """Where a Python integer is one of 64 bits, too."""
    x, w = integers(0, (2, 4, 9, 8), (6, 4 // groups, 3, 3))
    if layout == "channels_last":
        x, w = x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)
    with jax.enable_x64(True):
        x, w = (each.astype("float64") for each in (x, w))
        made, right = (all_three(groups=groups, layout=layout, lowering=each)(x, w) for each in (lowering, "reference"))
        assert_same(made, right)
