"""What must hold for any geometry: Hypothesis draws them.

Data are small whole numbers, so that the sums on both sides of an identity are exact and `==` is the test.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array, lax

import oracles
from cases import Case, arrays, assert_right, expected, integers
from drawn import axes, convolutions
from jaxconv import conv, conv_input_vjp, conv_weight_vjp
from jaxconv.sizes.arithmetic import input_sizes, output_size, transpose_output_size
from jaxconv.sizes.shapes import output_shape

pytestmark = pytest.mark.unoptimised

NAMES = ("VALID", "SAME", "SAME_LOWER", "CAUSAL", "FULL")


@given(convolutions(), st.integers(0, 2**32 - 1))
def test_three_maps_of_one_form(drawn: tuple, seed: int) -> None:
    """⟨conv(x, w), g⟩ = ⟨x, conv_input_vjp(g, w)⟩ = ⟨w, conv_weight_vjp(x, g)⟩, and the value is the oracle's."""
    x_shape, w_shape, options = drawn
    shape = output_shape(x_shape, w_shape, **options)
    channels_last = options["layout"] == "channels_last"
    size = {"input_size": x_shape[1:-1] if channels_last else x_shape[2:]}
    kernel = {"kernel_size": w_shape[:-2] if channels_last else w_shape[2:]}

    @jax.jit
    def maps(x: Array, w: Array, g: Array) -> tuple[Array, Array, Array]:
        return (
            conv(x, w, **options),
            conv_input_vjp(g, w, **size, **options),
            conv_weight_vjp(x, g, **kernel, **options),
        )

    x, w, g = integers(seed, x_shape, w_shape, shape)
    y, dx, dw = maps(x, w, g)
    assert (y.shape, dx.shape, dw.shape) == (shape, x_shape, w_shape)
    assert jnp.vdot(y, g) == jnp.vdot(x, dx) == jnp.vdot(w, dw)
    assert (y == oracles.conv(x, w, **options)).all()


@given(
    convolutions(),
    st.sampled_from([None, "SAME", "SAME_LOWER", "CAUSAL", "FULL"]),
    st.lists(st.integers(1, 2), max_size=2),
    st.sampled_from([jnp.float32, jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64]),
)
def test_right_within_the_error_model(drawn: tuple, name: str | None, batch: list[int], dtype: Any) -> None:
    """Value and both gradients are the oracle's, in any dtype and layout and with any batch axes."""
    x_shape, w_shape, options = drawn
    options = {**options, "padding": name or options["padding"]}
    case = Case(f"{drawn} {name} {batch}", (*batch, *x_shape[1:]), w_shape, options)
    inputs = arrays(case, dtype)
    right = expected(case, inputs, ("y", "dx", "dw"))

    @jax.jit
    def maps(x: Array, w: Array, b: Array, g: Array) -> dict[str, Array]:
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, b, **options), x, w)
        return dict(zip(("y", "dx", "dw"), (y, *pull_back(g)), strict=True))

    for key, value in maps(*inputs[:4]).items():
        assert_right(key, value, right[key], dtype)


@given(convolutions(), st.sampled_from([None, "VALID", "SAME", "SAME_LOWER"]))
def test_shapes_are_lax_shapes(drawn: tuple, name: str | None) -> None:
    """output_shape is the shape that conv returns and that lax returns; lax has its own reading of the names."""
    x_shape, w_shape, options = drawn
    options = {**options, "padding": name or options["padding"]}
    last = options["layout"] == "channels_last"
    n, k = (x_shape[1:-1], w_shape[:-2]) if last else (x_shape[2:], w_shape[2:])
    if name == "VALID":  # drawn to fit with its padding, which is gone
        n = tuple(n_ + d * k_ for n_, k_, d in zip(n, k, options["dilation"], strict=True))
        x_shape = (x_shape[0], *n, x_shape[-1]) if last else (*x_shape[:2], *n)
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x_shape, w_shape))
    space = "HW"[: len(n)]
    array, kernel = (f"N{space}C", f"{space}IO") if last else (f"NC{space}", f"OI{space}")
    by_lax = jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(
            x,
            w,
            options["stride"],
            options["padding"],
            rhs_dilation=options["dilation"],
            feature_group_count=options["groups"],
            dimension_numbers=(array, kernel, array),
        ),
        x,
        w,
    )
    ours = jax.eval_shape(lambda x, w: conv(x, w, **options), x, w)
    assert output_shape(x_shape, w_shape, **options) == ours.shape == by_lax.shape


@given(axes(), st.sampled_from([None, *NAMES]))
def test_sizes_and_their_inverse(axis: dict[str, Any], name: str | None) -> None:
    """n ∈ input_sizes(output_size(n)), every one of these gives the same output, and the sizes beside them do not."""
    n, k = axis.pop("size"), axis.pop("kernel")
    if name == "VALID":
        n += axis["dilation"] * k
    options = {**axis, "padding": name or axis["padding"]}
    m = output_size(n, k, **options)
    possible = input_sizes(m, k, **options)
    assert n in possible
    assert {output_size(each, k, **options) for each in possible} == {m}
    assert output_size(possible[-1] + 1, k, **options) == m + 1
    if name not in ("SAME", "SAME_LOWER"):
        extra = n - possible[-1] + options["stride"] - 1
        assert transpose_output_size(m, k, output_padding=extra, **options) == n
