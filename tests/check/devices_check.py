"""`check_vjp` on eight devices, run by test_many_devices.py: rules right on one device and wrong on several."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from jaxconv import check_vjp, conv
from jaxconv.check.sharding import splits


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def product(x: Any, w: Any) -> Any:
    return x @ w


def ruled(weight_gradient: Any) -> Any:
    f = jax.custom_vjp(product)
    f.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, g: (g @ kept[1].T, weight_gradient(kept[0], g)))
    return f


def summed(over: bool) -> Any:
    """xᵀ g, every device its rows; without the sum over devices each has a part for the whole."""

    @custom_partitioning
    def f(x: Any, g: Any) -> Any:
        return x.T @ g

    def partition(mesh: Any, arguments: Any, result: Any) -> Any:
        names = arguments[0].sharding.spec[0] if arguments[0].sharding.spec else None
        whole = NamedSharding(mesh, PartitionSpec())
        rows = NamedSharding(mesh, PartitionSpec(names))

        def local(x: Any, g: Any) -> Any:
            part = x.T @ g
            return jax.lax.psum(part, names) if over and names is not None else part

        return mesh, local, whole, (rows, rows)

    f.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda mesh, arguments, result: NamedSharding(mesh, PartitionSpec()),
        sharding_rule="b i, b j -> i j",
    )
    return f


def local_mean(x: Any, g: Any) -> Any:
    """Scaled by the rows that one device holds in place of all."""
    rows = x.shape[0] if isinstance(x, jax.core.Tracer) else x.addressable_data(0).shape[0]
    return (x.T @ g) * (rows / x.shape[0])


def sharding(f: Any, *args: Any) -> Any:
    (row,) = [row for row in check_vjp(f, *args, directions=1).transforms if row.name == "sharding"]
    return row


ARGS = normal(16, 3), normal(3, 5)


def test_a_right_rule_passes() -> None:
    row = sharding(ruled(lambda x, g: x.T @ g), *ARGS)
    assert row.passed
    assert "the first axis over 8 devices" in row.detail
    row = sharding(ruled(summed(over=True)), *ARGS)
    assert row.passed, row.detail


@pytest.mark.short("psum")
@pytest.mark.parametrize("spoilt", [summed(over=False), local_mean], ids=["no psum", "device-local shape"])
def test_a_rule_wrong_only_when_sharded_is_found(spoilt: Any) -> None:
    rows = {row.name: row for row in check_vjp(ruled(spoilt), *ARGS, reference=product, directions=1).transforms}
    assert not rows.pop("sharding").passed
    assert all(row.passed for row in rows.values()), "on one device it is right"


@pytest.mark.slow
def test_ours_passes() -> None:
    row = sharding(partial(conv, padding=1), normal(8, 2, 6), normal(4, 2, 3))
    assert row.passed, row.detail


def test_axes_that_eight_devices_do_not_divide() -> None:
    assert splits([(6, 10)], 8) == [(0, 6), (-1, 5)]
    assert splits([(7,), ()], 8) == [(0, 7)]
    assert splits([(1, 1), ()], 8) == []
    row = sharding(jnp.sin, jnp.ones((1, 1)))
    assert row.passed
    assert "no axis can be split" in row.detail
