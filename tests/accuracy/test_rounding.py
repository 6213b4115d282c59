"""The error model draws one line, C, and right and wrong results of every case lie on their sides of it.

Run with `-s` to see how far from it they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from cases import CASES, FEW, Arrays, Case, arrays, computed, expected, worst
from jaxconv._jax.dtypes import accumulator
from jaxconv.accuracy.error_model import C, flushed_part, measured_units, spread, underflow, unit_roundoff, units
from oracles import Exact

MAPS = ("y", "dx", "dw")
# Short sums (L = 9) and long ones (L = 8 · 54 · 54 = 23,328 in dw) of one 3 × 3 kernel.
LONG = Case("long-sums", (8, 1, 56, 56), (1, 1, 3, 3), {})


def wrong_results(case: Case, inputs: Arrays, right: dict[str, Exact]) -> Iterator[tuple[str, np.ndarray, Exact]]:
    """(what is wrong, the wrong float64 result, the exact one), mistakes that change nothing left out."""
    x, w, _, g, *_ = (np.asarray(each, np.float64) for each in inputs)
    taps = range(w.ndim)[2:] if case.channels_first else range(w.ndim)[:-2]
    last = tuple(-1 if axis in taps else slice(None) for axis in range(w.ndim))
    size = {"input_size": case.input_size}
    mistakes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "last tap": lambda w: _replaced(w, last, 0),
        "missing flip": lambda w: np.flip(w, tuple(taps)),
    }
    for mistake, spoilt in mistakes.items():
        change = oracles.conv(x, spoilt(w) - w, **case.options)
        yield f"y, {mistake}", right["y"].value + change, right["y"]
        yield f"dx, {mistake}", oracles.conv_input_vjp(g, spoilt(w), **size, **case.options), right["dx"]
        yield f"dw, {mistake}", spoilt(right["dw"].value), right["dw"]
    for name in MAPS:
        exact = right[name].value
        yield f"{name}, 0.01 % scale error", exact * 1.0001, right[name]
        if exact.size:
            # The element of median size: a fair choice between one that is all cancellation and the easiest to see.
            middle = np.unravel_index(np.argsort(np.abs(exact), axis=None)[exact.size // 2], exact.shape)
            yield f"{name}, one element 0.1 % off", _replaced(exact, middle, exact[middle] * 1.001), right[name]


def _replaced(a: np.ndarray, index: Any, value: Any) -> np.ndarray:
    a = a.copy()
    a[index] = value
    return a


@pytest.fixture(
    scope="module", params=[pytest.param(FEW[::5], id="few"), pytest.param(CASES, id="all", marks=pytest.mark.slow)]
)
def distances(request: pytest.FixtureRequest) -> tuple[dict[str, float], dict[str, float]]:
    """In units of the model: of every right result of the cases, and of every wrong one.

    Of JAX's own those of the long sums alone: `test_conv` asks for the others.
    """
    rights: dict[str, float] = {}
    wrongs: dict[str, float] = {}
    trials = [(case, 0.0) for case in request.param] + [(LONG, 0.0), (LONG, 1.0)]
    for case, mean in trials:
        inputs = arrays(case, jnp.float32, mean=mean)
        exact = expected(case, inputs, MAPS)
        label = f"{case.id}, mean {mean:g}"
        by_hand, by_jax = computed(case, inputs, MAPS, by_jax_too=case is LONG)
        for name in MAPS:
            rights[f"{label}, {name}"] = worst(by_hand[name], exact[name], jnp.float32)
        for name in by_jax:
            rights[f"{label}, {name} by JAX"] = worst(by_jax[name], exact[name], jnp.float32)
        for name, wrong, right in wrong_results(case, inputs, exact):
            if not np.allclose(wrong, right.value, rtol=1e-9, atol=0):
                wrongs[f"{label}, {name}"] = worst(wrong.astype(np.float32), right, jnp.float32)
    return rights, wrongs


def test_right_results_are_within(distances: Any) -> None:
    rights, _ = distances
    label = max(rights, key=rights.__getitem__)
    print(f"\nlargest of {len(rights)} right results: {rights[label]:.2f} units ({label})")
    assert rights[label] < C


def test_wrong_results_are_outside(distances: Any) -> None:
    _, wrongs = distances
    label = min(wrongs, key=wrongs.__getitem__)
    print(f"\nsmallest of {len(wrongs)} wrong results: {wrongs[label]:.2f} units ({label})")
    assert wrongs[label] > C


def test_every_kind_of_mistake_was_tried(distances: Any) -> None:
    rights, wrongs = distances
    trials = sum(label.endswith(", y") for label in rights)
    for kind in ("last tap", "missing flip", "0.01 % scale error", "one element 0.1 % off"):
        for name in MAPS:
            assert sum(f"{name}, {kind}" in label for label in wrongs) > trials / 4


def test_long_sums_are_long() -> None:
    right = expected(LONG, arrays(LONG, jnp.float32), ["dw"])
    assert right["dw"].length == 23_328


@pytest.mark.parametrize(
    ("dtype", "u", "normal", "smallest"),
    [
        (jnp.float32, 2**-24, 2**-126, 2**-149),
        (jnp.bfloat16, 2**-8, 2**-126, 2**-133),
        (jnp.float16, 2**-11, 2**-126, 2**-24),  # its products are float32's
        (jnp.float64, 2**-53, 2**-1022, 2**-1074),
        (jnp.complex64, 2**-24, 2 * 2**-126, 2**-149),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_of_a_dtype(dtype: Any, u: float, normal: float, smallest: float) -> None:
    assert unit_roundoff(dtype) == u
    assert underflow(dtype) == normal + smallest
    assert underflow(dtype, 27) == 27 * normal + smallest


SMALL = {"float32": 1e-20, "bfloat16": 1e-20, "float16": 1e-4, "float64": 1e-160, "complex64": 1e-20 - 5e-21j}


@pytest.mark.parametrize("dtype", SMALL)
def test_products_that_underflow_are_right_as_they_come_and_nothing_else_is(dtype: str) -> None:
    """4096 products below the smallest normal number, summed in two ways; as large again and six times what may be lost
    is wrong. So it is where one factor is 1, and nothing underflows.
    """
    length, wide_dtype = 4096, np.complex128 if dtype == "complex64" else np.float64
    with jax.enable_x64(dtype == "float64"):
        for first in (SMALL[dtype], 1.0):
            x, w = jnp.full(length, first, dtype), jnp.full(length, SMALL[dtype], dtype)
            x_, w_ = (np.asarray(each).astype(wide_dtype) for each in (x, w))
            exact, squares = x_ @ w_, (np.abs(x_) ** 2) @ (np.abs(w_) ** 2)

            def of(computed: Any, exact: Any = exact, squares: Any = squares) -> float:
                return float(units(computed, exact, squares, length, dtype))

            one_by_one = jax.jit(lambda x, w: jnp.sum(x.astype(accumulator(dtype)) * w))
            for computed in (jnp.dot(x, w), one_by_one(x, w)):
                assert of(np.asarray(computed)) <= C
            assert of(2 * exact + 2 * C * underflow(dtype, length)) > C


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_input_below_the_smallest_normal_number_is_lost_with_its_products(dtype: str) -> None:
    """10⁻³⁹ · 10¹⁰ may come out as 0, which is 10⁻²⁹ off."""
    exact, squares = np.array([1e-29]), np.array([1e-58])
    assert units(np.zeros(1), exact, squares, 1, dtype) > C
    assert units(np.zeros(1), exact, squares, 1, dtype, flushed=exact) <= C
    assert units(exact * 5, exact, squares, 1, dtype, flushed=exact) > C


def test_the_part_that_may_be_lost() -> None:
    """float16's small numbers are normal ones of float32, which it accumulates in; of complex numbers a part may be."""
    np.testing.assert_array_equal(flushed_part([1e-39, 1e-5, -1e-39], np.float32), [1e-39, 0, 1e-39])
    np.testing.assert_array_equal(flushed_part([6e-8, 1.0], np.float16), [0, 0])
    np.testing.assert_array_equal(flushed_part([1e-310, 1e-300], np.float64), [1e-310, 0])
    np.testing.assert_array_equal(flushed_part([1 + 1e-39j, 3e-39 - 4e-39j], np.complex64), [1e-39, 5e-39])


def test_units() -> None:
    """One unit is u · √L · (|exact| + √Σ terms²), whatever the scale of the data."""
    u, length = 2**-24, 4
    for scale in (1e-20, 1.0, 1e30):
        exact, squares = np.array([3 * scale, 0.0]), np.array([16 * scale**2] * 2)
        computed = exact + np.array([u * 2 * 7 * scale, -u * 2 * 4 * scale])
        np.testing.assert_allclose(units(computed, exact, squares, length, np.float32), [1, 1], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_far_away(bad: float) -> None:
    assert units(np.array([bad]), np.array([1.0]), np.array([1.0]), 1, np.float32)[0] == np.inf


def test_units_of_complex_numbers() -> None:
    computed = np.array([1 + 1j], np.complex64) + np.complex64(1e-3j)
    assert units(computed, np.array([1 + 1j]), np.array([2.0]), 1, jnp.complex64)[0] > C


def test_units_of_nothing() -> None:
    assert units(np.zeros(0), np.zeros(0), np.zeros(0), 0, np.float32).shape == (0,)
    assert units(np.zeros(3), np.zeros(3), np.zeros(3), 0, np.float32).max() == 0


def test_spread_is_how_far_a_perturbation_reaches() -> None:
    """x² moves by 2·u·x² where x moves by u·x, and a constant stands still."""
    x = np.array([1.0, -3.0])
    squared, constant = spread(lambda rounded: (rounded(x) ** 2, np.ones(1)), np.float32)
    assert (squared <= 2.001 * 2**-24 * x**2).all()
    assert (squared >= 1.0 * 2**-24 * x**2).all()
    assert (constant == 0).all()
    assert measured_units(x**2 + squared, x**2, squared, 1, np.float32).max() < 1


def test_half_precision_sums_that_were_not_widened_are_outside() -> None:
    """A sum of 4096 products accumulated in bfloat16 itself is nowhere near."""
    x = jnp.asarray(np.random.default_rng(0).uniform(size=4096), jnp.bfloat16)
    narrow = jax.lax.fori_loop(0, x.size, lambda i, total: total + x[i], jnp.zeros((), jnp.bfloat16))
    wide = np.asarray(x, np.float64)
    assert units(narrow, wide.sum(), (wide**2).sum(), x.size, jnp.bfloat16) > 1
    assert units(x.sum(dtype=jnp.float32), wide.sum(), (wide**2).sum(), x.size, jnp.float32) < C
