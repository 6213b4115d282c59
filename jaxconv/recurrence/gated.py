"""The gated recurrence as people call it: weights, one step, a sequence.

The formulas stand in `gated_cell` and `engine`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxconv._jax.dtypes import DTYPES
from jaxconv._jax.explicit_sharding import check_once, is_split, split, under_auto_axes
from jaxconv.recurrence import engine
from jaxconv.recurrence.gated_cell import (
    GatedParams,
    check_features,
    check_params,
    check_step,
    gate,
    led,
    mix,
    project,
    to_accumulator,
)
from jaxconv.recurrence.states import Residuals, ScanConfig, zero_like_all
from jaxconv.sizes.arguments import integer, is_integer, is_symbolic, is_traced, one_of, wrong_kind, wrong_value

Derivative = Literal["hand", "jax"]


def gated_init(key: Array, n: int, m: int, *, bias: bool = True, dtype: Any = jnp.float32) -> GatedParams:
    """Random weights, uniform, and biases 0.

        W_c, W_x ~ √(3/n) · U(−1, 1)  (variance 1/n),   W_h ~ √(3/(4m)) · U(−1, 1)  (variance 1/(4m))

    The variances keep v of the size of x, and ‖W_h‖₂ near 1, where gradients through time neither vanish at once nor
    explode (see `gradient_flow`).

    Args:
        key: a random key of `jax.random`.
        n: input features.
        m: state features.
        bias: whether there are biases.
        dtype: of all weights.

    Returns:
        GatedParams with w_c, w_x (m, n), w_h (m, m), b_c, b_x (m,) or None.

    Raises:
        TypeError, ValueError: n or m is no positive integer; dtype is no real floating-point dtype.

    Source: X. Glorot and Y. Bengio 2010, equation 16, for the uniform form.

    >>> import jax
    >>> gated_init(jax.random.key(0), 3, 4, bias=False).b_c is None
    True
    """
    n, m = integer("gated_init", "n", n, least=1), integer("gated_init", "m", m, least=1)
    if not isinstance(bias, bool):
        wrong_kind("gated_init", "`bias` must be True or False", f"bias={bias!r}")
    try:
        real = jnp.dtype(dtype) in DTYPES and not jnp.issubdtype(dtype, jnp.complexfloating)
    except TypeError:  # no dtype at all
        real = False
    if not real:
        wrong_kind("gated_init", "`dtype` must be a real floating-point dtype", f"dtype={dtype!r}")

    return _drawn(key, n, m, bias, jnp.dtype(dtype))


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _drawn(key: Array, n: int, m: int, bias: bool, dtype: Any) -> GatedParams:
    def uniform(key: Array, shape: tuple[int, int], variance: float) -> Array:
        bound = (3 * variance) ** 0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    for_c, for_h, for_x = jax.random.split(key, 3)
    weights = uniform(for_c, (m, n), 1 / n), uniform(for_h, (m, m), 1 / (4 * m)), uniform(for_x, (m, n), 1 / n)
    return GatedParams(*weights, *((jnp.zeros(m, dtype), jnp.zeros(m, dtype)) if bias else (None, None)))


@jax.jit
def _step_body(params: GatedParams, h: Array, x: Array) -> Array:
    h, x = (led(each, max(h.ndim, x.ndim)) for each in (h, x))
    pre, v = project(x, params.w_c, params.b_c), project(x, params.w_x, params.b_x)
    turned = None if params.w_h is None else to_accumulator(params.w_h).T
    return mix(gate(pre, to_accumulator(h), turned), to_accumulator(h), v).astype(x.dtype)


def gated_step(params: GatedParams, h: Array, x: Array) -> Array:
    """One step of the recurrence.

        c = σ(W_c x + b_c + W_h h),   next h = c ⊙ h + (1 − c) ⊙ (W_x x + b_x)

    Its gradient is left to JAX: within one step there is nothing to save.

    Args:
        params: GatedParams.
        h: state before the step, (*batch, m).
        x: input of the step, (*batch, n); leading axes of h and x broadcast.

    Returns:
        The state after the step, (*batch, m).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: the equations of the module `gated_cell`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_step(params, jnp.array([2.0]), jnp.array([4.0]))
    Array([3.], dtype=float32)
    """
    check_step("gated_step", params, h, x)
    return _step_body(params, h, x)


@partial(jax.jit, static_argnames=("config", "time_axis", "derivative"))
def _scan_body(
    params: GatedParams, x: Array, h0: Any, lengths: Any, *, config: ScanConfig, time_axis: int, derivative: str
) -> tuple[Array, Array]:
    run = partial(_scan, config=config, time_axis=time_axis, derivative=derivative)
    if not is_split(params, x, h0):
        return run(params, x, h0, lengths)
    return under_auto_axes(run, _read_split(params, x, time_axis), params, x, h0, lengths)


def _read_split(params: GatedParams, x: Array, time_axis: int) -> tuple[tuple, tuple]:
    """How h_last and h lie in explicit mode: the batch as that of x, the features as the rows of W_c."""
    spec, rows = split(x), split(params.w_c)[0]
    if spec[time_axis] is not None:
        rule = "`x` must be whole along time: say x = jax.reshard(x, ...) with None there"
        wrong_value("gated_scan", rule, f"x split as {spec}, time_axis={time_axis}")
    result = (*spec[:-1], rows)
    advice = "say jax.reshard(x, ...) or jax.reshard(params, ...) with None for one of them"
    check_once(
        "gated_scan", result, "`h`, whose batch lies as that of `x` and whose features as the rows of `w_c`,", advice
    )
    return tuple(e for axis, e in enumerate(result) if axis != time_axis), result


def _scan(
    params: GatedParams, x: Array, h0: Any, lengths: Any, *, config: ScanConfig, time_axis: int, derivative: str
) -> tuple[Array, Array]:
    x = jnp.moveaxis(x, time_axis, 0)
    if h0 is None:
        h0 = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype)
    zero = jax.lax.stop_gradient(zero_like_all(x, h0, params))
    if jax.typeof(zero) != jax.typeof(jnp.zeros((), zero.dtype)):  # in shard_map gradients must vary as their inputs do
        params, x, h0 = jax.tree.map(lambda each: each + zero, (params, x, h0))
    if lengths is not None:
        narrow = jnp.iinfo(lengths.dtype).bits < 32  # too narrow for T
        lengths = jnp.clip(lengths.astype(jnp.int32) if narrow else lengths, 0, x.shape[0]).astype(jnp.int32)
    run = engine.scan if derivative == "hand" else engine.forward
    h_last, h = run(params, x, h0, lengths, config)
    return h_last, jnp.moveaxis(h, 0, time_axis)


def gated_scan(
    params: GatedParams,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Array | int | None = None,
    reverse: bool = False,
    time_axis: int = 0,
    unroll: int = 1,
    residuals: Residuals = "recompute",
    derivative: Derivative = "hand",
) -> tuple[Array, Array]:
    """The recurrence over a sequence, with the hand-written adjoint of the module `engine`.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    A stream gives the same numbers piece by piece: ``h, _ = gated_scan(params, piece, h)``, or step by step with
    `gated_step`. Both directions at once: `gated_scan_both`.

    Args:
        params: GatedParams; with w_h=None h is linear in h[0], and accelerators run it as a prefix sum.
        x: (time, *batch, n), any number of batch axes, none included; time may be 0.
        h0: state before the first step, (*batch, m); zeros where None.
        lengths: (*batch,) integers, 0 to time: past its length a sequence's state stands still, its outputs are 0, and
            what x holds there is not read. Traced ones cannot be checked and are clipped.
        reverse: right to left (within each length); outputs stay in the order of x.
        time_axis: where time stands in x and in h; any axis but the last.
        unroll: steps per iteration of the loop, as in `lax.scan`: more compile, less overhead; 1 of a symbolic time.
        residuals: what is kept for the gradient beyond the inputs: "recompute", the gates c, as large as h; "save", c,
            v and h, for one matrix product less; an integer k, the state every k steps, for two products more: memory
            for T/k + k steps (a k that does not divide T also copies x; it has to divide a symbolic T of
            ``jax.export``, which may be k·t). derivative="jax" decides for itself.
        derivative: "hand", the adjoint above; "jax" leaves the derivative to JAX, so that jvp and hessian work too.

    Returns:
        (h_last, h) as `lax.scan`, the carry and then the stack: (*batch, m) and (time, *batch, m).

    Raises:
        TypeError, ValueError: dtypes, shapes or options do not fit together.

    Source: the equations of the module `engine`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_scan(params, jnp.array([[4.0], [8.0]]))[1]
    Array([[2.],
           [5.]], dtype=float32)
    """
    function = "gated_scan"
    time_axis = read_time_axis(function, time_axis, x)
    check_scan(function, params, x, h0, time_axis)
    if lengths is not None:
        lengths = read_lengths(function, lengths, x, time_axis)
    if not isinstance(reverse, bool):
        wrong_kind(function, "`reverse` must be True or False", f"reverse={reverse!r}")
    unroll = integer(function, "unroll", unroll, least=1)
    config = ScanConfig(reverse, unroll, read_residuals(function, residuals))
    if is_symbolic(x.shape[time_axis]):
        config = _read_symbolic(function, config, x.shape[time_axis])
    one_of(function, "derivative", derivative, ("hand", "jax"))
    return _scan_body(params, x, h0, lengths, config=config, time_axis=time_axis, derivative=derivative)


# ---------------------------------------------------------------------------------------------- reading arguments


def check_scan(function: str, params: Any, x: Any, h0: Any, time_axis: int = 0) -> None:
    """Raise unless x is a sequence with the axes of time, batch and features, and h0 None or a state (*batch, m)."""
    check_params(function, params, {"x": x, **({} if h0 is None else {"h0": h0})})
    if x.ndim < 2:
        wrong_value(function, "`x` must have the axes (time, *batch, n)", f"x.shape={x.shape}")
    check_features(function, params, x, None)
    state = (*_batch(x, time_axis), params.w_c.shape[0])
    if h0 is not None and h0.shape != state:
        rule = f"`h0` must have the shape (*batch, m) = {state}"
        wrong_value(function, rule, f"h0.shape={h0.shape} (x.shape={x.shape})")


def _batch(x: Any, time_axis: int) -> tuple[Any, ...]:
    return (*x.shape[:time_axis], *x.shape[time_axis + 1 : -1])


def read_time_axis(function: str, time_axis: object, x: Any) -> int:
    """`time_axis` counted from the first axis, any but the last."""
    axis = integer(function, "time_axis", time_axis)
    axes = max(getattr(x, "ndim", 0), 2)  # fewer are an error of x
    if not -axes <= axis < axes or axis % axes == axes - 1:
        wrong_value(
            function, "`time_axis` must be an axis of `x` other than the last", f"time_axis={axis}, x.ndim={axes}"
        )
    return int(axis % axes)


def read_lengths(function: str, lengths: Any, x: Any, time_axis: int) -> Any:
    """`lengths` as an array (*batch,) of integers; where their values are known, from 0 to time."""
    if isinstance(lengths, (int, np.integer)) and not isinstance(lengths, bool):
        lengths = np.asarray(lengths)
    if not isinstance(lengths, (Array, np.ndarray)):
        hint = "convert with jax.numpy.asarray(lengths, 'int32')"
        wrong_kind(function, "`lengths` must be an array", f"lengths of type {type(lengths).__name__}: {hint}")
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        mask = f": of a mask of the steps that count give its sum along time, lengths.sum({time_axis})"
        got = f"lengths.dtype={lengths.dtype}{mask if lengths.dtype == bool else ''}"
        wrong_kind(function, "`lengths` must be integers", got)
    batch, time = _batch(x, time_axis), x.shape[time_axis]
    if lengths.shape != batch:
        rule = f"`lengths` must have the shape (*batch,) = {batch}"
        wrong_value(function, rule, f"lengths.shape={lengths.shape} (x.shape={x.shape}, time_axis={time_axis})")
    try:
        known = np.asarray(jax.device_get(lengths))
    except jax.errors.TracerArrayConversionError:
        return lengths
    wrong = known[(known < 0) | (known > time)]
    if wrong.size:
        wrong_value(function, f"`lengths` must lie between 0 and the time {time}", f"a length of {wrong[0]}")
    return lengths if isinstance(lengths, Array) else jax.device_put(lengths)


def _read_symbolic(function: str, config: ScanConfig, time: Any) -> ScanConfig:
    """The options of a run over a symbolic number of steps, of which JAX unrolls no loop."""
    steps = config.residuals
    if isinstance(steps, str):
        return config._replace(unroll=1)
    if time % steps != 0:
        rule = f"`residuals` must divide a symbolic time, as it does that of {steps}*t steps, or be a policy's name"
        wrong_value(function, rule, f"residuals={steps}, x with {time} steps")
    return config


def read_residuals(function: str, residuals: object) -> Residuals:
    """`residuals` as a policy's name or a number of steps."""
    if is_integer(residuals) or is_traced(residuals):
        steps: int = integer(function, "residuals", residuals, least=1)
        return steps
    if not isinstance(residuals, str):
        rule = "`residuals` must be 'recompute', 'save' or a number of steps"
        wrong_kind(function, rule, f"residuals={residuals!r}")
    policy: Residuals = one_of(function, "residuals", residuals, ("recompute", "save"))
    return policy
