"""Costs: every product counted one by one, and the bytes of the arrays that the maps read and write."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import CASES, Case, by_id
from jaxconv.sizes.cost import ConvCost, OperationCost, conv_cost
from oracles import Windows

OPTIONS = {"stride": 1, "padding": 0, "dilation": 1}


@pytest.mark.parametrize("case", **by_id(CASES))
def test_cases_product_by_product(case: Case) -> None:
    """Every case of the table: products met in the loops of the oracle, bytes of the arrays of the case."""
    options = {name: case.options.get(name, default) for name, default in OPTIONS.items()}
    windows = Windows.of(case.input_size, case.kernel_size, **options)
    pairs = prod(case.x_shape[: -case.axes - 1]) * prod(case.w_shape[:2] if case.channels_first else case.w_shape[-2:])
    real = pairs * sum(1 for _ in windows.meetings())
    every = pairs * prod(windows.k) * prod(windows.m)
    x, w, y = (4 * prod(shape) for shape in (case.x_shape, case.w_shape, case.y_shape))
    assert conv_cost(case.x_shape, case.w_shape, **case.options) == (
        (real, every, x + w, y),
        (real, every, y + w, x),
        (real, every, x + y, w),
    )


def test_one_axis_against_counting() -> None:
    """All small windows, also wider than the input is, and with more taps than outputs and the reverse."""
    for n, k, s, d, lo, hi in product(range(1, 6), range(1, 5), range(1, 4), range(1, 4), range(-2, 5), range(-2, 5)):
        windows = Windows.of((n,), (k,), s, [(lo, hi)], d)
        if windows.m[0] >= 1:
            value = conv_cost((1, n), (1, 1, k), stride=s, padding=[(lo, hi)], dilation=d).value
            assert value[:2] == (sum(1 for _ in windows.meetings()), k * windows.m[0])


def test_three_maps_meet_the_same_products() -> None:
    """The support of the trilinear form, entry by entry, from its derivatives: ones in, counts out."""
    options = {"stride": (2, 1), "padding": [(1, 2), (-1, 0)], "dilation": (1, 2), "groups": 2}
    x, w = np.ones((3, 4, 5, 6)), np.ones((6, 2, 3, 2))
    y = jax.jit(lambda x, w: convolve(x, w, options))(x, w)
    pull = jax.jit(lambda x, w: jax.vjp(lambda x, w: convolve(x, w, options), x, w)[1](jnp.ones_like(y)))(x, w)
    cost = conv_cost(x.shape, w.shape, **options)
    sums = [int(jnp.sum(count)) for count in (y, *pull)]
    assert sums == [operation.multiply_adds for operation in cost]


def convolve(x: Any, w: Any, options: dict[str, Any]) -> jax.Array:
    """The convolution of JAX itself, in its own words."""
    return jax.lax.conv_general_dilated(
        x, w, options["stride"], options["padding"], rhs_dilation=options["dilation"],
        feature_group_count=options["groups"],
    )  # fmt: skip


def test_examples() -> None:
    resnet_stem = conv_cost((32, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3)
    assert resnet_stem.value.multiply_adds_with_padding == 32 * 118_013_952  # the 118 MMac of the usual tables
    along = 112 * 7 - (3 + 1) - (2 + 0)  # the first two windows lack 3 and 1 inputs, the last one 2
    assert resnet_stem.value.multiply_adds == 32 * 64 * 3 * along**2
    depthwise = conv_cost((96, 56, 56), (96, 1, 3, 3), padding=1, groups=96)
    assert depthwise.input_vjp.multiply_adds == 96 * (56 * 3 - 2) ** 2
    assert conv_cost((0, 3, 8), (4, 3, 3)) == ((0, 0, 144, 0), (0, 0, 144, 0), (0, 0, 0, 144))


def test_long_kernels_cost_no_time() -> None:
    n = 10**5
    assert conv_cost((1, n), (1, 1, n), padding="CAUSAL").value[:2] == (n * (n + 1) // 2, n * n)
    assert conv_cost((1, n**3), (1, 1, n**3 - 1)).value.multiply_adds == 2 * (n**3 - 1)


@pytest.mark.parametrize(
    ("dtype", "item"),
    [
        ("bfloat16", 2),
        ("float16", 2),
        ("float32", 4),
        ("float64", 8),
        ("complex64", 8),
        ("complex128", 16),
        (jnp.bfloat16, 2),
        (jnp.dtype("bfloat16"), 2),
        (np.float64, 8),
        (np.dtype("complex64"), 8),
    ],
)
def test_dtypes(dtype: Any, item: int) -> None:
    assert conv_cost((2, 5), (3, 2, 3), dtype=dtype) == ConvCost(
        OperationCost(54, 54, item * (10 + 18), item * 9),
        OperationCost(54, 54, item * (9 + 18), item * 10),
        OperationCost(54, 54, item * (10 + 9), item * 18),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: conv_cost((8, 32), (4, 8, 3), groups=3),
            ValueError,
            "conv_cost: `groups` must divide the input channels; got groups=3, channels=8 "
            "(x_shape=(8, 32), w_shape=(4, 8, 3)).",
        ),
        (
            lambda: conv_cost((8, 2), (4, 8, 3)),
            ValueError,
            "conv_cost: `kernel` must fit into the padded input: a window of 3 needs at least 3 positions; got 2 on "
            "spatial axis 0 (size=2, padding=(0, 0), kernel=3, dilation=1): raise padding by 1 or use a kernel ≤ 2.",
        ),
        (
            lambda: conv_cost((3, 8), (4, 3)),
            ValueError,
            "conv_cost: `w_shape` must have at least one spatial axis, as (out, in/groups, *kernel); got rank 2, "
            "shape (4, 3).",
        ),
        (
            lambda: conv_cost(8, (4, 3, 3)),
            TypeError,
            "conv_cost: `x_shape` must be a sequence of integers; got x_shape=8.",
        ),
        (
            lambda: conv_cost((3, 8), (4, 3, 3), layout="channel_last"),  # type: ignore[arg-type]
            ValueError,
            "conv_cost: `layout` must be one of 'channels_first', 'channels_last'; got layout='channel_last': did you "
            "mean 'channels_last'?",
        ),
        (
            lambda: conv_cost((3, 8), (4, 3, 3), dtype="int8"),
            ValueError,
            "conv_cost: `dtype` must be one of 'bfloat16', 'float16', 'float32', 'float64', 'complex64', 'complex128'; "
            "got dtype='int8'.",
        ),
        (
            lambda: conv_cost((3, 8), (4, 3, 3), dtype=None),
            TypeError,
            "conv_cost: `dtype` must be one of 'bfloat16', 'float16', 'float32', 'float64', 'complex64', 'complex128'; "
            "got dtype=None.",
        ),
        (
            lambda: conv_cost((3, 8), (4, 3, 3), dtype=4),
            TypeError,
            "conv_cost: `dtype` must be one of 'bfloat16', 'float16', 'float32', 'float64', 'complex64', 'complex128'; "
            "got dtype=4.",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_symbolic_sizes_have_no_count() -> None:
    (batch,) = jax.export.symbolic_shape("batch")
    with pytest.raises(TypeError, match=r"^conv_cost: `x_shape\[0\]` must be an integer; got x_shape\[0\]="):
        conv_cost((batch, 3, 8), (4, 3, 3))
