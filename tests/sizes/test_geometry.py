"""Geometry: options are normalised once, and equal geometries are one key."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from cases import CASES, Case, by_id
from jaxconv.sizes.geometry import Geometry
from oracles import Windows


def geometry(case: Case) -> Geometry:
    return Geometry.of("conv", case.input_size, case.kernel_size, **case.options)


@pytest.mark.parametrize("case", **by_id(CASES))
def test_normalised(case: Case) -> None:
    """Every way to say an option ends in one tuple per axis, as the oracle reads it."""
    made = geometry(case)
    options = {"stride": 1, "padding": 0, "dilation": 1, **case.options}
    windows = Windows.of(
        case.input_size, case.kernel_size, *(options[name] for name in ("stride", "padding", "dilation"))
    )
    assert made.input_size == windows.n
    assert made.kernel_size == windows.k
    assert made.stride == windows.s
    assert made.dilation == windows.d
    assert made.padding == tuple(zip(windows.lo, windows.hi, strict=True))
    assert made.output_size == windows.m
    assert made.groups == case.options.get("groups", 1)
    assert made.channels_first == case.channels_first
    assert made.axes == case.axes
    assert made.taps == np.prod(case.kernel_size)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": (1, 1), "stride": (1, 1)},
        {"padding": [(1, 1), (1, 1)], "dilation": [1, 1]},
        {"padding": np.array([1, 1]), "stride": np.int64(1)},
        {"padding": "SAME"},
    ],
    ids=str,
)
def test_equal_ones_are_one_key(options: dict[str, Any]) -> None:
    made = Geometry.of("conv", (5, 6), (3, 3), **options)
    plain = Geometry.of("conv", [5, 6], [3, 3], padding=1)
    assert made == plain
    assert hash(made) == hash(plain)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        geometry(CASES[0]).groups = 2  # type: ignore[misc]


def test_one_axis_may_be_an_integer_and_the_name_must_be_one() -> None:
    assert Geometry.of("conv", 5, 3, stride=2) == Geometry.of("conv", (5,), (3,), stride=2)
    with pytest.raises(TypeError, match=r"^Geometry.of: `function` must be the name .*; got function=5"):
        Geometry.of(5, (5,), (3,))  # type: ignore[arg-type]
