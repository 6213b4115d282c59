"""The table that picks a form: what it picks, that both forms are reached, and that an exported call holds both."""

import jax
import jax.numpy as jnp
import pytest

from cases import integers
from jaxconv import conv, gemm, lowering
from jaxconv.geometry import Geometry

WEIGHTS, INPUTS, VALUE = "conv_weight_vjp", "conv_input_vjp", "conv"


def chosen(which, channels, filters, n=(14, 14), k=(3, 3), **options):
    geometry = Geometry.of("conv", n, k, **options)
    return next(row for row in lowering.CPU if row.fits(lowering.Call(which, geometry, channels, filters))).form


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("form", "which", "channels", "filters", "options"),
    [
        ("gemm", WEIGHTS, 4, 4, {"groups": 32, "padding": 1}),
        ("gemm", VALUE, 1, 1, {"groups": 96, "padding": 1}),
        ("gemm", INPUTS, 128, 128, {"stride": 2, "padding": 1}),
        ("gemm", WEIGHTS, 64, 64, {"padding": 1}),
        ("gemm", VALUE, 256, 64, {"k": (1, 1)}),
        ("gemm", INPUTS, 3, 64, {"k": (7, 7), "stride": 7}),
        ("gemm", INPUTS, 1, 64, {"k": (14, 14), "stride": 14}),
        ("reference", VALUE, 1, 1, {"k": (14, 14), "stride": 14, "groups": 8}),
        ("reference", VALUE, 64, 64, {"padding": 1}),
        ("reference", INPUTS, 64, 64, {"padding": 1}),
        ("reference", VALUE, 3, 64, {"k": (7, 7), "stride": 2}),
        ("reference", VALUE, 32, 32, {"k": (9, 9)}),
    ],
)
def test_the_table(form, which, channels, filters, options, layout):
    assert chosen(which, channels, filters, layout=layout, **options) == form


def test_every_row_says_why():
    for row in lowering.CPU:
        assert row.form in lowering.LOWERINGS[1:]
        assert row.because


def test_tiles_with_a_remainder(monkeypatch):
    """Tiles of two rows over five, so that the loop and the rest behind it both run."""
    x, w, g = integers(0, (2, 3, 11, 6), (4, 3, 3, 3), (2, 4, 5, 4))
    geometry = Geometry.of("conv", (11, 6), (3, 3), stride=(2, 1))
    monkeypatch.setattr(gemm, "TILE_BYTES", 2 * (2 * 4 * 9 * 3 * 4))
    assert gemm.conv(x, w, geometry).shape == g.shape
    for which, a, b in ((VALUE, x, w), (INPUTS, g, w), (WEIGHTS, x, g)):
        by_tiles = jax.jit(lambda a, b, which=which: getattr(gemm, which)(a, b, geometry))(a, b)
        assert (by_tiles == getattr(lowering.reference, which)(a, b, geometry)).all()
    loop = jax.make_jaxpr(lambda x, w: gemm.conv(x, w, geometry))(x, w)
    assert "scan" in str(loop) or "while" in str(loop)


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
