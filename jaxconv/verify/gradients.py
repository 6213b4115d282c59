"""One case of a table: every hand-written gradient against float64 and against `jax.grad`, in units of the error model.

First order: value, and the pull-back of a random cotangent. Second order: the pull-back of that pull-back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy import oracle
from jaxconv.accuracy.error_model import C, measured_units, spread, unit_roundoff
from jaxconv.accuracy.heat import Heat
from jaxconv.accuracy.oracle import to_double
from jaxconv.convolution.api import conv
from jaxconv.recurrence.gated import gated_scan
from jaxconv.recurrence.gated_cell import GatedParams
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import split_array, split_kernel
from jaxconv.verify.cases import ConvCase, GatedCase


@dataclass(frozen=True)
class Comparison:
    """What a case gave.

    Attributes:
        units: worst distance from float64, in units of the error model; right is at most C.
        where: the output and index of that worst element.
        apart: worst distance from `jax.grad`; right is at most 2 C, since both round.
        hand_ms, jax_ms: median time of value, gradients and second order, compiled with `_compiler_options`.
        elements: numbers compared.
        outputs: the worst distance from float64 of each output.
        heat: where the errors of the worst output sit.
    """

    units: float
    where: str
    apart: float
    hand_ms: float
    jax_ms: float
    elements: int
    outputs: dict[str, float]
    heat: Heat | None

    @property
    def passed(self) -> bool:
        return self.units <= C and self.apart <= 2 * C


class Expected(NamedTuple):
    """One output: its name, its exact value, the spread it may have (without √L), and L."""

    name: str
    exact: np.ndarray
    spread: np.ndarray
    length: int


def compare(case: ConvCase | GatedCase) -> Comparison:
    """Work one case on JAX's default device."""
    x64 = "float64" in (case.dtype, jax.dtypes.canonicalize_dtype("float64"))  # else as it is
    with jax.enable_x64(x64):
        prepared = _conv_functions(case) if isinstance(case, ConvCase) else _gated_functions(case)
        functions, arguments, expected = prepared
        hand, by_jax = (jax.jit(functions(kind), compiler_options=_compiler_options()) for kind in ("hand", "jax"))
        results = [jax.block_until_ready(f(*arguments)) for f in (hand, by_jax)]
        hand_ms, jax_ms = _times(hand, by_jax, arguments)
        worst, where, apart, elements = 0.0, "nothing to compare", 0.0, 0
        outputs: dict[str, float] = {}
        heat = None
        for (name, exact, scale, length), ours, theirs in zip(expected, *map(_flat, results), strict=True):
            if ours.shape != exact.shape:
                raise AssertionError(f"{name} has shape {ours.shape}, not {exact.shape}")
            elements += exact.size
            if not exact.size:
                continue
            distance = measured_units(ours, exact, scale, length, case.dtype)
            between = measured_units(ours - theirs + exact, exact, scale, length, case.dtype)
            apart = max(apart, float(between.max()))
            outputs[name] = float(distance.max())
            if outputs[name] >= worst:
                index = np.unravel_index(distance.argmax(), distance.shape)
                worst, where = outputs[name], f"{name}[{', '.join(map(str, index))}]"
                heat = Heat.of(name, distance)
        return Comparison(worst, where, apart, hand_ms, jax_ms, elements, outputs, heat)


def _compiler_options() -> dict[str, Any]:
    """On a CPU compiling is nearly all of the time, so LLVM optimises less, for both sides alike."""
    (device,) = jnp.zeros(()).devices()
    return {"xla_backend_optimization_level": 0} if device.platform == "cpu" else {}


def _flat(result: Any) -> list[np.ndarray]:
    return [to_double(each) for each in jax.tree.leaves(result)]


def _times(first: Callable, second: Callable, arguments: tuple, rounds: int = 5) -> tuple[float, float]:
    """Median milliseconds of two compiled functions, called in turn."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for f, times in zip((first, second), took, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(f(*arguments))
            times.append((time.perf_counter() - start) * 1e3)
    return median(took[0]), median(took[1])


def _random(case: ConvCase | GatedCase) -> Callable[..., jax.Array]:
    random = np.random.default_rng(sum(map(ord, case.name)))
    return lambda shape, scale=1.0: jnp.asarray(scale * random.normal(size=shape), case.dtype)


def _pull_twice(value: Callable) -> Callable:
    """(at, ḡ, t) → value, its pull-back of ḡ, and the pull-back of that by t, for `at` and for ḡ."""

    def both(at: Any, g: Any, t: Any) -> Any:
        def pulled(at: Any, g: Any) -> Any:
            y, pull_back = jax.vjp(value, *at)
            return pull_back(g), y

        gradient, again, y = jax.vjp(pulled, at, g, has_aux=True)
        return y, gradient, again(t)

    return both


# ----------------------------------------------------------------------------------------------- convolutions


def _conv_functions(case: ConvCase) -> tuple[Callable, tuple, list[Expected]]:
    draw = _random(case)
    layout = case.options.get("layout", "channels_first")
    out, _, kernel = split_kernel("verify", "w", case.w, layout)
    _, _, space = split_array("verify", "x", case.x, len(kernel), layout)
    x, w, b = draw(case.x), draw(case.w), draw((out,))
    y_shape = jax.eval_shape(lambda: conv(x, w, b, **case.options)).shape
    at, g, t = (x, w, b), draw(y_shape), (draw(x.shape), draw(w.shape), draw(b.shape))

    def functions(derivative: Any) -> Callable:
        return _pull_twice(lambda x, w, b: conv(x, w, b, derivative=derivative, **case.options))

    geometry = Geometry.of("verify", space, kernel, **case.options)
    return functions, (at, g, t), _conv_expected(geometry, at, g, t)


def _conv_expected(geometry: Geometry, at: tuple, g: Any, t: tuple) -> list[Expected]:
    """The eight outputs: y, dx, dw, db; and of the second pull-back x̄, w̄, b̄ = 0, ḡ."""
    u, axes = unit_roundoff(g.dtype), geometry.axes
    (x, w, b), (t_x, t_w, t_b) = at, t
    batch = x.shape[: x.ndim - axes - 1]

    def folded(a: Any) -> np.ndarray:
        return to_double(a).reshape(prod(batch), *a.shape[len(batch) :])

    x_, t_x_, g_ = folded(x), folded(t_x), folded(g)
    w_, t_w_, b_, t_b_ = map(to_double, (w, t_w, b, t_b))
    per_channel = (slice(None), *(None,) * axes) if geometry.channels_first else (...,)
    others = tuple(a for a in range(axes + 2) if a != (1 if geometry.channels_first else axes + 1))
    out, per_group, _ = split_kernel("verify", "w.shape", w.shape, geometry.layout)
    positions = g_.size // out
    reads_y, reads_x = per_group * geometry.taps, out // geometry.groups * geometry.taps

    def entry(name: str, length: int, shape: tuple, *terms: tuple[Callable[..., np.ndarray], tuple]) -> Expected:
        exact = sum(f(*arrays) for f, arrays in terms)
        squares = sum(f(*(a * a for a in arrays)) for f, arrays in terms)
        return Expected(name, np.reshape(exact, shape), u * np.sqrt(np.reshape(squares, shape)), length)

    maps = oracle.conv, oracle.conv_input_vjp, oracle.conv_weight_vjp
    forward, for_x, for_w = (partial(f, geometry=geometry) for f in maps)

    def spread_out(b: np.ndarray) -> np.ndarray:
        return np.broadcast_to(b[per_channel], g_.shape)

    spread_t_b = spread_out, (t_b_,)
    return [
        entry("y", reads_y + 1, g.shape, (forward, (x_, w_)), (spread_out, (b_,))),
        entry("dx", reads_x, x.shape, (for_x, (g_, w_))),
        entry("dw", positions, w.shape, (for_w, (x_, g_))),
        entry("db", positions, b.shape, (lambda g: g.sum(others), (g_,))),
        entry("second x̄", reads_x, x.shape, (for_x, (g_, t_w_))),
        entry("second w̄", positions, w.shape, (for_w, (t_x_, g_))),
        entry("second b̄", 1, b.shape, (np.zeros_like, (b_,))),
        entry("second ḡ", 2 * reads_y + 1, g.shape, (forward, (t_x_, w_)), (forward, (x_, t_w_)), spread_t_b),
    ]


# ------------------------------------------------------------------------------------------------ recurrences


def _gated_functions(case: GatedCase) -> tuple[Callable, tuple, list[Expected]]:
    draw = _random(case)
    n, m = case.n, case.m
    size = case.scale
    biases = (draw((m,), size), draw((m,), size)) if case.bias else (None, None)
    w_c, w_h, w_x = (draw((m, k), size / k**0.5) for k in (n, m, n))
    params = GatedParams(w_c, w_h if case.w_h else None, w_x, *biases)
    x, h0 = draw((case.steps, *case.batch, n)), draw((*case.batch, m)) if case.h0 else None
    at = (params, x, h0)
    g = draw((*case.batch, m)), draw((case.steps, *case.batch, m))
    t = jax.tree.map(lambda a: draw(a.shape), at)

    options, axis = dict(case.options), case.options.get("time_axis", 0)
    if "lengths" in options:
        options["lengths"] = np.int32(options["lengths"])

    def functions(derivative: Any) -> Callable:
        def value(params: GatedParams, x: jax.Array, h0: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            h_last, h = gated_scan(params, jnp.moveaxis(x, 0, axis), h0, **options, derivative=derivative)
            return h_last, jnp.moveaxis(h, axis, 0)

        return _pull_twice(value)

    return functions, (at, g, t), _gated_expected(case, at, g, t)


def _gated_oracle(case: GatedCase, g_last: np.ndarray, y_bar: np.ndarray) -> Callable:
    """(params, x, h0, rounded) → ((h_last, h), the gradient for params, x and h0), in the order of time."""
    ends = np.asarray(case.options.get("lengths", case.steps))
    live = (np.arange(case.steps).reshape(-1, *(1,) * len(case.batch)) < ends)[..., None]

    def run(a: np.ndarray) -> np.ndarray:
        """Time in the order of the run."""
        return a[::-1] if case.options.get("reverse") else a

    def states_and_gradient(params: Any, x: Any, h0: Any, rounded: Callable) -> tuple[Any, Any]:
        h = oracle.gated_scan(params, run(x), h0, rounded, run(live)).h
        for_params, dx, dh0 = oracle.gated_vjp(params, run(x), h0, run(y_bar * live), g_last, rounded, run(live))
        return (h[-1], run(h[1:]) * live), (for_params, run(dx), dh0)

    return states_and_gradient


def _gated_expected(case: GatedCase, at: tuple, g: tuple, t: tuple) -> list[Expected]:
    """Value and gradients step by step; second order as the complex step of the gradients along t.

    With ϕ(at, ḡ) the gradients and t their cotangent, the pull-back of ϕ for `at` is the derivative of the gradient
    along t, since second derivatives commute; for ḡ it is the derivative of the value along t.
    """
    step = 1e-30
    (params, x, h0), (g_last, y_bar), t = jax.tree.map(to_double, (at, g, t))
    if h0 is None:
        h0, t = np.zeros((*case.batch, case.m)), (t[0], t[1], np.zeros((*case.batch, case.m)))

    states_and_gradient = _gated_oracle(case, g_last, y_bar)

    def results(rounded: Callable) -> tuple[np.ndarray, ...]:
        here: tuple[Any, Any, Any] = jax.tree.map(rounded, (params, x, h0))
        beside: tuple[Any, Any, Any] = jax.tree.map(lambda a, t: a + 1j * step * t, here, t)
        h, gradient = states_and_gradient(*here, rounded)
        h_along, along = jax.tree.map(lambda a: a.imag / step, states_and_gradient(*beside, rounded))
        if at[2] is None:
            gradient, along = gradient[:2], along[:2]
        return *h, *jax.tree.leaves((gradient, along)), *h_along

    exact, scale = results(lambda a: a), spread(results, case.dtype)
    weights = [f for f, p in zip(GatedParams._fields, at[0], strict=True) if p is not None]
    inputs = [*weights, "x", *(["h0"] if at[2] is not None else [])]
    names = ["h_last", "h", *(f"d{i}" for i in inputs), *(f"second {i}" for i in inputs), "second ḡ_last", "second ḡ"]
    sums = max(case.n, case.m) + 1
    over_time = max(case.steps, 1) * int(np.prod(case.batch, dtype=int))
    lengths = [max(sums, over_time) if name.split()[-1].lstrip("d") in weights else 2 * sums for name in names]
    return [Expected(*each) for each in zip(names, exact, scale, lengths, strict=True)]
