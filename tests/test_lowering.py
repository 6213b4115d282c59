"""The table that picks a form: what it picks, that both forms are reached, and that an exported call holds both."""

import jax
import jax.numpy as jnp
import pytest

from cases import integers
from jaxconv import conv, gemm, lowering
from jaxconv.geometry import Geometry

WEIGHTS, INPUTS, VALUE = "conv_weight_vjp", "conv_input_vjp", "conv"


def chosen(which, channels, filters, n=(14, 14), k=(3, 3), double=False, **options):
    geometry = Geometry.of("conv", n, k, **options)
    return next(row for row in lowering.CPU if row.fits(lowering.Call(which, geometry, channels, filters, double))).form


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("form", "which", "channels", "filters", "options"),
    [
        ("gemm", WEIGHTS, 4, 4, {"groups": 32, "padding": 1}),
        ("gemm", VALUE, 1, 1, {"groups": 96, "padding": 1}),
        ("gemm", INPUTS, 128, 128, {"stride": 2, "padding": 1}),
        ("gemm", WEIGHTS, 64, 64, {"padding": 1}),
        ("gemm", WEIGHTS, 256, 64, {"k": (1, 1)}),
        ("gemm", INPUTS, 3, 64, {"k": (7, 7), "stride": 7}),
        ("gemm", INPUTS, 3, 64, {"k": (7, 7), "stride": 2}),
        ("gemm", VALUE, 16, 16, {"padding": 1}),
        ("gemm", VALUE, 64, 64, {"n": (4, 14, 14), "k": (3, 3, 3)}),
        ("gemm", VALUE, 128, 128, {"n": (14,), "k": (3,), "double": True}),
        ("reference", VALUE, 128, 128, {"n": (14,), "k": (3,)}),
        ("reference", WEIGHTS, 128, 128, {"n": (14,), "k": (3,)}),
    ],
)
def test_the_table(form, which, channels, filters, options, layout):
    assert chosen(which, channels, filters, layout=layout, **options) == form


@pytest.mark.parametrize(
    ("which", "channels", "filters", "options"),
    [
        (VALUE, 64, 64, {"padding": 1}),
        (INPUTS, 64, 64, {"padding": 1}),
        (VALUE, 3, 64, {"k": (7, 7), "stride": 2}),
        (VALUE, 3, 64, {"k": (7, 7), "stride": 7}),
    ],
)
@pytest.mark.parametrize("tuned", [True, False])
def test_the_table_knows_where_lax_is_tuned(which, channels, filters, options, tuned, monkeypatch):
    monkeypatch.setattr(lowering, "TUNED", tuned)
    assert chosen(which, channels, filters, **options) == ("reference" if tuned else "gemm")


def test_a_product_as_it_stands_is_not_laid_out_anew():
    assert chosen(VALUE, 256, 64, k=(1, 1), layout="channels_last") == "reference"
    assert chosen(VALUE, 256, 64, k=(1, 1)) == "gemm"


def test_every_row_says_why():
    for row in lowering.CPU:
        assert row.form in lowering.LOWERINGS[1:]
        assert row.because


@pytest.mark.parametrize(
    "options", [{}, {"stride": (2, 1)}, {"stride": (1, 3), "dilation": (2, 1), "padding": 2}, {"groups": 3}]
)
@pytest.mark.parametrize("size", [1, 400, 1 << 22])
@pytest.mark.parametrize("positions", [1, 256])
def test_pieces_with_a_remainder(options, size, positions, monkeypatch):
    """Images in pieces along one axis and one, two or all at a time: on whole numbers the same to the bit."""
    monkeypatch.setattr(gemm, "PIECE_BYTES", size)
    monkeypatch.setattr(gemm, "POSITIONS", positions)
    geometry = Geometry.of("conv", (11, 9), (3, 3), **options)
    groups = options.get("groups", 1)
    x, w, g = integers(0, (2, 6, 11, 9), (6, 6 // groups, 3, 3), (2, 6, *geometry.output_size))
    for which, a, b in ((VALUE, x, w), (INPUTS, g, w), (WEIGHTS, x, g)):
        made = jax.jit(lambda a, b, which=which: getattr(gemm, which)(a, b, geometry))(a, b)
        assert (made == getattr(lowering.reference, which)(a, b, geometry)).all()


@pytest.mark.parametrize("channels", [1, 64])
def test_both_sides_take_the_first_axis(channels):
    """Few input channels keep all taps on the side of x; many move the first axis to g, which makes fewer copies."""
    geometry = Geometry.of("conv", (9, 9), (3, 3))
    split = gemm._split(2, channels, 64, geometry, 4, "y")
    assert (split.rows is None) == (channels == 1)


def test_one_product_where_windows_do_not_overlap():
    """Also with a single input channel: a program of a few lines, not one for every phase of the stride."""
    geometry = Geometry.of("conv", (32, 32), (16, 16), stride=16)
    w, g = integers(0, (8, 1, 16, 16), (2, 8, 2, 2))
    dx = jax.make_jaxpr(lambda g, w: gemm.conv_input_vjp(g, w, geometry))(g, w)
    assert str(dx).count("dot_general") == 1
    assert (gemm.conv_input_vjp(g, w, geometry) == lowering.reference.conv_input_vjp(g, w, geometry)).all()


def test_an_exported_call_is_each_platforms_own():
    """On a CPU the product, elsewhere lax's convolution."""
    x, w = jnp.ones((1, 4, 6)), jnp.ones((4, 1, 3))
    programs = {
        platform: jax.export.export(jax.jit(lambda x, w: conv(x, w, groups=4)), platforms=[platform])(
            x, w
        ).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {platform for platform, text in programs.items() if "stablehlo.convolution" in text} == {"cuda", "tpu"}
