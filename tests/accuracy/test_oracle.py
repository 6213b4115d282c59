"""The package's own oracle, which `jaxconv verify` judges by, against the one of these tests: written twice, apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracles
from cases import CASES, Case, by_id, integers
from jaxconv.accuracy import oracle
from jaxconv.sizes.geometry import Geometry


@pytest.mark.parametrize("part", ["real", "complex"])
@pytest.mark.parametrize("case", **by_id(CASES))
def test_convolution(case: Case, part: str) -> None:
    """All three maps, equal to the last bit on whole numbers; the package's takes exactly one batch axis."""
    shapes = case.x_shape, case.w_shape, case.y_shape
    x, w, g = map(np.asarray, integers(0, *shapes))
    if part == "complex":
        x, w, g = (a + 1j * np.asarray(b) for a, b in zip((x, w, g), integers(1, *shapes), strict=True))

    def folded(a: np.ndarray) -> np.ndarray:
        core = a.shape[a.ndim - case.axes - 1 :]
        return a.reshape(a.size // int(np.prod(core)), *core)

    def assert_equal(ours: Any, right: Any) -> None:
        assert ours.dtype == right.dtype
        np.testing.assert_array_equal(ours.reshape(right.shape), right)

    geometry = Geometry.of("test", case.input_size, case.kernel_size, **case.options)
    sizes = {"input_size": case.input_size}, {"kernel_size": case.kernel_size}
    assert_equal(oracle.conv(folded(x), w, geometry), oracles.conv(x, w, **case.options))
    assert_equal(
        oracle.conv_input_vjp(folded(g), w, geometry), oracles.conv_input_vjp(g, w, **sizes[0], **case.options)
    )
    assert_equal(
        oracle.conv_weight_vjp(folded(x), folded(g), geometry),
        oracles.conv_weight_vjp(x, g, **sizes[1], **case.options),
    )
