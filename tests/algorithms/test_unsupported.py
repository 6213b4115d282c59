"""Why an algorithm cannot serve a call: a clause that completes "gemm cannot serve this call: …"."""

from __future__ import annotations

from typing import Any

import pytest

from jaxconv.algorithms.choose import ALGORITHMS, unsupported
from jaxconv.algorithms.problem import Problem
from jaxconv.sizes.geometry import Geometry

FIRST = {"layout": "channels_first"}


def problem(
    which: str, n: tuple[int, ...], k: tuple[int, ...], batch: int = 2, channels: int = 4, **how: Any
) -> Problem:
    geometry = Geometry.of("conv", n, k, **{"layout": "channels_last", **how})
    return Problem(which, geometry, channels, channels, batch)  # type: ignore[arg-type]


LONG = problem("conv", (200,), (129,))
STRIPES = problem("conv", (8, 8), (2, 2), stride=2)


@pytest.mark.parametrize(
    ("name", "of", "reason"),
    [
        ("canonical", problem("conv_weight_vjp", (8,), (3,), groups=4), "`groups` must be 1 for a weight gradient"),
        ("gemm", LONG, "a kernel of so many taps would compile for minutes; got kernel_size=(129,)"),
        ("blocks", LONG, "a kernel of so many taps"),
        ("taps", problem("conv_weight_vjp", (8, 200), (1, 129)), "a kernel of so many taps"),
        ("taps", problem("conv_weight_vjp", (8,), (3,)), "there must be two spatial axes or more"),
        ("taps", problem("conv", (8, 8), (3, 3)), "it has no conv"),
        ("taps", problem("conv_weight_vjp", (8, 8), (3, 3), **FIRST), "`layout` must be 'channels_last'"),
        (
            "direct",
            problem("conv_weight_vjp", (64, 64), (1, 1), channels=64),
            "x and g repeated for every pair of channels",
        ),
        ("patches", problem("conv", (8, 8), (2, 2), stride=2, **FIRST), "`layout` must be 'channels_last'"),
        (
            "patches",
            problem("conv", (8, 8), (2, 2), stride=2, groups=2),
            "`groups` must be 1 with channels last; got groups=2",
        ),
        ("patches", problem("conv", (8, 8), (3, 3), stride=2), "windows must not overlap; got kernel_size=(3, 3)"),
        (
            "patches",
            problem("conv", (3, 3), (4, 4), padding=((1, 0), (1, 0)), **FIRST),
            "`layout` must be 'channels_last'",
        ),
        ("planes", problem("conv", (8, 8), (3, 3)), "there must be three spatial axes; got 2"),
        ("planes", problem("conv", (99, 99, 99), (3, 3, 3)), "x laid out must not exceed 32 MB; got 43 MB"),
    ],
)
def test_the_reason(name: str, of: Problem, reason: str) -> None:
    assert (unsupported(name, of) or "").startswith(reason)


@pytest.mark.parametrize("which", ["conv", "conv_input_vjp", "conv_weight_vjp"])
def test_what_there_is_a_function_for(which: str) -> None:
    """What an algorithm supports it has the map for; windows that do not overlap may be long."""
    for of in (STRIPES, LONG, problem("conv", (256,), (256,), stride=256), problem("conv", (5, 5, 5), (3, 3, 3))):
        serve = {name for name in ALGORITHMS if unsupported(name, of._replace(which=which)) is None}
        assert all(hasattr(ALGORITHMS[name], which) for name in serve)
        assert {"direct", "reference", "canonical"} <= serve
    assert unsupported("gemm", problem(which, (256,), (256,), stride=256)) is None


def test_memory_is_that_of_what_is_held_at_once() -> None:
    """An image of y and dx at a time, of dw the batch."""
    large = problem("conv", (32, 64, 64), (3, 3, 3), batch=64)
    assert unsupported("planes", large) is None
    assert "MB" in (unsupported("planes", large._replace(which="conv_weight_vjp")) or "")
