"""Sizes: worked examples, every small case against counting, and that none of it needs jax."""

from __future__ import annotations

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cases import CASES, Case, by_id
from jaxconv.sizes.arithmetic import input_sizes, output_size, same_padding, transpose_output_size
from jaxconv.sizes.shapes import output_shape
from oracles import count_windows, named_padding

STRIDES_AND_DILATIONS = list(product(range(1, 5), range(1, 5)))
PADS = list(product(range(-1, 4), repeat=2))


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        (((10, 11), 3), {"stride": 2}, (4, 5)),
        ((5, 3), {"stride": 2}, 2),
        ((224, 7), {"stride": 2, "padding": 3}, 112),
        ((5, 3), {"padding": (1, 0)}, 4),
        ((5, 3), {"padding": [(1, 0)]}, 4),
        (((5,), 3), {"padding": [(1, 0)]}, (4,)),
        ((5, (3, 2)), {}, (3, 4)),
        (((5, 6), (3, 2)), {"padding": (1, 0), "stride": (1, 2)}, (5, 3)),
        (((5, 6), 3), {"padding": ((1, 0), (-1, 0)), "dilation": (2, 1)}, (2, 3)),
        ((7, 4), {"padding": "VALID"}, 4),
        ((7, 4), {"padding": "SAME", "stride": 2}, 4),
        ((7, 4), {"padding": "SAME_LOWER"}, 7),
        ((7, 4), {"padding": "CAUSAL", "dilation": 2}, 7),
        ((7, 4), {"padding": "FULL"}, 10),
        ((1, 1), {}, 1),
    ],
)
def test_output_size_examples(arguments: tuple, options: dict[str, Any], expected: Any) -> None:
    assert output_size(*arguments, **options) == expected


@pytest.mark.parametrize(("s", "d"), STRIDES_AND_DILATIONS)
def test_output_size_counts_windows(s: int, d: int) -> None:
    """Every small size: as many outputs as windows can be laid down, and an error where there is none."""
    for n, k, (lo, hi) in product(range(1, 13), range(1, 13), PADS):
        options = {"stride": s, "padding": (lo, hi), "dilation": d}
        windows = count_windows(n, k, s, lo, hi, d)
        if windows:
            assert output_size(n, k, **options) == windows
        else:
            with pytest.raises(ValueError, match="`kernel` must fit into the padded input"):
                output_size(n, k, **options)


def lax_sizes(cases: list[tuple[int, ...]], s: int, d: int) -> tuple[int, ...]:
    """The output size that lax gives each (n, k, lo, hi), every case an axis of one convolution that is never run."""
    n, k, lo, hi = zip(*cases, strict=True)
    axes = len(cases)
    spec = tuple(range(axes + 2))
    x, w = (jax.ShapeDtypeStruct((1, 1, *sizes), jnp.float32) for sizes in (n, k))

    def run(x: jax.Array, w: jax.Array) -> jax.Array:
        pads, spec_ = list(zip(lo, hi, strict=True)), lax.ConvDimensionNumbers(spec, spec, spec)
        return lax.conv_general_dilated(x, w, (s,) * axes, pads, rhs_dilation=(d,) * axes, dimension_numbers=spec_)

    return jax.eval_shape(run, x, w).shape[2:]


@pytest.mark.parametrize(("s", "d"), STRIDES_AND_DILATIONS)
def test_output_size_is_the_shape_of_lax_and_inverts(s: int, d: int) -> None:
    """Every n, k ≤ 12 and lo, hi ≤ 3: the size of lax, an error where lax returns an empty array; and back."""
    sizes = range(1, 13)
    cases = list(product(sizes, sizes, range(4), range(4)))
    by_lax = dict(zip(cases, lax_sizes(cases, s, d), strict=True))
    for (n, k, lo, hi), size in by_lax.items():
        options = {"stride": s, "padding": (lo, hi), "dilation": d}
        if size:
            assert output_size(n, k, **options) == size
        else:
            with pytest.raises(ValueError, match="`kernel` must fit"):
                output_size(n, k, **options)
    for k, lo, hi in product(sizes, range(4), range(4)):
        for m in range(1, 19):
            inverse = [n for n in input_sizes(m, k, stride=s, padding=(lo, hi), dilation=d) if n in sizes]
            assert inverse == [n for n in sizes if by_lax[n, k, lo, hi] == m]


@pytest.mark.parametrize(("s", "d"), STRIDES_AND_DILATIONS)
def test_input_sizes_are_all_that_give_the_output(s: int, d: int) -> None:
    for m, k, (lo, hi) in product(range(6), range(1, 6), PADS):
        widest = s * m + d * k + 2  # pads of −1 on both sides need two positions more
        expected = [n for n in range(1, widest + 1) if m and count_windows(n, k, s, lo, hi, d) == m]
        assert list(input_sizes(m, k, stride=s, padding=(lo, hi), dilation=d)) == expected


@pytest.mark.parametrize("padding", ["VALID", "SAME", "SAME_LOWER", "CAUSAL", "FULL"])
def test_named_paddings(padding: str) -> None:
    """Output size, its inverse, and the transposed size, for every padding that has a name."""
    for k, (s, d) in product(range(1, 7), STRIDES_AND_DILATIONS):
        options = {"stride": s, "padding": padding, "dilation": d}
        sizes: dict[int, list[int]] = {}
        for n in range(1, 40):
            lo, hi = named_padding(padding, n, k, s, d)
            m = count_windows(n, k, s, lo, hi, d)
            sizes.setdefault(m, []).append(n)
            if m:
                assert output_size(n, k, **options) == m
        for m in range(1, 4):
            assert list(input_sizes(m, k, **options)) == sizes.get(m, [])
            if m in sizes:
                extra = 0 if "SAME" in padding else s - 1
                assert transpose_output_size(m, k, output_padding=extra, **options) == sizes[m][-1]


def test_same_padding() -> None:
    """⌈n/s⌉ outputs, no position more than needed, the odd one behind or before."""
    for n, k, (s, d) in product(range(1, 13), range(1, 8), STRIDES_AND_DILATIONS):
        lo, hi = same_padding(n, k, stride=s, dilation=d)
        assert (lo, hi) == named_padding("SAME", n, k, s, d)
        assert same_padding(n, k, stride=s, dilation=d, lower=True) == (hi, lo)
    assert same_padding((5, 6), (4, 3), stride=(1, 2)) == ((1, 2), (0, 1))


def test_transpose_output_size_inverts_output_size() -> None:
    """The s values of output_padding are the s input sizes that give one output size."""
    for m, k, (s, d), (lo, hi) in product(range(1, 6), range(1, 6), STRIDES_AND_DILATIONS, PADS):
        options = {"stride": s, "padding": (lo, hi), "dilation": d}
        possible = input_sizes(m, k, **options)
        smallest = s * (m - 1) + d * (k - 1) + 1 - lo - hi
        for extra in range(s):
            if smallest + extra >= 1:
                n = transpose_output_size(m, k, output_padding=extra, **options)
                assert n in possible
                assert output_size(n, k, **options) == m
            else:
                with pytest.raises(ValueError, match="`padding` must leave at least one position of the output"):
                    transpose_output_size(m, k, output_padding=extra, **options)


def test_transpose_output_size_examples() -> None:
    assert transpose_output_size(4, 3, stride=2) == 9
    assert transpose_output_size((4, 5), (3, 2), stride=(2, 1), padding=[(1, 0), (0, 0)]) == (8, 6)
    assert transpose_output_size((4, 4), 4, stride=2, padding=1) == (8, 8)


def test_input_sizes_per_axis() -> None:
    assert input_sizes((4, 1), 3, stride=(2, 1)) == (range(9, 11), range(3, 4))
    assert input_sizes(0, 3) == range(0)


@pytest.mark.parametrize("case", **by_id(CASES))
def test_output_shape(case: Case) -> None:
    assert output_shape(case.x_shape, case.w_shape, **case.options) == case.y_shape


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: output_size(5, 7),
            ValueError,
            "output_size: `kernel` must fit into the padded input: a window of 7 needs at least 7 positions; got 5 on "
            "spatial axis 0 (size=5, padding=(0, 0), kernel=7, dilation=1): raise padding by 2 or use a kernel ≤ 5.",
        ),
        (
            lambda: output_size(2, 1, padding=-1),
            ValueError,
            "output_size: `kernel` must fit into the padded input: a window of 1 needs at least 1 positions; got 0 on "
            "spatial axis 0 (size=2, padding=(-1, -1), kernel=1, dilation=1): raise padding by 1.",
        ),
        (lambda: output_size(0, 1), ValueError, "output_size: `size` must be at least 1; got size=0."),
        (lambda: output_size(5.0, 1), TypeError, "output_size: `size` must be an integer; got size=5.0 (float)."),
        (lambda: output_size((), 1), ValueError, "output_size: `size` must name at least one axis; got size=()."),
        (
            lambda: output_size((5, 6), (1, 2, 3)),
            ValueError,
            "output_size: `kernel` must be one integer or one per spatial axis (2); got kernel=(1, 2, 3).",
        ),
        (
            lambda: output_size(5, 3, stride=True),
            TypeError,
            "output_size: `stride` must be an integer; got stride=True (bool).",
        ),
        (
            lambda: same_padding(5, 3, lower=1),
            TypeError,
            "same_padding: `lower` must be True or False; got lower=1.",
        ),
        (lambda: input_sizes(-1, 3), ValueError, "input_sizes: `output` must be at least 0; got output=-1."),
        (
            lambda: transpose_output_size(4, 3, stride=2, output_padding=2),
            ValueError,
            "transpose_output_size: `output_padding` must be smaller than the stride; got output_padding=2, stride=2 "
            "on spatial axis 0.",
        ),
        (
            lambda: transpose_output_size(4, 3, stride=2, output_padding=1, padding="SAME"),
            ValueError,
            "transpose_output_size: `output_padding` must be 0 with padding='SAME', whose output size is "
            "stride · size; got output_padding=1.",
        ),
        (
            lambda: transpose_output_size(1, 3, padding=2),
            ValueError,
            "transpose_output_size: `padding` must leave at least one position of the output; got an output of -1 on "
            "spatial axis 0 (size=1, padding=(2, 2)).",
        ),
        (
            lambda: output_shape((3, 8), (4, 3)),
            ValueError,
            "output_shape: `w_shape` must have at least one spatial axis, as (out, in/groups, *kernel); got rank 2, "
            "shape (4, 3).",
        ),
        (
            lambda: output_shape(8, (4, 3, 3)),
            TypeError,
            "output_shape: `x_shape` must be a sequence of integers; got x_shape=8.",
        ),
        (
            lambda: output_shape((8, 32), (4, 8, 3), groups=3),
            ValueError,
            "output_shape: `groups` must divide the input channels; got groups=3, channels=8 "
            "(x_shape=(8, 32), w_shape=(4, 8, 3)).",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
