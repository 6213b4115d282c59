"""What the arguments of every cell's functions must be; errors name function, argument, rule and what came."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxconv._jax.dtypes import DTYPES, read_arrays
from jaxconv.recurrence.cell import Cell
from jaxconv.recurrence.engine import Residuals, ScanConfig
from jaxconv.sizes.arguments import integer, is_integer, is_symbolic, is_traced, one_of, wrong_kind, wrong_value


def check_params(cell: Cell, function: str, params: Any, arrays: dict[str, Any]) -> None:
    """Raise unless `params` are weights of the cell whose shapes agree, in one real dtype with `arrays`."""
    kind, weights = cell.params.__name__, {}
    if not isinstance(params, cell.params):
        wrong_kind(function, f"`params` must be a {kind}", f"params of type {type(params).__name__}")
    for name, value in params._asdict().items():
        if value is not None:
            weights[name] = value
        elif name not in cell.optional:
            wrong_kind(function, f"`params.{name}` must be an array", f"params.{name}=None")
    read_arrays(function, {**arrays, **{f"params.{name}": value for name, value in weights.items()}})
    (name, first), rows = next(iter(weights.items())), "" if cell.rows == 1 else str(cell.rows)
    if jnp.issubdtype(first.dtype, jnp.complexfloating):
        got = f"params.{name}.dtype={first.dtype}"
        wrong_kind(function, "`params` must be real: the gate has no complex form", got)
    if first.ndim != 2 or first.shape[0] % cell.rows != 0:
        rule = f"`params.{name}` must have the shape ({rows}m, n){cell.layout}"
        wrong_value(function, rule, f"params.{name}.shape={first.shape}")
    for other, shape in cell.shapes(cell.width(params), first.shape[1]).items():
        if other in weights and weights[other].shape != shape:
            implied = f"that params.{name}.shape={first.shape} implies"
            rule = f"`params.{other}` must have the shape {shape}{cell.layout and cell.layout + ','} {implied}"
            wrong_value(function, rule, f"params.{other}.shape={weights[other].shape}")


def _check_features(cell: Cell, function: str, params: Any, **arrays: Any) -> None:
    """Raise unless the last axes of x and of the states are the features that the weights expect."""
    first = cell.params._fields[0]
    for name, value in arrays.items():
        count = params[0].shape[1] if name == "x" else cell.width(params)
        if value.ndim < 1 or value.shape[-1] != count:
            rule = f"the last axis of `{name}` must have the {count} features of params.{first}.shape={params[0].shape}"
            wrong_value(function, rule, f"{name}.shape={value.shape}")


def read_state(cell: Cell, function: str, name: str, state: Any, ending: str = "") -> dict[str, Any]:
    """The arrays of a state by name: `name` itself of a cell with one, (h, c) of an LSTM."""
    if len(cell.states) == 1:
        return {name: state}
    names = [each + ending for each in cell.states]
    if not isinstance(state, tuple) or len(state) != len(names):
        got = f"a tuple of {len(state)}" if isinstance(state, tuple) else f"{name} of type {type(state).__name__}"
        wrong_kind(function, f"`{name}` must be a tuple ({', '.join(names)})", got)
    return dict(zip(names, state, strict=True))


def check_step(cell: Cell, function: str, params: Any, h: Any, x: Any) -> None:
    """Raise unless h and x are a state and an input of the cell whose leading axes broadcast."""
    states = read_state(cell, function, "h", h)
    check_params(cell, function, params, {**states, "x": x})
    _check_features(cell, function, params, x=x, **states)
    try:
        jnp.broadcast_shapes(*(each.shape[:-1] for each in (*states.values(), x)))
    except ValueError:
        names = [f"`{name}`" for name in (*states, "x")]
        rule = f"the leading axes of {', '.join(names[:-1])} and {names[-1]} must broadcast"
        wrong_value(function, rule, ", ".join(f"{k}.shape={v.shape}" for k, v in {**states, "x": x}.items()))


def check_scan(cell: Cell, function: str, params: Any, x: Any, h0: Any, time_axis: int = 0) -> None:
    """Raise unless x is a sequence with the axes of time, batch and features, and h0 None or a state (*batch, m)."""
    states = {} if h0 is None else read_state(cell, function, "h0", h0, "0")
    check_params(cell, function, params, {"x": x, **states})
    if x.ndim < 2:
        wrong_value(function, "`x` must have the axes (time, *batch, n)", f"x.shape={x.shape}")
    _check_features(cell, function, params, x=x)
    shape = (*_batch(x, time_axis), cell.width(params))
    for name, state in states.items():
        if state.shape != shape:
            rule = f"`{name}` must have the shape (*batch, m) = {shape}"
            wrong_value(function, rule, f"{name}.shape={state.shape} (x.shape={x.shape})")


def _batch(x: Any, time_axis: int) -> tuple[Any, ...]:
    return (*x.shape[:time_axis], *x.shape[time_axis + 1 : -1])


def read_options(
    cell: Cell, function: str, params: Any, x: Any, h0: Any, lengths: Any = None, reverse: Any = False,
    time_axis: Any = 0, unroll: Any = 1, residuals: Any = "recompute", derivative: Any = "hand",
) -> tuple[ScanConfig, Any, int]:  # fmt: skip
    """(the options of a run, lengths as an array, the time axis from 0 on) of a scan's arguments."""
    axis = _read_time_axis(function, time_axis, x)
    check_scan(cell, function, params, x, h0, axis)
    if lengths is not None:
        lengths = _read_lengths(function, lengths, x, axis)
    if not isinstance(reverse, bool):
        wrong_kind(function, "`reverse` must be True or False", f"reverse={reverse!r}")
    unroll = integer(function, "unroll", unroll, least=1)
    config = ScanConfig(cell, reverse, unroll, _read_residuals(function, residuals))
    if is_symbolic(x.shape[axis]):
        config = _read_symbolic(function, config, x.shape[axis])
    one_of(function, "derivative", derivative, ("hand", "jax"))
    return config, lengths, axis


def _read_time_axis(function: str, time_axis: object, x: Any) -> int:
    """`time_axis` counted from the first axis, any but the last."""
    axis = integer(function, "time_axis", time_axis)
    axes = max(getattr(x, "ndim", 0), 2)  # fewer are an error of x
    if not -axes <= axis < axes or axis % axes == axes - 1:
        wrong_value(
            function, "`time_axis` must be an axis of `x` other than the last", f"time_axis={axis}, x.ndim={axes}"
        )
    return int(axis % axes)


def _read_lengths(function: str, lengths: Any, x: Any, time_axis: int) -> Any:
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


def _read_residuals(function: str, residuals: object) -> Residuals:
    """`residuals` as a policy's name or a number of steps."""
    if is_integer(residuals) or is_traced(residuals):
        steps: int = integer(function, "residuals", residuals, least=1)
        return steps
    if not isinstance(residuals, str):
        rule = "`residuals` must be 'recompute', 'save' or a number of steps"
        wrong_kind(function, rule, f"residuals={residuals!r}")
    policy: Residuals = one_of(function, "residuals", residuals, ("recompute", "save"))
    return policy


def read_sizes(function: str, n: Any, m: Any, bias: Any, memory: Any, dtype: Any) -> tuple[int, int, float | None, Any]:
    """(n, m, memory, dtype) of an initialisation's arguments."""
    n, m = integer(function, "n", n, least=1), integer(function, "m", m, least=1)
    if not isinstance(bias, bool):
        wrong_kind(function, "`bias` must be True or False", f"bias={bias!r}")
    if memory is not None:
        if isinstance(memory, bool) or not isinstance(memory, (int, float, np.integer, np.floating)):
            wrong_kind(function, "`memory` must be a number of steps or None", f"memory={memory!r}")
        if not 2 <= memory < float("inf"):
            wrong_value(function, "`memory` must be at least 2 steps and finite", f"memory={memory!r}")
        if not bias:
            wrong_value(function, "`memory` must be left out where `bias` is False: it sets biases", f"memory={memory}")
    try:
        real = jnp.dtype(dtype) in DTYPES and not jnp.issubdtype(dtype, jnp.complexfloating)
    except TypeError:  # no dtype at all
        real = False
    if not real:
        wrong_kind(function, "`dtype` must be a real floating-point dtype", f"dtype={dtype!r}")
    return n, m, None if memory is None else float(memory), jnp.dtype(dtype)
