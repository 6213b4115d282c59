"""PyTorch as a peer: its answers written down, and, where it is installed, all of its own sample inputs.

The tests of the first part hold what torch 2.13 answered, value and both gradients, on small whole numbers, and need
no torch. The second part runs where torch is installed (it is not a dependency): the sample inputs that PyTorch tests
its convolutions with, `op_db` and `module_tests`, values and gradients against torch in float64.

The names that differ: padding_mode "replicate" is ours "edge"; padding "same" and "valid" are "SAME" and "VALID". An
output_padding of the stride or more, which torch takes up to the dilation, is a negative padding behind.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from cases import assert_right, by_id
from jaxconv import conv, conv_transpose
from oracles import Exact

pytestmark = pytest.mark.unoptimised

UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiling is all of the time
MODES = {"zeros": "zeros", "reflect": "reflect", "replicate": "edge", "circular": "circular"}


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """torch's options: one number, one number in a tuple for all axes, or one for each."""
    value = tuple(value) if isinstance(value, Sequence) else (value,)
    return value * axes if len(value) == 1 else value


def ours(transposed: bool, axes: int, options: dict[str, Any]) -> Callable[..., Array]:
    """torch's options as ours: the convolution as a function of x, w and b."""
    given = dict(options)
    stride, dilation = (per_axis(given.pop(name, 1), axes) for name in ("stride", "dilation"))
    result: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": given.pop("groups", 1)}
    padding = given.pop("padding", 0)
    if isinstance(padding, str):
        result["padding"] = padding.upper()
    else:
        result["padding"] = [(p, p) for p in per_axis(padding, axes)]
    if not transposed:
        result["padding_mode"] = MODES[given.pop("padding_mode", "zeros")]
        function: Callable[..., Array] = conv
    else:
        extra = per_axis(given.pop("output_padding", 0), axes)
        if all(e < s for e, s in zip(extra, stride, strict=True)):
            result["output_padding"] = extra
        else:
            result["padding"] = [(lo, hi - e) for (lo, hi), e in zip(result["padding"], extra, strict=True)]
        function = conv_transpose
    assert not given, f"options that are not mapped: {sorted(given)}"
    return partial(function, **result)


# --------------------------------------------------------------------------------------------- answers written down


@dataclass(frozen=True)
class Known:
    """A call and what torch answered: y, and dx and dw for the cotangent below, in the order of memory."""

    id: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    options: dict[str, Any]
    y_shape: tuple[int, ...]
    y: str
    dx: str
    dw: str
    transposed: bool = False


transposed = partial(Known, transposed=True)


def whole(shape: tuple[int, ...], step: int) -> np.ndarray:
    """Whole numbers from −3 to 3 in a pattern of seven."""
    return (np.arange(1, 1 + int(np.prod(shape))) * step % 7 - 3).reshape(shape).astype(np.float32)


KNOWN = (
    transposed(
        "1d",
        (1, 2, 3),
        (2, 1, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
        (1, 1, 6),
        y="3 -1 -1 -2 2 2",
        dx="-2 6 -8 -2 8 -8",
        dw="5 9 -8 -4 -8 8",
    ),
    transposed(
        "1d-dilated",
        (1, 1, 3),
        (1, 2, 2),
        {"stride": 3, "padding": 2, "output_padding": 2, "dilation": 2},
        (1, 2, 7),
        y="1 7 1 1 -1 1 1 -2 -8 -2 7 0 -2 -5",
        dx="-3 -6 -9",
        dw="3 -3 3 -3",
    ),
    transposed(
        "1d-groups",
        (1, 4, 2),
        (4, 1, 3),
        {"stride": 2, "groups": 2},
        (1, 2, 5),
        y="-2 0 14 3 -7 10 -15 -8 0 -2",
        dx="-8 6 -5 7 -12 5 -14 8",
        dw="9 -6 0 7 -5 -3 -5 7 5 -6 9 3",
    ),
    transposed(
        "1d-stride-over-kernel",
        (2, 1, 3),
        (1, 1, 2),
        {"stride": 4, "output_padding": 3},
        (2, 1, 13),
        y="1 1 1 1 7 1 1 1 -1 1 1 1 1 5 1 1 1 -3 1 1 1 3 1 1 1 1",
        dx="-2 0 2 -6 -4 -2",
        dw="-4 2",
    ),
    transposed(
        "1d-depthwise-multiplier",
        (1, 2, 3),
        (2, 2, 2),
        {"stride": 2, "padding": 1, "groups": 2},
        (1, 4, 4),
        y="1 7 1 -1 -2 -8 7 0 0 0 4 3 3 5 -5 -4",
        dx="0 -11 -2 3 12 -3",
        dw="5 9 7 -9 -6 6 7 6",
    ),
    transposed(
        "1d-output-padding-of-the-dilation",
        (1, 2, 3),
        (2, 1, 2),
        {"padding": 1, "output_padding": 2, "dilation": 3},
        (1, 1, 6),
        y="11 -3 7 -5 4 1",
        dx="0 -2 2 9 -4 -2",
        dw="-4 -6 3 10",
    ),
    transposed(
        "1d-no-batch",
        (2, 3),
        (2, 2, 3),
        {"stride": 3, "padding": 1, "output_padding": 1},
        (2, 8),
        y="5 1 13 -3 -5 -4 3 3 4 0 11 -5 -7 -7 0 0",
        dx="-4 -2 -5 4 -7 -8",
        dw="7 -3 1 -3 1 5 -4 -1 1 1 1 3",
    ),
    transposed(
        "2d",
        (1, 1, 2, 2),
        (1, 2, 3, 2),
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2)},
        (1, 2, 3, 7),
        y=(
            "1 1 1 -5 10 1 1 -1 1 1 8 -2 1 1 3 -2 1 -3 7 1 1 -2 -2 -2 -2 -8 -2 -2 1 -4 -2 1 5 -2 -2 -2 0 -2 -2 -6 -2 -2"
        ),
        dx="-1 -4 6 6",
        dw="-3 -1 -9 -1 -6 0 -3 -1 -9 -1 -6 0",
    ),
    transposed(
        "2d-groups-dilated",
        (1, 2, 2, 3),
        (2, 1, 2, 2),
        {"stride": (3, 2), "padding": 1, "output_padding": (1, 0), "dilation": (1, 2), "groups": 2},
        (1, 2, 4, 5),
        y=("1 -5 1 12 1 1 1 1 1 1 1 -3 1 3 1 1 11 1 -7 1 -2 -8 -2 -11 -2 -2 -2 -2 -2 -2 -2 1 -2 -6 -2 -2 -10 -2 8 -2"),
        dx="3 -8 4 9 -6 -6 -2 9 -9 4 -11 8",
        dw="-3 6 -1 0 -8 6 15 -2",
    ),
    transposed(
        "3d",
        (1, 1, 2, 1, 2),
        (1, 1, 2, 3, 2),
        {"stride": 2, "padding": (0, 1, 1), "output_padding": (1, 1, 0)},
        (1, 1, 5, 2, 2),
        y="1 -5 1 4 1 1 1 10 -2 -3 2 3 3 1 0 7 1 1 1 1",
        dx="-9 -7 0 -3",
        dw="0 0 9 -1 -6 2 0 0 0 -2 -1 1",
    ),
    Known(
        "1d-reflect",
        (1, 2, 4),
        (1, 2, 3),
        {"padding": 2, "padding_mode": "reflect"},
        (1, 1, 6),
        y="-7 1 1 3 -5 -5",
        dx="8 -8 -8 8 11 -4 -6 8",
        dw="2 6 2 -4 0 -4",
    ),
    Known(
        "1d-replicate-strided-dilated",
        (1, 2, 5),
        (2, 1, 3),
        {"stride": 2, "padding": 3, "dilation": 2, "groups": 2, "padding_mode": "replicate"},
        (1, 2, 4),
        y="-5 -3 11 9 5 -5 -7 7",
        dx="0 8 0 -6 -2 6 -7 0 -8 3",
        dw="5 13 -3 8 -14 10",
    ),
    Known(
        "1d-circular",
        (2, 1, 3),
        (2, 1, 4),
        {"stride": 2, "padding": 3, "padding_mode": "circular"},
        (2, 2, 3),
        y="3 -10 16 -2 -14 8 9 10 -13 3 5 -15",
        dx="-23 21 11 -6 10 -14",
        dw="-1 -1 5 -1 10 -18 9 10",
    ),
    Known(
        "2d-reflect",
        (1, 1, 3, 4),
        (1, 1, 2, 3),
        {"padding": (1, 2), "stride": (1, 2), "padding_mode": "reflect"},
        (1, 1, 4, 3),
        y="-1 7 1 -7 1 -5 1 9 3 -7 1 -5",
        dx="8 0 -2 3 1 -1 1 2 -10 -4 4 1",
        dw="0 -7 -1 -14 7 -15",
    ),
    Known(
        "2d-replicate",
        (1, 1, 2, 3),
        (2, 1, 2, 2),
        {"padding": (2, 1), "stride": 2, "padding_mode": "replicate"},
        (1, 2, 3, 2),
        y="1 -2 3 14 7 4 -2 -9 -4 10 -4 3",
        dx="6 1 -1 4 -5 6",
        dw="-7 3 9 5 2 -6 -11 2",
    ),
    Known(
        "2d-circular",
        (1, 2, 3, 2),
        (1, 2, 2, 3),
        {"padding": 1, "padding_mode": "circular"},
        (1, 1, 4, 2),
        y="8 -3 8 4 18 -21 8 -3",
        dx="-4 -8 -1 4 4 2 0 -9 5 -5 -10 18",
        dw="3 6 3 -8 -5 -8 20 -19 20 -5 19 -5",
    ),
    Known(
        "1d-same-even-kernel",
        (1, 1, 5),
        (2, 1, 4),
        {"padding": "same"},
        (1, 2, 5),
        y="-8 9 -3 3 5 -13 2 -8 1 2",
        dx="-3 4 6 -4 5",
        dw="11 -4 6 -3 2 -12 5 -6",
    ),
    Known(
        "2d-strided-dilated-groups",
        (1, 2, 5, 4),
        (2, 1, 2, 2),
        {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2},
        (1, 2, 3, 2),
        y="-2 1 -3 -1 -1 -6 13 -4 -3 -6 -6 -2",
        dx="2 -2 -3 3 6 -4 0 0 -6 4 9 -6 0 4 0 0 0 -4 0 6 9 3 -6 -2 1 3 -1 -3 -3 -9 2 6 -2 0 2 0 6 0 -4 0",
        dw="-14 -3 18 15 0 -2 12 -7",
    ),
)


def read(numbers: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.array([int(number) for number in numbers.split()], np.float32).reshape(shape)


@pytest.mark.parametrize("known", **by_id(KNOWN))
def test_what_torch_answered(known: Known) -> None:
    """Whole numbers, so the answer is the same to the last bit."""
    out = known.w_shape[1] * known.options.get("groups", 1) if known.transposed else known.w_shape[0]
    x, w, b, g = whole(known.x_shape, 3), whole(known.w_shape, 5), whole((out,), 4), whole(known.y_shape, 2)
    f = ours(known.transposed, len(known.w_shape) - 2, known.options)

    def both(x: Array, w: Array, b: Array, g: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(f, x, w, b)
        return y, *pull_back(g)

    y, dx, dw, db = jax.jit(both, compiler_options=UNOPTIMISED)(x, w, b, g)
    np.testing.assert_array_equal(y, read(known.y, known.y_shape), strict=True)
    np.testing.assert_array_equal(dx, read(known.dx, known.x_shape), strict=True)
    np.testing.assert_array_equal(dw, read(known.dw, known.w_shape), strict=True)
    axes = len(known.w_shape) - 2
    np.testing.assert_array_equal(db, g.sum(tuple(a for a in range(g.ndim) if a != g.ndim - axes - 1)), strict=True)


# ------------------------------------------------------------------------------------------ torch itself, if there


@dataclass(frozen=True)
class Sample:
    """A call of torch: shapes, and its options by torch's names."""

    name: str
    transposed: bool
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    bias: bool
    options: dict[str, Any]

    @property
    def axes(self) -> int:
        return len(self.w_shape) - 2


@pytest.fixture(scope="module")
def torch() -> Any:
    """torch, or the tests are skipped: it is large and not a dependency of the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # PyTorch's own samples lie in torch.testing, which wants expecttest.
        for name in ("torch", "expecttest"):
            pytest.importorskip(name, reason=f"{name} is not a dependency; the answers above stand in for it")
        import torch
    return torch


def op_samples(torch: Any) -> Iterator[Sample]:
    """What PyTorch tests torch.nn.functional.conv… with: batched and not, all options."""
    from torch.testing._internal import common_methods_invocations as table

    for op in table.op_db:
        if op.name.startswith("nn.functional.conv"):
            for i, sample in enumerate(op.sample_inputs("cpu", torch.float64)):
                w, *rest = sample.args
                x_shape, bias = tuple(sample.input.shape), bool(rest) and rest[0] is not None
                yield Sample(f"{op.name} {i}", "transpose" in op.name, x_shape, tuple(w.shape), bias, sample.kwargs)


def module_samples(torch: Any) -> Iterator[Sample]:
    """What PyTorch tests torch.nn.Conv… with: padding modes, batch 0, "same"."""
    from torch.testing._internal import common_nn as table

    for test in table.get_new_module_tests():
        arguments = test.get("constructor_args", ())
        name = test.get("fullname") or f"{test.get('module_name')} {test.get('desc', '')} {arguments}"
        if name.startswith("Conv"):
            constructor = test.get("constructor") or getattr(torch.nn, test.get("module_name", ""))
            module = constructor(*arguments)
            names = ["stride", "padding", "dilation", "groups"]
            names.append("output_padding" if module.transposed else "padding_mode")
            options = {each: getattr(module, each) for each in names}
            w_shape = tuple(module.weight.shape)
            yield Sample(name, module.transposed, test["input_size"], w_shape, module.bias is not None, options)


def by_torch(torch: Any, sample: Sample, *tensors: Any) -> Any:
    """y in torch."""
    functional, axes, options = torch.nn.functional, sample.axes, dict(sample.options)
    x, w, *b = tensors
    mode = options.pop("padding_mode", "zeros")
    if mode != "zeros":
        sides = [p for p in reversed(per_axis(options.pop("padding"), axes)) for _ in range(2)]
        x = functional.pad(x, sides, mode=mode)
    function = getattr(functional, f"conv_transpose{axes}d" if sample.transposed else f"conv{axes}d")
    return function(x, w, b[0] if b else None, **options)


def assert_agrees(torch: Any, sample: Sample) -> None:
    """y and all gradients; every one is a sum of products of two of the arrays, which padding only copies."""
    random = np.random.default_rng(0)
    out = sample.w_shape[1] * sample.options.get("groups", 1) if sample.transposed else sample.w_shape[0]
    shapes = [sample.x_shape, sample.w_shape, *([(out,)] if sample.bias else [])]
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in shapes]

    def in_double(arrays: list[np.ndarray], cotangent: Callable[[tuple[int, ...]], np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
        y = by_torch(torch, sample, *tensors)
        g = torch.tensor(cotangent(tuple(y.shape)), dtype=torch.float64)
        return [each.detach().numpy() for each in (y, *torch.autograd.grad(y, tensors, g))]

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    values = in_double(arrays, draw)
    squares = in_double([a.astype(np.float64) ** 2 for a in arrays], lambda shape: draw(shape).astype(np.float64) ** 2)
    counts = in_double([np.ones(a.shape) for a in arrays], np.ones)
    f = ours(sample.transposed, sample.axes, sample.options)

    def both(g: Array, *arrays: Array) -> tuple[Array, ...]:
        y, pull_back = jax.vjp(f, *arrays)
        return y, *pull_back(g)

    computed = jax.jit(both, compiler_options=UNOPTIMISED)(draw(values[0].shape), *arrays)
    for name, array, *exact in zip(
        ("y", "dx", "dw", "db")[: len(values)], computed, values, squares, counts, strict=True
    ):
        assert_right(f"{sample.name}: {name}", array, Exact(*exact), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("samples", [op_samples, module_samples])
def test_samples_of_torch(torch: Any, samples: Callable[[Any], Iterator[Sample]], axes: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own inputs
        chosen = [sample for sample in samples(torch) if sample.axes == axes]
        assert len(chosen) >= 10
        for sample in chosen:
            assert_agrees(torch, sample)


@pytest.mark.slow
def test_the_answers_are_torchs(torch: Any) -> None:
    """The numbers written down above, asked again."""
    for known in KNOWN:
        sample = Sample(known.id, known.transposed, known.x_shape, known.w_shape, True, known.options)
        out = known.w_shape[1] * known.options.get("groups", 1) if known.transposed else known.w_shape[0]
        arrays = [whole(known.x_shape, 3), whole(known.w_shape, 5), whole((out,), 4)]
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that padding="same" of an even kernel copies the input
            y = by_torch(torch, sample, *tensors)
        gradients = torch.autograd.grad(y, tensors[:2], torch.tensor(whole(known.y_shape, 2)))
        np.testing.assert_array_equal(y.detach().numpy(), read(known.y, known.y_shape))
        np.testing.assert_array_equal(gradients[0].numpy(), read(known.dx, known.x_shape))
        np.testing.assert_array_equal(gradients[1].numpy(), read(known.dw, known.w_shape))
