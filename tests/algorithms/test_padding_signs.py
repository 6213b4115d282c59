"""Paddings of every sign and size. XLA's convolution of JAX 0.10 is wrong on a CPU for some pairs of opposite sign."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import oracles
from cases import integers
from jaxconv import conv, conv_input_vjp, conv_transpose

pytestmark = pytest.mark.unoptimised

CHANNELS = 8  # XLA's fault shows from eight channels on
WIDTHS = (-3, -1, 0, 2, 5)
WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "reference": {"lowering": "reference"},
    "gemm": {"lowering": "gemm"},
    "any": {"derivative": "any"},
    "jax": {"derivative": "jax"},
}
LAYOUTS = ("channels_first", "channels_last")
WINDOWS = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 2), (3, 2, 1), (1, 3, 1)]  # kernel, stride, dilation


def pairs(n: int, k: int, d: int) -> list[tuple[int, int]]:
    """Paddings of n positions that a window fits into."""
    return [(lo, hi) for lo in WIDTHS for hi in WIDTHS if n + lo + hi >= d * (k - 1) + 1]


def triple(x: Array, w: Array, g: Array, **options: Any) -> tuple[Array, ...]:
    y, pull_back = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
    return y, *pull_back(g)


@partial(jax.jit, static_argnames=("layout", "way", "window", "n"))
def grid(x: Array, w: Array, gs: list[Array], layout: str, way: str, window: tuple, n: int) -> list[tuple[Array, ...]]:
    """`triple` for every padding, in one program."""
    return [triple(x, w, g, **o, **WAYS[way]) for g, o in zip(gs, options(layout, window, n), strict=True)]


def options(layout: str, window: tuple[int, int, int], n: int) -> list[dict[str, Any]]:
    k, s, d = window
    return [{"stride": s, "padding": [pair], "dilation": d, "layout": layout} for pair in pairs(n, k, d)]


def assert_grid(layout: str, dtype: Any, way: str, window: tuple[int, int, int]) -> None:
    """y, dx and dw for all paddings, in whole numbers, equal the loops'."""
    n, k = 6, window[0]
    first = layout == "channels_first"
    shapes = ((1, CHANNELS, n), (CHANNELS, CHANNELS, k)) if first else ((1, n, CHANNELS), (k, CHANNELS, CHANNELS))
    x, w = integers(1, *shapes)
    every, right, cotangents = options(layout, window, n), [], []
    for each in every:
        y = oracles.conv(x, w, **each)
        (g,) = integers(2, y.shape)
        dx = oracles.conv_input_vjp(g, w, input_size=(n,), **each)
        right.append((y, dx, oracles.conv_weight_vjp(x, g, kernel_size=(k,), **each)))
        cotangents.append(g.astype(dtype))
    made = grid(x.astype(dtype), w.astype(dtype), cotangents, layout, way, window, n)
    for each, found, wanted in zip(every, made, right, strict=True):
        for name, ours, exact in zip(("y", "dx", "dw"), found, wanted, strict=True):
            np.testing.assert_array_equal(ours, jnp.asarray(exact).astype(dtype), f"{name} {way} {each}")


@pytest.mark.short("first-auto")
@pytest.mark.parametrize("way", ["auto", "reference", "jax"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_signs(layout: str, way: str) -> None:
    assert_grid(layout, jnp.float32, way, (2, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "window"),
    [(way, window) for way in WAYS for window in (WINDOWS if way in ("auto", "gemm") else WINDOWS[3:4])], ids=str,
)  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_signs_of_other_windows(layout: str, way: str, window: tuple[int, int, int]) -> None:
    assert_grid(layout, jnp.float32, way, window)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "dtype"),
    [(LAYOUTS[0], jnp.bfloat16), (LAYOUTS[1], jnp.float16), (LAYOUTS[0], jnp.complex64), (LAYOUTS[1], jnp.float64)],
)
def test_all_signs_in_every_dtype(layout: str, dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        for window in WINDOWS[1:3]:
            assert_grid(layout, dtype, "auto", window)


@pytest.mark.parametrize("way", WAYS)
def test_values_worked_out(way: str) -> None:
    """Positions 1 … 6 moved by one and cut off, under a kernel of ones: 8·(2 + 3), …, 8·6."""
    x = jnp.broadcast_to(jnp.arange(1.0, 7.0), (1, 8, 6))
    y = conv(x, jnp.ones((1, 8, 2)), padding=[(-1, 1)], **WAYS[way])
    assert y[0, 0].tolist() == [40, 56, 72, 88, 48]
    y, pull_back = jax.vjp(lambda x: conv(x, jnp.ones((8, 8, 2)), padding=[(3, 0)], **WAYS[way]), jnp.ones((2, 8, 6)))
    (dx,) = pull_back(jnp.ones_like(y))
    assert (dx == jnp.array([16.0, 16, 16, 16, 16, 8])).all()


@pytest.mark.parametrize("derivative", ["hand", "any", "jax"])
def test_the_transposed_convolution(derivative: str) -> None:
    w, z = jnp.ones((8, 8, 2)), jnp.ones((1, 8, 6))
    y, pull_back = jax.vjp(
        lambda x: conv_transpose(x, w, padding=[(3, 0)], output_size=6, derivative=derivative), jnp.ones((1, 8, 8))
    )
    assert (y == jnp.array([16.0, 16, 16, 16, 16, 8])).all()
    assert (pull_back(z)[0] == conv(z, w, padding=[(3, 0)])).all()


@pytest.mark.parametrize("lowering", ["auto", "reference", "gemm"])
def test_padding_that_leaves_no_window_an_element(lowering: str) -> None:
    """One position between paddings, behind the only window: nothing of g reaches it."""
    dx = conv_input_vjp(
        jnp.ones((1, 2, 1)), jnp.ones((2, 2, 2)), input_size=1, stride=5, padding=[(3, 1)], lowering=lowering
    )
    assert (dx == 0).all()
