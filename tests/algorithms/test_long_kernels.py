"""Kernels of so many taps that loops go through them: exact values, and what an infinity or a NaN reaches."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracles
from cases import Case, arrays, assert_right, assert_same, by_id, computed, expected, integers
from jaxconv import conv, conv_input_vjp, conv_weight_vjp

pytestmark = pytest.mark.unoptimised

MAPS = ("y", "dx", "dw")


def first(id, x_shape, w_shape, **options):
    return Case(id, x_shape, w_shape, options)


def last(id, x_shape, w_shape, **options):
    return Case(id, x_shape, w_shape, {**options, "layout": "channels_last"})


CASES = (
    first("129-causal", (2, 3, 140), (3, 1, 129), groups=3, padding="CAUSAL"),
    last("130-same", (2, 135, 3), (130, 1, 3), groups=3, padding="SAME"),
    last("130-multiplier-negative", (2, 150, 2), (130, 1, 4), groups=2, padding=[(3, -2)]),
    first("200-two-channels-by-twos", (2, 4, 130), (6, 2, 200), groups=2, stride=2, padding=[(5, 100)]),
    last("257-two-channels-by-threes", (1, 300, 4), (257, 2, 4), groups=2, stride=3, padding=[(-2, 25)]),
    first("129-dilated-strided", (2, 2, 300), (2, 1, 129), groups=2, dilation=2, stride=3, padding=[(7, -3)]),
    last("129-three-channels-dilated", (2, 130, 6), (129, 3, 4), groups=2, dilation=3, padding=[(200, 65)]),
    first("200-stride-of-sixty", (2, 2, 333), (4, 1, 200), groups=2, stride=60, padding=[(1, 4)]),
    last("200-stride-over-kernel", (1, 651, 2), (200, 1, 2), groups=2, stride=210, padding=1),
    first("129-one-channel", (2, 1, 140), (1, 1, 129), padding=[(3, 2)]),
    first("31x31-same", (2, 2, 9, 8), (2, 1, 31, 31), groups=2, padding="SAME"),
    last("31x31-strided", (1, 33, 40, 2), (31, 31, 1, 2), groups=2, stride=(2, 3), padding=[(1, 2), (-1, 3)]),
    first("three-axes", (1, 2, 3, 4, 132), (2, 1, 2, 3, 129), groups=2, stride=(1, 1, 2), padding=1),
)


def assert_all_right(case, dtype, names=MAPS):
    inputs = arrays(case, dtype)
    right = expected(case, inputs, names)
    by_hand, _ = computed(case, inputs, names, by_jax_too=False)
    assert by_hand.keys() == right.keys()
    for name, value in by_hand.items():
        assert_right(name, value, right[name], dtype)


@pytest.mark.short("causal", "two-channels-by-threes")
@pytest.mark.parametrize("case", **by_id(CASES))
def test_value_and_gradients(case):
    assert_all_right(case, jnp.float32)


@pytest.mark.short("bfloat16-200")
@pytest.mark.parametrize("case", **by_id(CASES[3:5]))
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64], ids=lambda d: d.__name__)
def test_other_dtypes(case, dtype):
    assert_all_right(case, dtype)


@pytest.mark.short("float64")
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128], ids=lambda d: d.__name__)
def test_double_precision(dtype):
    with jax.enable_x64(True):
        assert_all_right(CASES[1], dtype)


def test_second_order():
    assert_all_right(CASES[0], jnp.float32, names=("x̄", "w̄", "ḡ"))


@pytest.mark.short("130-channels_last")
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("k", [130, 1024])
def test_as_lax_where_sums_are_exact(k, layout):
    """Whole numbers, in steps of the batch and mapped: every order of adding gives the same bits."""
    x, w, g = integers(k, (4, 3, 200), (6, 1, k), (4, 6, 200), most=2)
    if layout == "channels_last":
        x, g, w = np.moveaxis(x, 1, -1), np.moveaxis(g, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    options = {"groups": 3, "padding": "CAUSAL", "layout": layout}

    def both(x, w, g, **how):
        y, vjp = jax.vjp(partial(conv, **options, **how), x, w)
        return y, *vjp(g)

    by_lax = jax.jit(partial(both, lowering="reference"))(x, w, g)
    assert_same(jax.jit(both)(x, w, g), by_lax)
    y, dx, dw = jax.jit(jax.vmap(both, (0, None, 0)))(x[:, None], w, g[:, None])
    assert_same((y[:, 0], dx[:, 0], dw.sum(0)), by_lax)


@pytest.mark.short("5")
@pytest.mark.parametrize("stride", [1, 5])
def test_inside_shard_map(stride):
    """What the loops begin with varies over the mesh axes that their sums vary over."""
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = integers(0, (2, 4, 150), (4, 2, 150))
    options = {"groups": 2, "padding": "SAME", "stride": stride}

    def both(x, w, **how):
        y, vjp = jax.vjp(partial(conv, **options, **how), x, w)
        return y, *vjp(y)

    sharded, same = jax.P("batch"), jax.P()
    each = jax.shard_map(both, mesh=mesh, in_specs=(sharded, same), out_specs=(sharded, sharded, same))
    assert_same(jax.jit(each)(x, w), jax.jit(partial(both, lowering="reference"))(x, w))


def pattern(a):
    """What is no finite number, and which."""
    return np.where(np.isfinite(a), 0, np.nan_to_num(np.sign(a), nan=2))


def by_hand_and_by_loops(map_, a, b, case):
    """One of the three maps of its two arrays, and the oracle's; what an output reads of the padding are terms, too."""
    ours = {"y": conv, "dx": conv_input_vjp, "dw": conv_weight_vjp}[map_]
    loops = {"y": oracles.conv, "dx": oracles.conv_input_vjp, "dw": oracles.conv_weight_vjp}[map_]
    sizes = {"y": {}, "dx": {"input_size": case.input_size}, "dw": {"kernel_size": case.kernel_size}}[map_]
    options = case.options
    made = ours(a, b, **sizes, **options)
    if map_ == "dw":
        windows = oracles.Windows.of(
            case.input_size, case.kernel_size, options["stride"], options["padding"], options.get("dilation", 1)
        )
        edges = [(lo, hi, 0) for lo, hi in zip(windows.lo, windows.hi, strict=True)]
        edges = [(0, 0, 0)] * 2 + edges if case.channels_first else [(0, 0, 0), *edges, (0, 0, 0)]
        a, options = jax.lax.pad(a, np.float32(0), edges), {**options, "padding": 0}
    return made, loops(a, b, **sizes, **options)


@pytest.mark.short("200-two.*nan")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["x of y", "g of dx", "g of dw", "x of dw"])
@pytest.mark.parametrize("case", **by_id([CASES[i] for i in (3, 5, 7, 11)]))
def test_one_bad_number_reaches_what_it_is_a_term_of_and_nothing_else(case, which, bad):
    """At the ends, in the middle, and in x where no window reads."""
    x, w, _, g, *_ = map(np.asarray, arrays(case, jnp.float32))
    spoilt, other = {"x of y": (x, w), "g of dx": (g, w), "g of dw": (g, x), "x of dw": (x, g)}[which]
    for at in (0, 0.5, 0.99, 1):
        place = tuple(round(at * (n - 1)) for n in case.space(spoilt.shape))
        a = spoilt.copy()
        a[(0, -1, *place) if case.channels_first else (0, *place, -1)] = bad
        pair = (other, a) if which == "g of dw" else (a, other)
        made, loops = by_hand_and_by_loops(which.split()[-1], *pair, case)
        np.testing.assert_array_equal(pattern(made), pattern(loops))


def test_a_bad_number_that_no_window_reads_reaches_nothing():
    """Cut off before, left over behind a stride, and between the windows."""
    x, w, g = integers(0, (1, 2, 300), (2, 1, 129), (1, 2, 14))
    options = {"groups": 2, "stride": 13, "padding": [(-1, -1)]}
    assert conv(x, w, **options).shape == g.shape
    bad = x.at[..., 0].set(jnp.nan).at[..., -1].set(jnp.inf)
    assert_same(conv(bad, w, **options), conv(x, w, **options))
    sizes = {"kernel_size": 129, **options}
    assert_same(conv_weight_vjp(bad, g, **sizes), conv_weight_vjp(x, g, **sizes))


@pytest.mark.short("first-1|last-2")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_the_program_does_not_grow_with_the_taps(layout, stride):
    """So neither does the time that it compiles for."""

    def lines(k):
        shapes = ((1, 4, 5000), (4, 2, k)) if layout == "channels_first" else ((1, 5000, 4), (k, 2, 4))
        f = partial(conv, groups=2, padding="CAUSAL", stride=stride, layout=layout)
        both = jax.jit(lambda x, w: jax.vjp(f, x, w)[1](f(x, w)))
        return both.lower(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)).as_text().count("\n")

    assert lines(4096) < 1.5 * lines(130)
    assert lines(4096) < 3000
