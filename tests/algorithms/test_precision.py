"""`precision`: what lax's convolution takes and refuses, and what it writes into the program; in every form."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from jax import Array, lax

from cases import LOWERINGS, assert_same, integers
from jaxconv import conv, conv_input_jacobian, conv_input_vjp, conv_sharded, conv_transpose, conv_weight_vjp
from jaxconv.convolution.config import DERIVATIVES

pytestmark = pytest.mark.unoptimised

X, W, G = integers(0, (2, 4, 9), (6, 2, 3), (2, 6, 5))
OPTIONS: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}

PRESETS = list(lax.DotAlgorithmPreset)
ALGORITHM = lax.DotAlgorithm(np.float32, np.float32, np.float32)
NAMES = ["default", "fastest", "bfloat16", "high", "bfloat16_3x", "tensorfloat32", "highest", "float32"]
PAIRS: list[Any] = [("high", "highest"), ["default", "float32"], (lax.Precision.HIGH, lax.Precision.DEFAULT)]
TAKEN = [None, *lax.Precision, *NAMES, np.str_("high"), *PRESETS, *(each.name for each in PRESETS), ALGORITHM, *PAIRS]

ONE_OF = "must be one of 'default', 'fastest', 'bfloat16', 'high', 'bfloat16_3x', 'tensorfloat32', 'highest', 'float32'"
NAMED = f"`precision` {ONE_OF} or the name of a lax.DotAlgorithmPreset"
KINDS = (
    "`precision` must be None, a name, a lax.Precision, a pair of names, a pair of lax.Precision values, "
    "a lax.DotAlgorithm or a lax.DotAlgorithmPreset"
)
PAIR = "`precision` must be two names or two lax.Precision values where it is a pair"
F32 = "F32_F32_F32"
REFUSED: list[tuple[Any, type[Exception], str]] = [
    ("best", ValueError, f"{NAMED}; got precision='best'."),
    ("", ValueError, f"{NAMED}; got precision=''."),
    ("HIGHEST", ValueError, f"{NAMED}; got precision='HIGHEST': did you mean 'highest'?"),
    ("tf32_tf32_f32", ValueError, f"{NAMED}; got precision='tf32_tf32_f32': did you mean 'TF32_TF32_F32'?"),
    (("high", "hihgest"), ValueError, f"`precision[1]` {ONE_OF}; got precision[1]='hihgest': did you mean 'highest'?"),
    ((F32, "high"), ValueError, f"`precision[0]` {ONE_OF}; got precision[0]='{F32}'."),
    ((None, None), TypeError, f"{PAIR}; got precision=(None, None)."),
    ((None, "high"), TypeError, f"{PAIR}; got precision=(None, 'high')."),
    (("high", 3), TypeError, f"{PAIR}; got precision=('high', 3)."),
    (3, TypeError, f"{KINDS}; got precision=3."),
    (True, TypeError, f"{KINDS}; got precision=True."),
    (("high",), TypeError, f"{KINDS}; got precision=('high',)."),
    (("high",) * 3, TypeError, f"{KINDS}; got precision=('high', 'high', 'high')."),
    (np.dtype("float32"), TypeError, f"{KINDS}; got precision=dtype('float32')."),
]


def by_lax(x: Array, w: Array, precision: Any = None) -> Array:
    return lax.conv_general_dilated(x, w, (2,), [(1, 1)], feature_group_count=2, precision=precision)


def asked(f: Callable[..., Any], *args: Array) -> list[tuple[str, ...]]:
    """The precisions of the two factors of every product in the program, in order; and no algorithm."""
    text = jax.jit(f).lower(*args).as_text()
    assert "algorithm" not in text
    products = re.findall(r"precision(?:_config)? = \[([^]]*)\]", text)
    return [tuple(re.findall(r"DEFAULT|HIGHEST|HIGH", each)) for each in products]


def named(precision: Any) -> str:
    return "algorithm" if precision is ALGORITHM else str(precision)


# Of every kind one: `test_the_program_asks_for_what_lax_asks` has them all.
KINDS_TAKEN = [None, lax.Precision.HIGHEST, "high", "float32", lax.DotAlgorithmPreset.TF32_TF32_F32, "BF16_BF16_F32"]


@pytest.mark.short("^high$")
@pytest.mark.parametrize("precision", [*KINDS_TAKEN, ALGORITHM, *PAIRS], ids=named)
def test_what_lax_takes(precision: Any) -> None:
    """Value and both gradients, in every form: on a CPU no precision rounds a factor of lax's convolution."""
    y, pull = jax.vjp(partial(by_lax, precision=precision), X, W)
    right = y, *pull(G)
    for derivative in DERIVATIVES:
        y, pull = jax.vjp(partial(conv, **OPTIONS, precision=precision, derivative=derivative), X, W)
        assert_same((y, *pull(G)), right)
    for lowering in LOWERINGS[1:]:
        how = {**OPTIONS, "precision": precision, "lowering": lowering}
        dx, dw = conv_input_vjp(G, W, input_size=9, **how), conv_weight_vjp(X, G, kernel_size=3, **how)
        assert_same((conv(X, W, **how), dx, dw), right)
        assert_same(conv_transpose(G, W, output_size=9, **how), dx)
        y, pull = jax.vjp(partial(conv, **how), X, W)
        assert_same((y, *pull(G)), right)
    jacobian = conv_input_jacobian(X[:1], W, **OPTIONS, precision=precision)
    assert_same(jacobian, conv_input_jacobian(X[:1], W, **OPTIONS))


@pytest.mark.parametrize("precision", TAKEN, ids=named)
def test_the_program_asks_for_what_lax_asks(precision: Any) -> None:
    """In the form that is lax's own the very pair; in matrix products the same precision."""
    right = asked(partial(by_lax, precision=precision), X, W)
    assert asked(partial(conv, **OPTIONS, precision=precision, lowering="reference"), X, W) == right
    products = asked(partial(conv, **OPTIONS, precision=precision, lowering="gemm"), X, W)
    assert products
    assert set(products) == set(right)


@pytest.mark.short("auto|TF32_TF32_F32-gemm")
@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("name", ["highest", "tensorfloat32", "TF32_TF32_F32", "F16_F16_F16", "BF16_BF16_F32"])
def test_the_precision_in_force_is_taken_as_lax_takes_it(name: str, lowering: str) -> None:
    """A matrix product under such a preset rounds its factors, or is refused on a CPU; lax's convolution is not."""
    x, w, g = (each * 1.001 for each in (X, W, G))  # not whole numbers of few bits
    f = partial(conv, **OPTIONS, lowering=lowering)
    with jax.default_matmul_precision("highest"):
        y, pull = jax.vjp(f, x, w)
        right = y, *pull(g)
    with jax.default_matmul_precision(name):
        y, pull = jax.vjp(f, x, w)
        np.testing.assert_array_equal(y, right[0])
        assert_same(pull(g), right[1:])
        assert set(asked(f, x, w)) <= set(asked(by_lax, x, w))


def test_gradients_take_the_precision_of_the_value() -> None:
    """As lax's do: what is in force where the gradient is asked for later does not count."""
    with jax.default_matmul_precision("default"):
        _, pull = jax.vjp(partial(conv, **OPTIONS, lowering="reference"), X, W)
    with jax.default_matmul_precision("highest"):
        assert asked(pull, G) == [("DEFAULT", "DEFAULT")] * 2


CALLS: dict[str, Callable[..., Any]] = {
    "conv": lambda **how: conv(X, W, **OPTIONS, **how),
    "conv_input_vjp": lambda **how: conv_input_vjp(G, W, input_size=9, **OPTIONS, **how),
    "conv_weight_vjp": lambda **how: conv_weight_vjp(X, G, kernel_size=3, **OPTIONS, **how),
    "conv_transpose": lambda **how: conv_transpose(G, W, **OPTIONS, **how),
    "conv_sharded": lambda **how: conv_sharded(X, W, axis_name="space", **OPTIONS, **how),
}


@pytest.mark.parametrize(("precision", "error", "message"), REFUSED, ids=[repr(each[0]) for each in REFUSED])
def test_what_lax_refuses(precision: Any, error: type[Exception], message: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        by_lax(X, W, precision)
    for function, call in CALLS.items():
        with pytest.raises(error) as raised:
            call(precision=precision)
        assert str(raised.value) == f"{function}: {message}"
