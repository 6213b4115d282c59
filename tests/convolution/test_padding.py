"""The pieces of padding that convolution and the exchange of halos share."""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.convolution.padding import cut_and_added, zeros_around

pytestmark = pytest.mark.unoptimised


@pytest.mark.parametrize(("lo", "hi"), [*product((-2, 0, 3), repeat=2)])
def test_a_padding_is_what_is_cut_off_and_what_is_added(lo: int, hi: int) -> None:
    cut, added = cut_and_added(lo, hi)
    assert cut == (min(lo, 0), min(hi, 0))
    assert added == (max(lo, 0), max(hi, 0))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_zeros_stand_around_one_axis_alone(axis: int) -> None:
    x = np.arange(1.0, 13, dtype=np.float32).reshape(2, 3, 2)
    widths = [(2, 1) if each == axis else (0, 0) for each in range(3)]
    np.testing.assert_array_equal(zeros_around(jnp.asarray(x), axis, 2, 1), np.pad(x, widths))
