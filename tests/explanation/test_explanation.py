"""explain: the text says what is computed, the code is the source's own, a wrong gradient shows, HTML is escaped."""

from __future__ import annotations

import base64
import html
import inspect
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import Geometry, conv, explain
from jaxconv.algorithms import reference
from jaxconv.explanation import explained as explanation

pytest.importorskip("matplotlib")

X = np.arange(10.0, dtype=np.float32).reshape(2, 5)
W = np.array([[[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]]], np.float32)
GEOMETRIES = [
    Geometry.of("conv", (9,), (3,), stride=2, padding=[(-1, 2)], dilation=2, groups=2),
    Geometry.of("conv", (5, 6), (3, 2), stride=(2, 1), padding=1, layout="channels_last"),
    Geometry.of("conv", (3, 4, 3), (2, 2, 2)),
]


@pytest.fixture(scope="module")
def explained():
    return explain(conv, X, W, stride=2)


def test_numbers_are_those_of_the_call(explained):
    text = str(explained)
    assert "⌊(5 + 0 + 0 − 1·(3 − 1) − 1)/2⌋ + 1 = 2" in text
    assert "conv_input_vjp(g, w, input_size=(5,), stride=2)" in text
    assert "padding=((2, 2),), lhs_dilation=(2,), rhs_dilation=(1,)" in text, "what the gradient's code comes to"


def test_the_calls_can_be_pasted_whatever_the_integers_are():
    of = lambda integer, array: str(explain(conv, X, W, stride=integer(2), padding=array([[1, 0]])))  # noqa: E731
    assert of(np.int64, np.array) == of(jnp.int32, jnp.array) == of(int, list)
    assert "stride=2, padding=[[1, 0]])" in of(jnp.int32, jnp.array)


def test_an_entry_of_each_map_is_its_terms():
    """Whatever the layout, groups and padding: the terms that are written out add up to the entry."""
    for explained in (explain(conv, X, W, stride=2), *(explain(geometry) for geometry in GEOMETRIES)):
        for line, *_ in explained.worked:
            total = float(line.rsplit(" = ", 1)[1])
            factors = re.findall(r"\(([-\d.e]+)\)·\(([-\d.e]+)\)", line)
            assert factors or line.endswith(" = 0 = 0"), "an input that no window reads has no terms"
            if " more = " not in line:
                assert total == pytest.approx(sum(float(a) * float(b) for a, b in factors), abs=5e-3)
    (y, *_), (dx, *_), (dw, *_) = explain(conv, X, W, stride=2).worked
    assert y.startswith("y[0, 1] = ")
    assert float(y.rsplit(" = ", 1)[1]) == conv(X, W, stride=2)[0, 1]
    assert dx.startswith("dx[0, 2] = Σ w·g = (3)·(")
    assert dw.startswith("dw[0, 0, 1] = ")


def test_x_and_the_cotangent_are_not_the_same_numbers():
    (_, _, (dw, *_)) = explain(Geometry.of("conv", (1,), (1,))).worked
    ((g, x),) = re.findall(r"\(([-\d.]+)\)·\(([-\d.]+)\)", dw)
    assert g != x


def test_a_wide_input_is_drawn_smaller_and_that_is_said():
    shown = explain(Geometry.of("conv", (200,), (3,), stride=2, padding=1))._repr_html_()
    assert "<img" in shown
    assert "The same windows on an input of 7." in shown
    assert "No picture" in explain(Geometry.of("conv", (200,), (100,)))._repr_html_()


def test_code_is_the_source(explained):
    for (_, formula, code), f in zip(
        explained.formulas, (reference.conv, reference.conv_input_vjp, reference.conv_weight_vjp), strict=True
    ):
        source = inspect.getsource(f)
        assert formula in source
        assert all(line.strip() in source for line in code.splitlines())
        assert "lax.conv_general_dilated(" in code


@pytest.mark.slow
def test_the_same_is_said_where_docstrings_are_stripped(explained):
    code = "import numpy as np; from jaxconv import conv, explain; "
    code += f"print(explain(conv, np.float32({X.tolist()}), np.float32({W.tolist()}), stride=2))"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, encoding="utf-8",
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{explained}\n"


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: f"{geometry.axes}-D")
def test_a_geometry_is_checked_with_random_numbers(geometry):
    explained = explain(geometry)
    assert [check.name for check in explained.checks] == ["y", "dx", "dw"]
    assert all(check.passed for check in explained.checks)
    assert any(check.units > 0 for check in explained.checks)
    assert "DISAGREES" not in str(explained)


@pytest.mark.short("^1e-20.*float32", "float16", "^-?1e10|complex64")
@pytest.mark.parametrize(
    ("x", "w", "dtype", "off"),
    [
        (1e-20, 1e-20, "float32", 5 * 27 * 2**-126),
        (1e-20, 1e-20, "bfloat16", 5 * 27 * 2**-126),
        (1e-4, 1e-4, "float16", 5 * 2**-24),
        (1e-20, 1e-20 + 1e-20j, "complex64", 10 * 27 * 2**-126),
        (1e-160, 1e-160, "float64", 5 * 27 * 2**-1022),
        (1e-39, 1e10, "float32", 5 * 27e-29),
        (1e10, -1e-39, "bfloat16", 5 * 27e-29),
    ],
)
def test_what_is_flushed_to_zero_agrees_and_what_is_not_is_still_judged(x, w, dtype, off, monkeypatch):
    """`off` is five times what may be lost of a sum of 27 products, and more than float16 rounds by."""
    with jax.enable_x64(dtype == "float64"):
        at = (jnp.full((2, 3, 8, 8), x, dtype), jnp.full((4, 3, 3, 3), w, dtype))
        assert "DISAGREES" not in str(explain(conv, *at))
        wrong = lambda x, w, **options: conv(x, w, **options) + jnp.asarray(off, dtype)  # noqa: E731
        monkeypatch.setattr(explanation, "conv", wrong)
        assert [check.passed for check in explain(wrong, *at).checks] == [False, True, True]


def test_a_wrong_gradient_is_called_wrong(monkeypatch):
    right = explanation.oracle.conv_weight_vjp
    monkeypatch.setattr(explanation.oracle, "conv_weight_vjp", lambda *at: right(*at) * (1 + 1e-3))
    checks = {check.name: check.passed for check in explain(GEOMETRIES[0]).checks}
    assert checks == {"y": True, "dx": True, "dw": False}


def test_html_has_a_picture_and_is_escaped(explained):
    shown = explained._repr_html_()
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', shown).group(1)
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    hostile = explanation.Explanation(
        "<script>alert(1)</script>", explained.formulas, ("<b>",), explained.checks, GEOMETRIES[2]
    )
    shown = hostile._repr_html_()
    assert html.escape(hostile.title) in shown
    assert "<script" not in shown
    assert "<b>\n" not in shown.replace("<p><b>", "")
    assert html.escape("<b>") in shown
    assert "No picture: more than two spatial axes" in shown


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: explain(jnp.sin, X, W), TypeError, r"explain: `call` must be the function conv, or a Geometry"),
        (lambda: explain(GEOMETRIES[0], X), ValueError, r"explain: a Geometry must come alone"),
        (
            lambda: explain(conv, X, W, padding_mode="edge"),
            ValueError,
            r"options must be those that change a window, .*; got padding_mode=",
        ),
        (lambda: explain(conv, X, W, stride=0), ValueError, r"`stride` must be at least 1; got stride=0"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
