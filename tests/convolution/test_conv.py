"""Every case: value, gradients and gradients of gradients, against the float64 oracle and against JAX's own rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import oracles
from cases import (
    CASES,
    FEW,
    LOWERINGS,
    PADDED,
    Case,
    arrays,
    assert_right,
    assert_same,
    by_id,
    computed,
    expected,
    integers,
)
from jaxconv import conv, conv_input_vjp, conv_weight_vjp
from oracles import Exact, exact

pytestmark = pytest.mark.unoptimised


def assert_all_right(case: Case, dtype: Any, **how: Any) -> None:
    inputs = arrays(case, dtype)
    right = expected(case, inputs)
    by_hand, by_jax = computed(case, inputs, **how)
    assert by_hand.keys() == right.keys()
    for name, value in by_hand.items():
        assert_right(name, value, right[name], dtype)
    for name, value in by_jax.items():
        assert_right(f"{name} by JAX", value, right[name], dtype)


@pytest.mark.short(*(f"^{case.id}-gemm" for case in FEW), *(f"^{case.id}-" for case in FEW[::5]), "remainder")
@pytest.mark.parametrize("lowering", LOWERINGS[1:])
@pytest.mark.parametrize("case", **by_id(CASES))
def test_value_gradients_and_second_order(case: Case, lowering: str) -> None:
    """JAX's derivatives once: they are the same beside every form."""
    assert_all_right(case, jnp.float32, lowering=lowering, by_jax_too=lowering == "reference")


@pytest.mark.short("1d-worked-exercise", "depthwise-multiplier", "2d-same")
@pytest.mark.parametrize("case", **by_id(FEW[::2]))
def test_bfloat16(case: Case) -> None:
    assert_all_right(case, jnp.bfloat16)


@pytest.mark.short("worked-exercise|groups-last")
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.complex64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", **by_id(FEW[::3]))
def test_other_dtypes(case: Case, dtype: Any) -> None:
    assert_all_right(case, dtype)


@pytest.mark.short("1d-last")
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128], ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", **by_id(FEW[1::5]))
def test_double_precision(case: Case, dtype: Any) -> None:
    with jax.enable_x64(True):
        assert_all_right(case, dtype)


@pytest.mark.short("worked-exercise|dilation-over-input|2d")
@pytest.mark.parametrize("lowering", LOWERINGS[1:])
@pytest.mark.parametrize("case", **by_id(FEW[::3]))
def test_public_gradients_are_the_gradients(case: Case, lowering: str) -> None:
    """The two maps called by name, on whole numbers, where every order of adding gives the same bits."""
    x, w, g = integers(0, case.x_shape, case.w_shape, case.y_shape)
    options = {**case.options, "lowering": lowering}
    dx = conv_input_vjp(g, w, input_size=case.input_size, **options)
    dw = conv_weight_vjp(x, g, kernel_size=case.kernel_size, **options)
    assert_same((dx, dw), jax.vjp(lambda x, w: conv(x, w, **options), x, w)[1](g))


@pytest.mark.parametrize(("dtype", "much"), [(jnp.bfloat16, 256), (jnp.float16, 2048)], ids=["bfloat16", "float16"])
def test_half_precision_accumulates_in_single(dtype: Any, much: int) -> None:
    """Much amid 64 ones: to much, half precision adds ones in vain, from whichever end it begins."""
    some = jnp.ones(65, dtype).at[32].set(much)
    ones = jnp.ones(65, dtype)
    right = jnp.full((1, 1, 1), much + 64, dtype)
    assert right[0, 0, 0] == much + 64
    assert_same(conv(some[None, None], ones[None, None]), right)
    assert_same(conv(ones[None, None], some[None, None]), right)
    _, pull_back = jax.vjp(lambda b: conv(ones[None, None], ones[None, None, :1], b), jnp.zeros(1, dtype))
    assert_same(pull_back(some[None, None])[0], right[0, 0])
    assert_same(conv_weight_vjp(ones[None, None], some[None, None], kernel_size=1), right)
    assert_same(conv_input_vjp(ones[None, :, None], some[:, None, None], input_size=1), right)


def test_numpy_arrays_are_arrays() -> None:
    x, w = integers(0, (2, 5), (1, 2, 3))
    assert_same(conv(np.asarray(x), np.asarray(w)), conv(x, w))


# ------------------------------------------------------------------------------------ padding that is not zeros

MODES = {"reflect": "reflect", "edge": "edge", "circular": "wrap"}  # ours: NumPy's


def padding_matrices(case: Case, mode: str) -> list[np.ndarray]:
    """For each spatial axis the matrix that cuts off and then pads: np.pad of the identity, (padded size, size)."""
    windows = oracles.Windows.of(
        case.input_size,
        case.kernel_size,
        case.options.get("stride", 1),
        case.options["padding"],
        case.options.get("dilation", 1),
    )
    matrices = []
    for n, lo, hi in zip(windows.n, windows.lo, windows.hi, strict=True):
        cut = np.eye(n)[max(-lo, 0) : n - max(-hi, 0)]
        matrices.append(np.pad(cut, [(max(lo, 0), max(hi, 0)), (0, 0)], mode=MODES[mode]))
    return matrices


def applied(case: Case, matrices: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The map that multiplies each spatial axis by its matrix."""

    def linear(a: np.ndarray) -> np.ndarray:
        for axis, matrix in enumerate(matrices, start=-case.axes - (0 if case.channels_first else 1)):
            a = np.moveaxis(np.tensordot(matrix, a, (1, axis)), 0, axis)
        return a

    return linear


@pytest.mark.short("^(1d-padded-unequally|1d-cut-before|2d-padded-same)")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", **by_id(PADDED))
def test_padding_mode(case: Case, mode: str) -> None:
    """Value and gradients are those of the padded input; padding is linear, so its adjoint is its matrix transposed."""
    x, w, _, g, *_ = arrays(case, jnp.float32)

    @jax.jit
    def both(x: Array, w: Array, g: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **case.options, padding_mode=mode), x, w)
        return y, *pull_back(g)

    y, dx, dw = both(x, w, g)
    matrices = padding_matrices(case, mode)
    padded = applied(case, matrices)(np.asarray(x, np.float64))
    unpadded = applied(case, [matrix.T for matrix in matrices])
    options = {**case.options, "padding": 0}
    d_padded: Exact = exact(oracles.conv_input_vjp, g, w, input_size=case.space(padded.shape), **options)
    assert_right("y", y, exact(oracles.conv, padded, w, **options), jnp.float32)
    assert_right("dx", dx, d_padded.mapped(unpadded), jnp.float32)
    right = exact(oracles.conv_weight_vjp, padded, g, kernel_size=case.kernel_size, **options)
    assert_right("dw", dw, right, jnp.float32)


def test_padding_mode_second_order() -> None:
    """The gradient's gradient passes through the padding too: on whole numbers, as JAX has it."""
    x, w, g, t = integers(0, (2, 3, 7), (4, 3, 3), (2, 4, 9), (2, 3, 7))

    def second(derivative: str) -> tuple[Array, ...]:
        def pull_back(x: Array, w: Array, g: Array) -> Array:
            f = lambda x: conv(x, w, padding=2, padding_mode="reflect", derivative=derivative)  # noqa: E731
            return jax.vjp(f, x)[1](g)[0]

        return jax.vjp(pull_back, x, w, g)[1](t)

    assert_same(second("hand"), second("jax"))
