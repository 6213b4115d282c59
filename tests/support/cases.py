"""One table of convolutions, degenerate ones included, and what the tests need of each: arrays and a verdict."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import oracles
from jaxconv import conv
from jaxconv.accuracy.error_model import C, units
from oracles import Exact, exact

LOWERINGS = ("auto", "reference", "gemm")  # by which every call can be served


@dataclass(frozen=True)
class Case:
    """One convolution: shapes of x and w, and the options of `conv`."""

    id: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    options: dict[str, Any] = field(hash=False)

    @property
    def channels_first(self) -> bool:
        return self.options.get("layout", "channels_first") == "channels_first"

    @property
    def axes(self) -> int:
        """Spatial axes."""
        return len(self.w_shape) - 2

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self.w_shape[2:] if self.channels_first else self.w_shape[:-2]

    @property
    def input_size(self) -> tuple[int, ...]:
        return self.space(self.x_shape)

    @property
    def out(self) -> int:
        return self.w_shape[0] if self.channels_first else self.w_shape[-1]

    @property
    def y_shape(self) -> tuple[int, ...]:
        options = {k: v for k, v in self.options.items() if k in ("stride", "padding", "dilation")}
        windows = oracles.Windows.of(
            self.input_size, self.kernel_size, **{"stride": 1, "padding": 0, "dilation": 1, **options}
        )
        batch = self.x_shape[: -self.axes - 1]
        return (*batch, self.out, *windows.m) if self.channels_first else (*batch, *windows.m, self.out)

    def space(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The spatial part of the shape of an input or output."""
        return shape[-self.axes :] if self.channels_first else shape[-self.axes - 1 : -1]


def _first(id: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], **options: Any) -> Case:
    return Case(id, x_shape, w_shape, options)


def _last(id: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], **options: Any) -> Case:
    return Case(id, x_shape, w_shape, {**options, "layout": "channels_last"})


# x is (*batch, in, *space) or (*batch, *space, in), w (out, in/groups, *kernel) or (*kernel, in/groups, out).
CASES = (
    # one spatial axis
    _first("1d", (2, 3, 9), (4, 3, 3)),
    _first("1d-worked-exercise", (2, 5), (1, 2, 3), stride=2),
    _last("1d-last", (2, 9, 3), (3, 3, 4)),
    _first("1d-pointwise", (2, 3, 7), (4, 3, 1)),
    _first("1d-one-position", (2, 3, 1), (4, 3, 1)),
    _last("1d-one-position-padded", (2, 1, 3), (3, 3, 4), padding=1),
    _first("1d-one-output", (2, 3, 5), (4, 3, 5)),
    _last("1d-one-output-strided", (2, 6, 3), (4, 3, 4), stride=3),
    _first("1d-stride-is-kernel", (2, 3, 9), (4, 3, 3), stride=3),
    _first("1d-stride-over-kernel", (2, 3, 11), (4, 3, 2), stride=4),
    _last("1d-stride-over-kernel-last", (2, 11, 3), (2, 3, 4), stride=5, padding=1),
    _first("1d-pointwise-strided", (2, 3, 8), (4, 3, 1), stride=3),
    _first("1d-stride-over-input", (2, 3, 4), (4, 3, 2), stride=7),
    _first("1d-remainder", (2, 3, 10), (4, 3, 3), stride=3),
    _last("1d-remainder-widest", (2, 12, 3), (3, 3, 4), stride=5),
    _first("1d-remainder-in-padding", (2, 3, 8), (4, 3, 3), stride=4, padding=[(1, 4)]),
    _first("1d-negative-before", (2, 3, 9), (4, 3, 3), padding=[(-2, 0)]),
    _last("1d-negative-behind", (2, 9, 3), (3, 3, 4), padding=[(0, -3)]),
    _first("1d-negative-both", (2, 3, 9), (4, 3, 3), padding=-2),
    _last("1d-negative-both-strided", (2, 12, 3), (2, 3, 4), stride=3, padding=[(-1, -2)]),
    _first("1d-negative-before-padded-behind", (2, 3, 7), (4, 3, 3), padding=[(-2, 4)], stride=2),
    _first("1d-padded-before-negative-behind", (2, 3, 7), (4, 3, 3), padding=[(4, -2)], dilation=2),
    _first("1d-negative-one-left", (2, 3, 6), (4, 3, 1), padding=[(-3, -2)]),
    _first("1d-asymmetric", (2, 3, 9), (4, 3, 3), padding=[(2, 1)], stride=2),
    _last("1d-asymmetric-last", (2, 9, 3), (4, 3, 4), padding=[(0, 3)]),
    _first("1d-dilated", (2, 3, 9), (4, 3, 3), dilation=3),
    _last("1d-dilated-strided", (2, 12, 3), (3, 3, 4), dilation=3, stride=2, padding=2),
    _first("1d-dilation-over-input", (2, 3, 3), (4, 3, 3), dilation=4, padding=4),
    _first("1d-dilation-over-input-only-padding", (2, 3, 2), (4, 3, 2), dilation=5, padding=2),
    _first("1d-dilation-of-one-tap", (2, 3, 5), (4, 3, 1), dilation=9, stride=2),
    _first("1d-padding-over-kernel", (2, 3, 4), (4, 3, 2), padding=5),
    _last("1d-padding-over-kernel-strided", (2, 3, 3), (2, 3, 4), padding=[(4, 7)], stride=3),
    _first("1d-even-kernel", (2, 3, 9), (4, 3, 4), padding=1, stride=2),
    _last("1d-valid", (2, 9, 3), (3, 3, 4), padding="VALID", stride=2),
    _first("1d-same", (2, 3, 9), (4, 3, 3), padding="SAME"),
    _last("1d-same-even-kernel-strided", (2, 9, 3), (4, 3, 4), padding="SAME", stride=2),
    _first("1d-same-lower-even-kernel", (2, 3, 9), (4, 3, 4), padding="SAME_LOWER"),
    _first("1d-same-stride-over-kernel", (2, 3, 9), (4, 3, 2), padding="SAME", stride=4),
    _first("1d-causal", (2, 3, 9), (4, 3, 3), padding="CAUSAL", dilation=2),
    _last("1d-full", (2, 5, 3), (4, 3, 4), padding="FULL"),
    _first("1d-no-batch", (3, 9), (4, 3, 3), padding=1),
    _first("1d-batch-0", (0, 3, 9), (4, 3, 3), stride=2),
    _last("1d-three-batch-axes", (2, 1, 3, 9, 3), (3, 3, 4), stride=2),
    _first("1d-three-batch-axes-one-0", (2, 0, 3, 3, 9), (4, 3, 3)),
    _first("1d-groups", (2, 6, 9), (4, 3, 3), groups=2, stride=2),
    _last("1d-groups-last", (2, 9, 6), (3, 2, 9), groups=3, dilation=2),
    _first("1d-depthwise", (2, 5, 9), (5, 1, 3), groups=5, padding=1),
    _last("1d-depthwise-multiplier", (2, 9, 3), (3, 1, 6), groups=3, stride=2),
    _first("1d-groups-one-output-each", (2, 6, 7), (3, 2, 3), groups=3),
    _first("1d-one-channel", (2, 1, 9), (1, 1, 3)),
    # two
    _first("2d", (2, 3, 6, 7), (4, 3, 3, 3)),
    _first("2d-worked-exercise", (3, 10, 11), (8, 3, 3, 3), stride=2),
    _last("2d-last", (2, 6, 7, 3), (3, 3, 3, 4), padding=1),
    _first("2d-pointwise", (2, 3, 4, 5), (4, 3, 1, 1)),
    _first("2d-whole-image", (2, 3, 4, 5), (4, 3, 4, 5)),
    _last("2d-one-row-kernel", (2, 5, 6, 3), (1, 3, 3, 4), padding=[(0, 0), (1, 1)]),
    _last("2d-stem", (2, 12, 12, 3), (7, 7, 3, 4), stride=2, padding=3),
    _last("2d-patches", (2, 8, 8, 3), (4, 4, 3, 5), stride=4),
    _first("2d-unequal", (2, 3, 9, 11), (4, 3, 2, 3), stride=(2, 3), dilation=(3, 2), padding=[(1, 2), (3, 0)]),
    _last("2d-unequal-last", (2, 9, 11, 3), (2, 3, 3, 4), stride=(3, 1), dilation=(1, 4), padding=(2, 1)),
    _first("2d-negative-one-axis", (2, 3, 7, 6), (4, 3, 3, 2), padding=[(-1, -2), (2, 1)]),
    _last("2d-remainder-one-axis", (2, 8, 7, 3), (3, 3, 3, 4), stride=(4, 2)),
    _first("2d-padding-over-kernel", (2, 3, 3, 4), (4, 3, 2, 1), padding=(3, 2), stride=2),
    _last("2d-same", (2, 7, 6, 3), (3, 4, 3, 4), padding="SAME", stride=(2, 3), dilation=(1, 2)),
    _first("2d-same-lower", (2, 3, 7, 6), (4, 3, 4, 2), padding="SAME_LOWER", stride=2),
    _first("2d-causal", (2, 3, 5, 6), (4, 3, 2, 3), padding="CAUSAL", dilation=(2, 1)),
    _last("2d-full", (2, 3, 4, 3), (3, 2, 3, 4), padding="FULL"),
    _last("2d-no-batch", (6, 7, 3), (3, 3, 3, 4), padding=1),
    _last("2d-batch-0", (0, 6, 7, 3), (3, 3, 3, 4), padding=1),
    _first("2d-three-batch-axes", (2, 2, 1, 3, 5, 6), (4, 3, 3, 2)),
    _first("2d-groups", (2, 4, 6, 7), (6, 2, 3, 2), groups=2, stride=2, padding=1),
    _last("2d-depthwise", (2, 7, 6, 4), (3, 3, 1, 4), groups=4, stride=2, dilation=2, padding=2),
    _first("2d-depthwise-multiplier", (2, 3, 6, 5), (9, 1, 3, 3), groups=3, padding="SAME"),
    # three and four
    _first("3d", (2, 2, 4, 5, 4), (3, 2, 2, 3, 2)),
    _last("3d-last", (2, 5, 4, 6, 2), (3, 2, 2, 2, 3), stride=(2, 1, 3), padding=[(1, 0), (0, 2), (-1, 1)]),
    _first("3d-groups-dilated", (1, 4, 5, 4, 5), (4, 2, 2, 2, 3), groups=2, dilation=(3, 1, 2)),
    _last("3d-depthwise-same", (1, 4, 3, 5, 2), (3, 2, 2, 1, 4), groups=2, padding="SAME", stride=(1, 2, 2)),
    _first("4d", (1, 2, 3, 4, 3, 3), (2, 2, 2, 2, 1, 2), stride=(1, 2, 1, 1), padding=(0, 1, 0, 0)),
)

# Short list for what need not be tried everywhere: each way that an index can go wrong is in it once.
FEW = tuple(
    case
    for case in CASES
    if case.id
    in {
        "1d-worked-exercise",
        "1d-last",
        "1d-remainder",
        "1d-stride-over-kernel-last",
        "1d-negative-before-padded-behind",
        "1d-dilation-over-input",
        "1d-padding-over-kernel-strided",
        "1d-batch-0",
        "1d-three-batch-axes",
        "1d-groups-last",
        "1d-depthwise-multiplier",
        "2d-unequal",
        "2d-same",
        "2d-groups",
        "3d-last",
    }
)


# With room enough for every padding mode, whose copies must be there.
PADDED = (
    _first("1d-padded", (2, 3, 9), (4, 3, 3), padding=2),
    _first("1d-padded-unequally-strided", (2, 3, 9), (4, 3, 3), padding=[(3, 1)], stride=2),
    _first("1d-cut-before", (2, 3, 9), (4, 3, 3), padding=[(-2, 3)]),
    _first("1d-cut-both", (2, 3, 9), (4, 3, 3), padding=-1),
    _last("1d-as-wide-as-can-be", (2, 5, 3), (3, 3, 4), padding=4),
    _last("2d-padded-same", (2, 6, 7, 4), (3, 3, 2, 6), padding="SAME", groups=2),
    _first("2d-padded-causal-dilated", (2, 3, 6, 7), (4, 3, 2, 3), padding="CAUSAL", dilation=2),
)


def by_id(cases: Iterable[Case]) -> dict[str, Any]:
    """The arguments of `pytest.mark.parametrize` that give every case its name."""
    cases = list(cases)
    return {"argvalues": cases, "ids": [case.id for case in cases]}


def named(id: str) -> Case:
    return next(case for case in CASES if case.id == id)


class Arrays(NamedTuple):
    """Inputs of `conv`, a cotangent of its output, and a cotangent (t…) of each of the three gradients."""

    x: Array
    w: Array
    b: Array
    g: Array
    tx: Array
    tw: Array
    tb: Array


def arrays(case: Case, dtype: Any, *, mean: float = 0.0) -> Arrays:
    """Normal numbers, the same for a case every time. Never ones: those hide a missing flip."""
    random = np.random.default_rng(zlib.crc32(case.id.encode()))
    x, w, b, g = case.x_shape, case.w_shape, (case.out,), case.y_shape

    def draw(shape: tuple[int, ...]) -> Array:
        values = mean + random.standard_normal(shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            values = values + 1j * random.standard_normal(shape)
        return jax.device_put(values.astype(dtype))  # unlike jnp.asarray compiles nothing

    return Arrays(*map(draw, (x, w, b, g, x, w, b)))


def integers(seed: int, *shapes: tuple[int, ...], most: int = 3) -> list[Array]:
    """Small whole numbers as float32: sums of products of them are exact in any order, so `==` is the right test."""
    random = np.random.default_rng(seed)
    return [jax.device_put(random.integers(-most, most + 1, shape).astype(np.float32)) for shape in shapes]


def assert_same(first: Any, second: Any) -> None:
    """Equal to the last bit, shapes and dtypes included, through any tree of arrays."""
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), first, second)


def assert_close(first: Any, second: Any) -> None:
    """Equal but for the order in which sums of up to 64 terms were added, shapes and dtypes included, through any tree.

    Each may be C units of the error model off; √(Σ terms²) is taken to be the root mean square of an array's elements.
    """

    def close(a: Any, b: Any) -> None:
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if not jnp.issubdtype(a.dtype, jnp.inexact):
            np.testing.assert_array_equal(a, b)
        elif a.size:
            exact = b.astype(np.complex128 if np.iscomplexobj(b) else np.float64)
            distance = units(a, exact, np.mean(np.abs(exact) ** 2), 64, a.dtype)
            assert distance.max() <= 2 * C, f"{distance.max():.3g} units apart"

    jax.tree.map(close, first, second)


def worst(computed: Any, right: Exact, dtype: Any) -> float:
    """Largest distance from the exact result in units of the error model; 0 where there is no element at all."""
    return float(units(computed, right.value, right.squares, right.length, dtype).max(initial=0))


def assert_right(name: str, computed: Array, right: Exact, dtype: Any) -> None:
    """Shape, dtype, and every element within the error model."""
    assert computed.shape == right.value.shape, name
    assert computed.dtype == dtype, name
    distance = worst(computed, right, dtype)
    assert distance <= C, f"{name} is {distance:.3g} units away, C = {C}"


def computed(
    case: Case, inputs: Arrays, names: Iterable[str] | None = None, by_jax_too: bool = True, **how: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Value, gradients, and gradients of the gradients: the pull-back of conv, itself pulled back; or those named.

    Second, value and gradients with the derivative left to JAX; empty where that is not asked for.
    """

    def value(x: Array, w: Array, b: Array, **how: Any) -> Array:
        return conv(x, w, b, **case.options, **how)

    def pull_back(x: Array, w: Array, b: Array, g: Array) -> tuple[Array, ...]:
        return jax.vjp(partial(value, **how), x, w, b)[1](g)

    def everything(x: Array, w: Array, b: Array, g: Array, *t: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        first, pull_back_again = jax.vjp(pull_back, x, w, b, g)
        second = pull_back_again(t)
        by_hand = dict(zip(("dx", "dw", "db", "x̄", "w̄", "b̄", "ḡ"), (*first, *second), strict=True))
        by_jax = {}
        if by_jax_too:
            y_by_jax, pull_back_by_jax = jax.vjp(partial(value, derivative="jax"), x, w, b)
            by_jax = {"y": y_by_jax, **dict(zip(("dx", "dw", "db"), pull_back_by_jax(g), strict=True))}
        results = {"y": value(x, w, b, **how), **by_hand}, by_jax
        by_hand, by_jax = ({name: a for name, a in each.items() if names is None or name in names} for each in results)
        return by_hand, by_jax

    return _run(everything, *inputs)


def expected(case: Case, inputs: Arrays, names: Iterable[str] | None = None) -> dict[str, Exact]:
    """The same from the oracle, all or those named; the pull-back's own derivatives are the three maps again."""
    x, w, b, g, tx, tw, tb = inputs
    sizes = {"input_size": case.input_size}, {"kernel_size": case.kernel_size}

    def product(of: Any, *factors: Array, **size: Any) -> Exact:
        return exact(of, *factors, **size, **case.options)

    def bias(b: Array) -> Exact:
        return exact(lambda b: np.broadcast_to(_to_channels(case, b), case.y_shape), b)

    def bias_vjp(g: np.ndarray) -> np.ndarray:
        channels = g.ndim - 1 - (case.axes if case.channels_first else 0)
        return g.sum(tuple(a for a in range(g.ndim) if a != channels))

    results = {
        "y": lambda: product(oracles.conv, x, w) + bias(b),
        "dx": lambda: product(oracles.conv_input_vjp, g, w, **sizes[0]),
        "dw": lambda: product(oracles.conv_weight_vjp, x, g, **sizes[1]),
        "db": lambda: exact(bias_vjp, g),
        "x̄": lambda: product(oracles.conv_input_vjp, g, tw, **sizes[0]),
        "w̄": lambda: product(oracles.conv_weight_vjp, tx, g, **sizes[1]),
        "b̄": lambda: exact(lambda b: 0 * b, b),
        "ḡ": lambda: product(oracles.conv, tx, w) + product(oracles.conv, x, tw) + bias(tb),
    }
    return {name: results[name]() for name in names or results}


def _to_channels(case: Case, b: np.ndarray) -> np.ndarray:
    return b.reshape(-1, *(1,) * case.axes) if case.channels_first else b


_PROGRAMS: dict[Any, Any] = {}


def _run(f: Callable[..., Any], *args: Array) -> Any:
    """f jitted. Compiling is most of the time, and two lowerings are often one program: it is compiled once."""
    lowered = jax.jit(f).lower(*args)
    program = lowered.as_text(), jax.config.values["jax_disable_most_optimizations"]
    if program not in _PROGRAMS:
        _PROGRAMS[program] = lowered.compile()
    return _PROGRAMS[program](*args)
