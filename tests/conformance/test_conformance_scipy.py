"""SciPy as a third oracle: `correlate` and `convolve` of float64 for the three maps, `upfirdn`, `ndimage` for padding.

SciPy correlates single channels at stride 1 and dilation 1. Here channels are summed, a stride picks every s-th
position, and a dilation spreads the kernel; in the two gradients stride and dilation spread the cotangent.
SciPy conjugates the second factor of `correlate` and has no bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from jax import Array

from cases import assert_right, by_id
from jaxconv import conv, conv_transpose
from oracles import Exact

pytestmark = pytest.mark.unoptimised

UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiling is all of the time


@dataclass(frozen=True)
class Case:
    """One convolution, channels first; a padding pair, a stride and a dilation for each spatial axis."""

    id: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


CASES = (
    Case("1d", (2, 3, 11), (4, 3, 3), (1,), ((0, 0),), (1,)),
    Case("1d-strided-padded", (2, 3, 11), (4, 3, 4), (3,), ((2, 1),), (1,)),
    Case("1d-dilated-negative", (2, 3, 12), (4, 3, 3), (2,), ((-1, 3),), (2,)),
    Case("1d-stride-over-kernel", (2, 3, 13), (4, 3, 2), (4,), ((1, 0),), (1,)),
    Case("1d-groups", (2, 6, 9), (4, 3, 3), (2,), ((1, 1),), (1,), 2),
    Case("2d", (2, 3, 6, 7), (4, 3, 3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    Case("2d-unequal", (2, 3, 9, 10), (4, 3, 2, 3), (2, 3), ((1, 2), (3, 0)), (3, 2)),
    Case("2d-remainder-negative", (2, 2, 9, 8), (3, 2, 3, 3), (4, 2), ((-1, 0), (2, -2)), (1, 1)),
    Case("2d-depthwise", (2, 4, 6, 5), (8, 1, 3, 3), (2, 1), ((1, 1), (2, 0)), (1, 2), 4),
    Case("3d", (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), (1, 1, 1), ((0, 0), (1, 1), (0, 1)), (1, 1, 1)),
    Case("3d-strided-dilated", (1, 2, 6, 5, 7), (2, 2, 2, 2, 3), (2, 1, 3), ((0, 1), (1, -1), (2, 2)), (1, 3, 2)),
)


def spread(a: np.ndarray, step: tuple[int, ...]) -> np.ndarray:
    """step − 1 zeros between any two positions of each axis."""
    wide = np.zeros([(n - 1) * s + 1 for n, s in zip(a.shape, step, strict=True)], a.dtype)
    wide[tuple(slice(None, None, s) for s in step)] = a
    return wide


def resized(a: np.ndarray, pads: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Zeros added, or, where negative, positions cut off."""
    a = np.pad(a, [(max(lo, 0), max(hi, 0)) for lo, hi in pads])
    return a[tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(a.shape, pads, strict=True))]


def group(case: Case) -> list[tuple[int, int, int]]:
    """Every output channel with every input channel that it sees: (o, input channel, the kernel's channel)."""
    per_group, outs = case.w_shape[1], case.w_shape[0] // case.groups
    return [(o, o // outs * per_group + i, i) for o in range(case.w_shape[0]) for i in range(per_group)]


def by_scipy(case: Case, x: np.ndarray, w: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, ...]:
    """y, dx, dw in float64, one pair of channels at a time."""
    y, dx, dw = np.zeros(g.shape), np.zeros(x.shape), np.zeros(w.shape)
    every = tuple(slice(None, None, s) for s in case.stride)
    taps = tuple(slice(None, None, d) for d in case.dilation)
    for b in range(x.shape[0]):
        for o, c, i in group(case):
            padded, kernel = resized(x[b, c], case.padding), spread(w[o, i], case.dilation)
            windows = scipy.signal.correlate(padded, kernel, "valid", "direct")
            y[b, o] += windows[every]
            # The cotangent of every window, those that the stride passes over included.
            wide = np.zeros(windows.shape)
            wide[every] = g[b, o]
            dx[b, c] += resized(
                scipy.signal.convolve(wide, kernel, "full", "direct"), tuple((-lo, -hi) for lo, hi in case.padding)
            )
            dw[o, i] += scipy.signal.correlate(padded, wide, "valid", "direct")[taps]
    return y, dx, dw


def exactly(f: Callable[..., Any], *factors: Array) -> list[Exact]:
    """f of the factors with Σ terms² and the number of terms, for an f that returns several sums of products."""
    wide = [np.asarray(a, np.float64) for a in factors]
    runs = f(*wide), f(*(a**2 for a in wide)), f(*(np.ones(a.shape) for a in wide))
    return [Exact(*each) for each in zip(*runs, strict=True)]


def normal(seed: int, *shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def assert_all_right(names: str, computed: Any, right: list[Exact]) -> None:
    for name, ours, exact in zip(names.split(), computed, right, strict=True):
        assert_right(name, ours, exact, jnp.float32)


@pytest.mark.parametrize("case", **by_id(CASES))
def test_value_and_both_gradients(case: Case) -> None:
    x, w = normal(0, case.x_shape, case.w_shape)
    (g,) = normal(1, jax.eval_shape(lambda x, w: conv(x, w, **case.options), x, w).shape)

    def both(x: Array, w: Array, g: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(lambda x, w: conv(x, w, **case.options), x, w)
        return y, *pull_back(g)

    computed = jax.jit(both, compiler_options=UNOPTIMISED)(x, w, g)
    assert_all_right("y dx dw", computed, exactly(lambda *factors: by_scipy(case, *factors), x, w, g))


# SciPy's "same" is the middle of "full", cut to the size of x; of an even kernel's two middles it takes the first.
MODES = {"valid": "VALID", "full": "FULL", "same": "SAME_LOWER"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [((9,), (4,)), ((9,), (3,)), ((6, 7), (2, 3)), ((4, 5, 3), (3, 2, 2))], ids=str)
def test_modes_of_correlate(sizes: tuple[tuple[int, ...], tuple[int, ...]], mode: str) -> None:
    size, kernel = sizes
    x, w = normal(2, (3, *size), (2, 3, *kernel))

    def of_scipy(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, ...]:
        channels = ([scipy.signal.correlate(a, b, mode, "direct") for a, b in zip(x, each, strict=True)] for each in w)
        return (np.stack([np.sum(each, axis=0) for each in channels]),)

    def ours(x: Array, w: Array) -> Array:
        return conv(x, w, padding=MODES[mode])

    computed = jax.jit(ours, compiler_options=UNOPTIMISED)(x, w)
    assert_all_right("y", [computed], exactly(of_scipy, x, w))


def test_a_kernel_wider_than_the_input() -> None:
    """The modes full and same have outputs still; valid exchanges the two in SciPy and is an error here."""
    x, w = normal(3, (1, 3), (1, 1, 5))
    for mode in ("full", "same"):
        right = exactly(lambda x, w, mode=mode: (scipy.signal.correlate(x, w[0], mode, "direct"),), x, w)
        assert_all_right("y", [conv(x, w, padding=MODES[mode])], right)
    assert scipy.signal.correlate(x, w[0], "valid").shape == (1, 3)
    with pytest.raises(ValueError, match="must fit into the padded input"):
        conv(x, w)


def test_complex() -> None:
    """Ours conjugates nothing: SciPy's correlation with the conjugated kernel."""
    parts = normal(4, (2, 9), (2, 9), (1, 2, 4), (1, 2, 4))
    x, w = ((parts[i] + 1j * parts[i + 1]).astype(np.complex64) for i in (0, 2))
    wide = [np.asarray(a, np.complex128) for a in (x, w[0])]
    value, squares, counts = (
        np.sum([scipy.signal.correlate(a, b, "valid", "direct") for a, b in zip(*pair, strict=True)], 0, keepdims=True)
        for pair in (
            (wide[0], wide[1].conj()),
            tuple(np.abs(a) ** 2 for a in wide),
            tuple(np.ones(a.shape) for a in wide),
        )
    )
    assert_right("y", conv(x, w), Exact(value, squares, counts), jnp.complex64)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (3, 4), (4, 2)])
def test_upfirdn(stride: int, kernel: int) -> None:
    """Its down-sampling is conv with the kernel turned, its up-sampling conv_transpose."""
    x, w = normal(5, (1, 11), (1, 1, kernel))

    def both(x: Array, w: Array) -> tuple[Array, Array]:
        down = conv(x, jnp.flip(w, -1), stride=stride, padding="FULL")
        return down, conv_transpose(x, w, stride=stride)

    def of_scipy(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, ...]:
        return scipy.signal.upfirdn(w[0, 0], x, down=stride), scipy.signal.upfirdn(w[0, 0], x, up=stride)

    computed = jax.jit(both, compiler_options=UNOPTIMISED)(x, w)
    assert_all_right("conv conv_transpose", computed, exactly(of_scipy, x, w))


# ours: ndimage's. Its "reflect" repeats the border, which is none of ours.
NDIMAGE = {"zeros": "constant", "reflect": "mirror", "edge": "nearest", "circular": "wrap"}


@pytest.mark.parametrize("mode", NDIMAGE)
@pytest.mark.parametrize("sizes", [((9,), (5,)), ((6, 7), (3, 5)), ((4, 3, 5), (3, 5, 3))], ids=str)
def test_padding_modes(sizes: tuple[tuple[int, ...], tuple[int, ...]], mode: str) -> None:
    size, kernel = sizes
    x, w = normal(6, (1, *size), (1, 1, *kernel))

    def of_scipy(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, ...]:
        return (scipy.ndimage.correlate(x[0], w[0, 0], mode=NDIMAGE[mode], cval=0)[None],)

    def ours(x: Array, w: Array) -> Array:
        return conv(x, w, padding="SAME", padding_mode=mode)

    computed = jax.jit(ours, compiler_options=UNOPTIMISED)(x, w)
    assert_all_right("y", [computed], exactly(of_scipy, x, w))
