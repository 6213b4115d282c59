"""Bad input to the convolutions: every rule has a call that breaks it, and the whole message is read.

A message names function, argument, rule and what came, with the numbers; it is raised from static facts alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import assert_same, integers
from jaxconv import (
    TransposedWindow,
    Window,
    conv,
    conv_input_jacobian,
    conv_input_vjp,
    conv_transpose,
    conv_weight_vjp,
    output_shape,
    output_size,
    receptive_field,
)
from jaxconv.algorithms.choose import ALGORITHMS

X, W, G = integers(0, (2, 8, 32), (4, 8, 3), (2, 4, 30))
SHAPES = "(x.shape=(2, 8, 32), w.shape=(4, 8, 3))"
DTYPES = "bfloat16, float16, float32, float64, complex64 or complex128"
PADDINGS = "'VALID', 'SAME', 'SAME_LOWER', 'CAUSAL', 'FULL'"


def assert_refuses(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def no_fit(window: int, have: int, where: str, advice: str) -> str:
    rule = f"a window of {window} needs at least {window} positions"
    return f"`kernel` must fit into the padded input: {rule}; got {have} on spatial axis 0 ({where}): {advice}."


OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    # one integer per axis
    ({"stride": 0}, ValueError, "`stride` must be at least 1; got stride=0."),
    ({"stride": -1}, ValueError, "`stride` must be at least 1; got stride=-1."),
    ({"stride": 1.5}, TypeError, "`stride` must be an integer; got stride=1.5 (float)."),
    ({"stride": True}, TypeError, "`stride` must be an integer; got stride=True (bool)."),
    ({"stride": "2"}, TypeError, "`stride` must be an integer; got stride='2' (str)."),
    ({"stride": None}, TypeError, "`stride` must be an integer; got stride=None (NoneType)."),
    ({"stride": (0,)}, ValueError, "`stride[0]` must be at least 1; got stride[0]=0."),
    (
        {"stride": (1, 1)},
        ValueError,
        "`stride` must be one integer or one per spatial axis (1); got stride=(1, 1).",
    ),
    ({"dilation": 0}, ValueError, "`dilation` must be at least 1; got dilation=0."),
    ({"dilation": -1}, ValueError, "`dilation` must be at least 1; got dilation=-1."),
    ({"dilation": 1.5}, TypeError, "`dilation` must be an integer; got dilation=1.5 (float)."),
    ({"dilation": True}, TypeError, "`dilation` must be an integer; got dilation=True (bool)."),
    (
        {"dilation": (1, 1)},
        ValueError,
        "`dilation` must be one integer or one per spatial axis (1); got dilation=(1, 1).",
    ),
    # groups
    ({"groups": 0}, ValueError, "`groups` must be at least 1; got groups=0."),
    ({"groups": -1}, ValueError, "`groups` must be at least 1; got groups=-1."),
    ({"groups": 1.5}, TypeError, "`groups` must be an integer; got groups=1.5 (float)."),
    ({"groups": True}, TypeError, "`groups` must be an integer; got groups=True (bool)."),
    ({"groups": (1,)}, TypeError, "`groups` must be an integer; got groups=(1,) (tuple)."),
    ({"groups": 3}, ValueError, f"`groups` must divide the input channels; got groups=3, channels=8 {SHAPES}."),
    ({"groups": 8}, ValueError, f"`groups` must divide the output channels; got groups=8, channels=4 {SHAPES}."),
    # padding
    (
        {"padding": "SAMEE"},
        ValueError,
        f"`padding` must be one of {PADDINGS}; got padding='SAMEE': did you mean 'SAME'?",
    ),
    (
        {"padding": "same"},
        ValueError,
        f"`padding` must be one of {PADDINGS}; got padding='same': did you mean 'SAME'?",
    ),
    ({"padding": "reflect"}, ValueError, f"`padding` must be one of {PADDINGS}; got padding='reflect'."),
    ({"padding": 1.5}, TypeError, "`padding` must be an integer; got padding=1.5 (float)."),
    ({"padding": True}, TypeError, "`padding` must be an integer; got padding=True (bool)."),
    (
        {"padding": (1, 2, 3)},
        ValueError,
        "`padding` must be one integer, one per spatial axis (1) or one (lo, hi) pair per spatial axis; "
        "got padding=(1, 2, 3).",
    ),
    (
        {"padding": [(1, 2, 3)]},
        ValueError,
        "`padding[0]` must be one integer or one (lo, hi) pair; got padding=[(1, 2, 3)].",
    ),
    ({"padding": [(1.5, 1)]}, TypeError, "`padding[0][0]` must be an integer; got padding[0][0]=1.5 (float)."),
    ({"padding": [(1, False)]}, TypeError, "`padding[0][1]` must be an integer; got padding[0][1]=False (bool)."),
    # windows that do not fit; lax returns an empty array
    (
        {"dilation": 16},
        ValueError,
        no_fit(
            33,
            32,
            "size=32, padding=(0, 0), kernel=3, dilation=16",
            "raise padding by 1 or use a kernel ≤ 2",
        ),
    ),
    (
        {"padding": -15},
        ValueError,
        no_fit(3, 2, "size=32, padding=(-15, -15), kernel=3, dilation=1", "raise padding by 1 or use a kernel ≤ 2"),
    ),
    (
        {"padding": -20},
        ValueError,
        no_fit(3, -8, "size=32, padding=(-20, -20), kernel=3, dilation=1", "raise padding by 11"),
    ),
    # words
    (
        {"layout": "NCHW"},
        ValueError,
        "`layout` must be one of 'channels_first', 'channels_last'; got layout='NCHW'.",
    ),
    (
        {"layout": None},
        TypeError,
        "`layout` must be one of 'channels_first', 'channels_last'; got layout=None.",
    ),
    (
        {"derivative": "hands"},
        ValueError,
        "`derivative` must be one of 'hand', 'jax', 'any'; got derivative='hands': did you mean 'hand'?",
    ),
    (
        {"padding_mode": "zero"},
        ValueError,
        "`padding_mode` must be one of 'zeros', 'reflect', 'edge', 'circular'; got padding_mode='zero': "
        "did you mean 'zeros'?",
    ),
    # copies of what is not there
    (
        {"padding": 32, "padding_mode": "reflect"},
        ValueError,
        "`padding` with padding_mode='reflect' must not be wider than the 31 positions to copy; got padding=(32, 32) "
        "on spatial axis 0 of 32 positions.",
    ),
    (
        {"padding": [(0, 33)], "padding_mode": "circular"},
        ValueError,
        "`padding` with padding_mode='circular' must not be wider than the 32 positions to copy; got padding=(0, 33) "
        "on spatial axis 0 of 32 positions.",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS, ids=[str(o) for o, *_ in OPTIONS])
def test_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Eagerly, and with the same words while tracing."""
    assert_refuses(lambda: conv(X, W, **options), error, f"conv: {message}")
    assert_refuses(lambda: jax.eval_shape(lambda x, w: conv(x, w, **options), X, W), error, f"conv: {message}")


def test_padding_of_two_numbers_on_one_axis_is_told_how_to_be_a_pair() -> None:
    message = (
        "conv: `padding` must be one integer, one per spatial axis (1) or one (lo, hi) pair per spatial axis; "
        "got padding=(1, 2): write [(1, 2)] for one (lo, hi) pair"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}[.]?$"):
        conv(X, W, padding=(1, 2))


def test_padding_none() -> None:
    with pytest.raises(TypeError, match=r"^conv: `padding` must be .* got padding=None\.$"):
        conv(X, W, padding=None)


def test_lowering_names_the_choices() -> None:
    choices = ", ".join(map(repr, ("auto", *ALGORITHMS)))
    message = f"conv: `lowering` must be one of {choices}; got lowering='lax'."
    assert_refuses(lambda: conv(X, W, lowering="lax"), ValueError, message)


def test_second_axis_is_named() -> None:
    x, w = integers(0, (3, 5, 6), (4, 3, 2, 9))
    message = (
        "conv: `kernel` must fit into the padded input: a window of 9 needs at least 9 positions; got 8 on spatial "
        "axis 1 (size=6, padding=(2, 0), kernel=9, dilation=1): raise padding by 1 or use a kernel ≤ 8."
    )
    assert_refuses(lambda: conv(x, w, padding=[(0, 0), (2, 0)]), ValueError, message)


@pytest.mark.parametrize("option", ["stride", "padding", "dilation", "groups"])
def test_traced_option(option: str) -> None:
    """An option decides what is computed, so it cannot be a value that is only known later."""
    with pytest.raises(TypeError) as raised:
        jax.jit(lambda value: conv(X, W, **{option: value}))(2)
    advice = "write a Python integer, or name it in static_argnames of jax.jit"
    assert re.fullmatch(
        rf"conv: `{option}` must be an integer known while tracing; got {option}=.*Tracer.*: {advice}\.",
        str(raised.value),
    )
    by_name = jax.jit(lambda x, w, value: conv(x, w, **{option: value}), static_argnames="value")
    assert by_name(X, W, value=2 if option != "groups" else 1).shape[1] == 4


def test_traced_in_a_sequence() -> None:
    rule = r"`stride\[0\]` must be an integer known while tracing; got stride\[0\]=.*Tracer.*"
    for strides in (lambda value: (value,), lambda value: value[None]):
        with pytest.raises(TypeError, match=rule):
            jax.jit(lambda value: conv(X, W, stride=strides(value)))(2)  # noqa: B023


# Each makes one integer; an array of NumPy or JAX with no axes is a number, with one axis one per spatial axis.
INTEGERS = (np.int64, np.uint8, np.array, jnp.int32, jnp.uint8, lambda i: np.array([i]), lambda i: jnp.array([i]))
IDS = ["int64", "uint8", "array", "jax-int32", "jax-uint8", "array-of-one", "jax-array-of-one"]
KNOWN: dict[str, Callable[[Any], Any]] = {
    "stride": lambda i: conv(X, W, stride=i),
    "padding": lambda i: conv(X, W, padding=i),
    "padding-pair": lambda i: conv(X, W, padding=[(i, i)] if np.ndim(i) == 0 else [jnp.array([2, 2])]),
    "dilation": lambda i: conv(X, W, dilation=i),
    "input_size": lambda i: conv_input_vjp(G[..., :1], W, input_size=i, padding=[(0, 1)]),
    "kernel_size": lambda i: conv_weight_vjp(X[..., :31], G, kernel_size=i),
    "output_padding": lambda i: conv_transpose(G, W, stride=3, output_padding=i),
    "output_size": lambda i: conv_transpose(G[..., :2], W, padding=1, output_size=i),
    "sizes": lambda i: np.array(output_size((9,), i, stride=i, padding=i)),
    "window": lambda i: np.array(receptive_field([Window((3,), i, i), TransposedWindow((3,), i)]).size),
    "shape": lambda i: np.array(output_shape((4, 9), np.array([8, 4, 3]), stride=i)),
}


@pytest.mark.parametrize("make", INTEGERS, ids=IDS)
@pytest.mark.parametrize("call", KNOWN.values(), ids=KNOWN)
def test_integers_that_are_known(call: Callable[[Any], Any], make: Callable[[int], Any]) -> None:
    """Whatever says 2, NumPy or JAX, is 2."""
    assert_same(call(make(2)), call(2))


@pytest.mark.parametrize("make", INTEGERS[:5], ids=IDS[:5])
def test_groups_that_are_known(make: Callable[[int], Any]) -> None:
    groups = make(2)
    assert_same(conv(X, W[:, :4], groups=groups), conv(X, W[:, :4], groups=2))
    # A number from outside is known inside a jit as well.
    assert_same(jax.jit(lambda x: conv(x, W[:, :4], groups=groups))(X), conv(X, W[:, :4], groups=2))


@pytest.mark.parametrize(
    "value",
    [jnp.float32(2), jnp.bool_(True), np.bool_(True), np.array(True), np.array(2.0), np.float32(2), jnp.complex64(2)],
    ids=lambda value: f"{type(value).__name__}-{value.dtype}",
)
@pytest.mark.parametrize("option", ["stride", "padding", "dilation", "groups"])
def test_numbers_that_are_no_integers(option: str, value: Any) -> None:
    message = f"conv: `{option}` must be an integer; got {option}={value!r} ({type(value).__name__})."
    assert_refuses(lambda: conv(X, W, **{option: value}), TypeError, message)


def test_a_ref_is_read_first() -> None:
    """Outside of a jit and inside; and what the message says works."""
    message = "conv: `x` must be an array; got x of type Ref: read it with x[...]."
    ref = jax.new_ref(X)
    assert_refuses(lambda: conv(ref, W), TypeError, message)
    assert_refuses(lambda: jax.jit(lambda x: conv(jax.new_ref(x), W))(X), TypeError, message)
    assert_same(conv(ref[...], W), conv(X, W))


def test_a_shape_has_no_numbers() -> None:
    """What the message says works."""
    x, w, b = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (X.shape, W.shape, (4,)))
    start = "must be an array; got x of type ShapeDtypeStruct: for the shapes alone call jax.eval_shape"
    message = f"conv: `x` {start}(functools.partial(conv, …), x, w)."
    assert_refuses(lambda: conv(x, w, stride=2), TypeError, message)
    message = f"conv: `x` {start}(functools.partial(conv, …), x, w, b)."
    assert_refuses(lambda: conv(x, W, b), TypeError, message)
    assert jax.eval_shape(partial(conv, stride=2), x, w, b).shape == conv(X, W, stride=2).shape
    message = f"conv_input_vjp: `g` {start}(functools.partial(conv_input_vjp, …), g, w).".replace(" x ", " g ")
    assert_refuses(lambda: conv_input_vjp(x, w, input_size=32), TypeError, message)


@pytest.mark.parametrize("value", ["abc", {"x": 1.0}, object, [[1.0], [1.0, 2.0]]], ids=repr)
def test_what_cannot_be_converted_gets_no_advice_to(value: Any) -> None:
    message = f"conv: `x` must be an array; got x of type {type(value).__name__}."
    assert_refuses(lambda: conv(value, W), TypeError, message)


def test_keys_are_no_numbers() -> None:
    message = f"conv: `x` must have dtype {DTYPES}; got x.dtype=key<fry>."
    assert_refuses(lambda: conv(jax.random.key(0), W), TypeError, message)


ARRAYS: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    (
        "integer-x",
        (X.astype(jnp.int32), W),
        TypeError,
        f"`x` must have dtype {DTYPES}; got x.dtype=int32: convert with x.astype('float32').",
    ),
    (
        "integer-w",
        (X, W.astype(jnp.uint8)),
        TypeError,
        f"`w` must have dtype {DTYPES}; got w.dtype=uint8: convert with w.astype('float32').",
    ),
    (
        "bool",
        (X > 0, W),
        TypeError,
        f"`x` must have dtype {DTYPES}; got x.dtype=bool: convert with x.astype('float32').",
    ),
    (
        "mixed-dtypes",
        (X, W.astype(jnp.bfloat16)),
        TypeError,
        "`x` and `w` must share one dtype; got x.dtype=float32, w.dtype=bfloat16: convert with w.astype(x.dtype).",
    ),
    (
        "bias-of-another-dtype",
        (X, W, jnp.zeros(4, jnp.bfloat16)),
        TypeError,
        "`x` and `b` must share one dtype; got x.dtype=float32, b.dtype=bfloat16: convert with b.astype(x.dtype).",
    ),
    (
        "list",
        (X.tolist(), W),
        TypeError,
        "`x` must be an array; got x of type list: convert with jax.numpy.asarray(x, 'float32').",
    ),
    (
        "number",
        (X, 1.0),
        TypeError,
        "`w` must be an array; got w of type float: convert with jax.numpy.asarray(w, 'float32').",
    ),
    ("bias-too-long", (X, W, jnp.zeros(8)), ValueError, "`b` must have shape (out,) = (4,); got b.shape=(8,)."),
    ("bias-scalar", (X, W, jnp.zeros(())), ValueError, "`b` must have shape (out,) = (4,); got b.shape=()."),
    ("bias-column", (X, W, jnp.zeros((4, 1))), ValueError, "`b` must have shape (out,) = (4,); got b.shape=(4, 1)."),
    (
        "channels",
        (X[:, :7], W),
        ValueError,
        "the kernel's input channels times `groups` must be the input's channels; got 8 · 1 = 8 for 7 "
        "(x.shape=(2, 7, 32), w.shape=(4, 8, 3)).",
    ),
    (
        "w-of-rank-2",
        (X, W[0]),
        ValueError,
        "`w.shape` must have at least one spatial axis, as (out, in/groups, *kernel); got rank 2, shape (8, 3).",
    ),
    (
        "x-of-rank-1",
        (X[0, 0], W),
        ValueError,
        "`x.shape` must have 2 or more axes, (*batch, channels, *space), with 1 spatial axes as the kernel has; "
        "got rank 1, shape (32,).",
    ),
    (
        "no-space",
        (X[:, :, :0], W),
        ValueError,
        "`x.shape` may have size 0 on batch axes alone; got shape (2, 8, 0).",
    ),
    (
        "no-input-channels",
        (X[:, :0], W),
        ValueError,
        "`x.shape` may have size 0 on batch axes alone; got shape (2, 0, 32).",
    ),
    (
        "no-taps",
        (X, W[:, :, :0]),
        ValueError,
        "`w.shape` must have no axis of size 0; got kernel size 0 on spatial axis 0, shape (4, 8, 0).",
    ),
    (
        "no-taps-on-the-second-axis",
        (X[..., None], W[..., None, None][..., :0, :]),
        ValueError,
        "`w.shape` must have no axis of size 0; got kernel size 0 on spatial axis 1, shape (4, 8, 3, 0, 1).",
    ),
    (
        "no-output-channels",
        (X, W[:0]),
        ValueError,
        "`w.shape` must have no axis of size 0; got output channels 0, shape (0, 8, 3).",
    ),
    (
        "no-input-channels-of-w",
        (X, W[:, :0]),
        ValueError,
        "`w.shape` must have no axis of size 0; got input channels 0, shape (4, 0, 3).",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "error", "message"), [each[1:] for each in ARRAYS], ids=[each[0] for each in ARRAYS]
)
def test_arrays(arguments: tuple, error: type[Exception], message: str) -> None:
    assert_refuses(lambda: conv(*arguments), error, f"conv: {message}")


@pytest.mark.parametrize("arguments", [(None, W), (X, None)], ids=["x", "w"])
def test_none_is_no_array(arguments: tuple) -> None:
    with pytest.raises(TypeError, match=r"^conv: `[xw]` must be an array; got [xw] of type NoneType.*\.$"):
        conv(*arguments)


def test_channels_last_names_its_own_axes() -> None:
    message = (
        "conv: `w.shape` must have at least one spatial axis, as (*kernel, in/groups, out); got rank 2, shape (8, 3)."
    )
    assert_refuses(lambda: conv(X, W[0], layout="channels_last"), ValueError, message)
    message = (
        "conv: `x.shape` must have 2 or more axes, (*batch, *space, channels), with 1 spatial axes as the kernel has; "
        "got rank 1, shape (32,)."
    )
    assert_refuses(lambda: conv(X[0, 0], W, layout="channels_last"), ValueError, message)


def test_arrays_of_the_other_layout_are_recognised() -> None:
    x, w = integers(0, (2, 9, 7, 3), (3, 3, 3, 12))  # (batch, height, width, in), (height, width, in, out)
    rule = "the kernel's input channels times `groups` must be the input's channels"
    shapes = "x.shape=(2, 9, 7, 3), w.shape=(3, 3, 3, 12); they fit with layout='channels_last'"
    assert_refuses(lambda: conv(x, w), ValueError, f"conv: {rule}; got 3 · 1 = 3 for 9 ({shapes}).")
    x, w = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)
    shapes = "x.shape=(2, 3, 9, 7), w.shape=(12, 3, 3, 3); they fit with layout='channels_first'"
    message = f"conv: {rule}; got 3 · 1 = 3 for 7 ({shapes})."
    assert_refuses(lambda: conv(x, w, layout="channels_last"), ValueError, message)
    with pytest.raises(ValueError, match=r"channels; got 3 · 1 = 3 for 9 .*they fit with layout='channels_last'"):
        output_shape((2, 9, 7, 3), (3, 3, 3, 12))


OTHERS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    (
        "g-of-another-size",
        lambda: conv_input_vjp(G, W, input_size=31),
        ValueError,
        "conv_input_vjp: `g` must have the spatial size of the convolution's output, (29,); got (30,) "
        "(input size (31,), kernel size (3,)).",
    ),
    (
        "input-size-0",
        lambda: conv_input_vjp(G, W, input_size=0),
        ValueError,
        "conv_input_vjp: `input_size` must be at least 1; got input_size=0.",
    ),
    (
        "input-size-float",
        lambda: conv_input_vjp(G, W, input_size=32.0),
        TypeError,
        "conv_input_vjp: `input_size` must be an integer; got input_size=32.0 (float).",
    ),
    (
        "input-size-per-axis",
        lambda: conv_input_vjp(G, W, input_size=(32, 32)),
        ValueError,
        "conv_input_vjp: `input_size` must be one integer or one per spatial axis (1); got input_size=(32, 32).",
    ),
    (
        "input-size-below-kernel",
        lambda: conv_input_vjp(G, W, input_size=2),
        ValueError,
        "conv_input_vjp: "
        + no_fit(3, 2, "size=2, padding=(0, 0), kernel=3, dilation=1", "raise padding by 1 or use a kernel ≤ 2"),
    ),
    (
        "g-of-other-channels",
        lambda: conv_input_vjp(G[:, :3], W, input_size=32),
        ValueError,
        "conv_input_vjp: `g` must have the kernel's output channels; got 3 for 4 "
        "(g.shape=(2, 3, 30), w.shape=(4, 8, 3)).",
    ),
    (
        "groups-of-g",
        lambda: conv_input_vjp(G, W, input_size=32, groups=3),
        ValueError,
        "conv_input_vjp: `groups` must divide the output channels; got groups=3, channels=4 "
        "(g.shape=(2, 4, 30), w.shape=(4, 8, 3)).",
    ),
    (
        "g-and-w-mixed",
        lambda: conv_input_vjp(G, W.astype(jnp.float16), input_size=32),
        TypeError,
        "conv_input_vjp: `g` and `w` must share one dtype; got g.dtype=float32, w.dtype=float16: "
        "convert with w.astype(g.dtype).",
    ),
    (
        "kernel-of-another-size",
        lambda: conv_weight_vjp(X, G, kernel_size=4),
        ValueError,
        "conv_weight_vjp: `g` must have the spatial size of the convolution's output, (29,); got (30,) "
        "(input size (32,), kernel size (4,)).",
    ),
    (
        "kernel-size-0",
        lambda: conv_weight_vjp(X, G, kernel_size=0),
        ValueError,
        "conv_weight_vjp: `kernel_size` must be at least 1; got kernel_size=0.",
    ),
    (
        "kernel-over-input",
        lambda: conv_weight_vjp(X, G, kernel_size=33),
        ValueError,
        "conv_weight_vjp: "
        + no_fit(33, 32, "size=32, padding=(0, 0), kernel=33, dilation=1", "raise padding by 1 or use a kernel ≤ 32"),
    ),
    (
        "other-batch",
        lambda: conv_weight_vjp(X, G[:1], kernel_size=(3,)),
        ValueError,
        "conv_weight_vjp: `x` and `g` must have the same batch axes; got (2,) and (1,) "
        "(x.shape=(2, 8, 32), g.shape=(1, 4, 30), kernel_size=(3,)).",
    ),
    (
        "groups-of-x",
        lambda: conv_weight_vjp(X, G, kernel_size=3, groups=8),
        ValueError,
        "conv_weight_vjp: `groups` must divide the output channels; got groups=8, channels=4 "
        "(x.shape=(2, 8, 32), g.shape=(2, 4, 30), kernel_size=(3,)).",
    ),
    (
        "transposed-channels",
        lambda: conv_transpose(X, W),
        ValueError,
        "conv_transpose: `x` must have the kernel's input channels; got 8 for 4 "
        "(x.shape=(2, 8, 32), w.shape=(4, 8, 3)).",
    ),
    (
        "transposed-bias",
        lambda: conv_transpose(G, W, jnp.zeros(4)),
        ValueError,
        "conv_transpose: `b` must have shape (out,) = (8,); got b.shape=(4,).",
    ),
    (
        "jacobian",
        lambda: conv_input_jacobian(X, W, stride=0),
        ValueError,
        "conv: `stride` must be at least 1; got stride=0.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), [each[1:] for each in OTHERS], ids=[each[0] for each in OTHERS])
def test_other_functions(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    assert_refuses(call, error, message)


CALLS: dict[str, Callable[..., Any]] = {
    "conv_input_vjp": lambda **options: conv_input_vjp(G, W, input_size=32, **options),
    "conv_weight_vjp": lambda **options: conv_weight_vjp(X, G, kernel_size=3, **options),
    "conv_transpose": lambda **options: conv_transpose(G, W, **options),
}
# Not those that only conv has, nor the rules that each function states in its own terms.
SHARED = [
    each for each in OPTIONS if "padding_mode" not in each[0] and "divide" not in each[2] and "must fit" not in each[2]
]


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize(("options", "error", "message"), SHARED, ids=[str(o) for o, *_ in SHARED])
def test_every_function_reads_its_options_alike(
    function: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    assert_refuses(lambda: CALLS[function](**options), error, f"{function}: {message}")


def test_a_batch_of_0_is_fine() -> None:
    x, g = X[:0], G[:0]
    assert conv(x, W).shape == (0, 4, 30)
    assert conv_input_vjp(g, W, input_size=32).shape == (0, 8, 32)
    assert conv_transpose(g, W).shape == (0, 8, 32)
    assert not np.any(conv_weight_vjp(x, g, kernel_size=3))


def test_a_single_kernel_size_of_an_image_is_refused() -> None:
    """With in = out channels it would be read as one spatial axis and two batch axes, in silence."""
    with pytest.raises(ValueError, match="kernel_size") as raised:
        conv_weight_vjp(jnp.ones((2, 4, 9, 9)), jnp.ones((2, 4, 7, 7)), kernel_size=3)
    assert str(raised.value) == (
        "conv_weight_vjp: `kernel_size` must be one integer per spatial axis where `x` has more than three axes; got "
        "kernel_size=3, x.shape=(2, 4, 9, 9): write (3,) for one, (3, 3) for two."
    )


def test_the_advice_on_dtypes_helps() -> None:
    x, w = np.ones((2, 3, 9)), jnp.ones((4, 3, 3))
    with pytest.raises(TypeError, match=re.escape("convert with x.astype(w.dtype).")):
        conv(x, w)
    assert conv(x.astype(w.dtype), w).shape == (2, 4, 7)
