"""The three maps in blocks on eight devices, where nothing is split: the bits of lax's form, in whole numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import oracles
from cases import FEW, Case, assert_same, by_id, integers
from jaxconv import conv
from many_devices import collectives, mesh_of, put

pytestmark = pytest.mark.unoptimised

CASES = (
    *FEW[::3],
    Case("rows-valid", (2, 3, 16), (4, 3, 3), {}),
    Case("rows-stride", (2, 3, 32), (4, 3, 5), {"stride": 2, "padding": 2}),
    Case("stride-over-a-block", (2, 3, 16), (4, 3, 3), {"stride": 5, "padding": (2,)}),
    Case("halo-over-blocks", (2, 3, 8), (4, 3, 5), {"padding": 6, "dilation": 3}),
    Case("cut", (2, 3, 24), (4, 3, 3), {"padding": [(-3, 9)]}),
    Case("last-groups", (2, 16, 8, 4), (3, 2, 2, 6), {"layout": "channels_last", "groups": 2, "padding": "SAME"}),
)


def triple(case: Case, lowering: str) -> Any:
    @jax.jit
    def all_three(x: Any, w: Any, g: Any) -> Any:
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **case.options, lowering=lowering), x, w)
        return y, *pull_back(g)

    return all_three


@pytest.mark.short("stride-over|halo|cut|groups")
@pytest.mark.parametrize("case", **by_id(CASES))
def test_as_lax(case: Case) -> None:
    inputs = integers(1, case.x_shape, case.w_shape, case.y_shape)
    assert_same(triple(case, "gemm")(*inputs), triple(case, "reference")(*inputs))


@pytest.mark.short("5")
@pytest.mark.parametrize("k", [3, 5, 9])
def test_a_wide_kernel_sends_no_more(k: int) -> None:
    """Two permutes for each of y, dx and dw, however many taps there are, and one sum."""
    x, w, g = jnp.ones((2, 4, 64, 6)), jnp.ones((24, 2, k, k)), jnp.ones((2, 24, 64, 6))
    case = Case("wide", x.shape, w.shape, {"padding": k // 2, "groups": 2})
    mesh, rows = mesh_of(8), P(None, None, "i")
    placed = put(x, mesh, rows), put(w, mesh, P()), put(g, mesh, rows)
    found = collectives(triple(case, "auto").lower(*placed).compile())
    assert found == {"collective-permute": 6, "all-reduce": 1}


def test_whole_groups_over_the_devices_send_nothing() -> None:
    """Input and output channels over as many devices as groups: lax's form gathers four times."""
    x, w, g = jnp.ones((2, 16, 8, 6)), jnp.ones((32, 2, 3, 3)), jnp.ones((2, 32, 8, 6))
    case = Case("groups", x.shape, w.shape, {"padding": 1, "groups": 8})
    mesh = mesh_of(8)
    placed = put(x, mesh, P(None, "i")), put(w, mesh, P("i")), put(g, mesh, P(None, "i"))
    assert collectives(triple(case, "auto").lower(*placed).compile()) == {}


@pytest.mark.short("stride-over|halo")
@pytest.mark.parametrize("case", **by_id(CASES))
def test_a_number_that_no_sum_has_stays_out(case: Case) -> None:
    """NaN in one position of x: y and dw are NaN where the loops' are."""
    x, w, g = integers(1, case.x_shape, case.w_shape, case.y_shape)
    position = (0, ..., *[-1] * case.axes) if case.channels_first else (0, *[-1] * case.axes, slice(None))
    x = x.at[position].set(jnp.nan)
    y, _, dw = triple(case, "gemm")(x, w, g)
    assert (np.isnan(y) == np.isnan(oracles.conv(x, w, **case.options))).all()
    right = oracles.conv_weight_vjp(x, g, kernel_size=case.kernel_size, **case.options)
    assert (np.isnan(dw) == np.isnan(right)).all()
