"""How a batch is cut into steps: the same divisors as trying every number, found without trying them."""

from __future__ import annotations

import sys

import jax
import pytest

from jaxconv import conv
from jaxconv._jax import loops

PRIME = 30_000_001


def largest_below(batch, nbytes, most):
    return max((n for n in range(1, batch + 1) if batch % n == 0 and n * nbytes <= most), default=1)


def test_the_divisors_are_those_of_trying_every_number():
    for n in range(1, 3001):
        assert loops.divisors(n) == tuple(d for d in range(1, n + 1) if n % d == 0)


@pytest.mark.parametrize("nbytes", [1, 7, 1000])
def test_the_images_of_a_step_are_those_of_trying_every_number(nbytes):
    for batch in range(1, 3001, 7):
        for most in (0, nbytes, 60 * nbytes, 3000 * nbytes):
            assert loops.largest_chunk(batch, nbytes, most) == largest_below(batch, nbytes, most)


def test_a_batch_whose_numbers_nobody_could_try():
    assert loops.largest_chunk(10**15, 1, 10**9 + 1) == 10**9
    assert loops.largest_chunk(10**9 + 7, 1, 10**9) == 1
    assert len(loops.divisors(10**15)) == 16 * 16


class TooLong(Exception):
    """More lines of Python than a trace has."""


def within(lines, f):
    """f(), which may run so many lines of Python."""
    left = lines

    def count(frame, event, argument):
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise TooLong
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return f()
    finally:
        sys.settrace(before)


@pytest.mark.short("30000001")
@pytest.mark.parametrize("batch", [PRIME, 30_000_000])
@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((4, 9), (4, 1, 3), {"groups": 4}),
        ((4, 5, 5), (8, 2, 3, 3), {"groups": 2}),
        ((3, 6, 6), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 4, 4, 4), (3, 2, 2, 2, 2), {}),
        ((8, 2), (3, 2, 4), {"layout": "channels_last"}),
        ((8, 8, 3), (3, 3, 3, 4), {"layout": "channels_last"}),
        ((5, 5, 4), (3, 3, 1, 4), {"layout": "channels_last", "groups": 4}),
    ],
)
def test_tracing_takes_no_time_in_proportion_to_the_batch(batch, x, w, options):
    x, w = jax.ShapeDtypeStruct((batch, *x), "float32"), jax.ShapeDtypeStruct(w, "float32")

    def both(x, w):
        y, vjp = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
        return y, vjp(y)

    y, (dx, dw) = within(1_000_000, lambda: jax.eval_shape(both, x, w))
    assert [len(y.shape), dx.shape, dw.shape] == [len(x.shape), x.shape, w.shape]


def test_the_steps_of_a_large_batch_are_no_constant_of_the_program():
    """Their numbers are counted where it runs."""
    x = jax.ShapeDtypeStruct((PRIME, 1, 2), "float32")
    program = jax.make_jaxpr(lambda x: loops.chunked_map(lambda part: part * 2, x, 1))(x)
    assert sum(getattr(const, "nbytes", 0) for const in program.consts) < 1000
