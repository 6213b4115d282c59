"""What the functions of every cell share: one step, a sequence, both directions, the Jacobian of a step, weights."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxconv._jax.explicit_sharding import check_once, is_split, split, under_auto_axes
from jaxconv.recurrence import engine
from jaxconv.recurrence.arguments import check_step, read_options
from jaxconv.recurrence.cell import Cell, State, led, to_accumulator
from jaxconv.recurrence.engine import ScanConfig
from jaxconv.sizes.arguments import wrong_kind, wrong_value

Derivative = Literal["hand", "jax"]


def of_state(cell: Cell, state: Any) -> State:
    """A state as people give it, as the tuple that the engine runs; a cell with one array is given it bare."""
    return (state,) if len(cell.states) == 1 else tuple(state)


def bare(state: State) -> Any:
    """The way back from `of_state`."""
    return state[0] if len(state) == 1 else state


def step(cell: Cell, function: str, params: Any, h: Any, x: Any) -> Any:
    """One step of the cell, its arguments checked."""
    check_step(cell, function, params, h, x)
    return _step_body(params, of_state(cell, h), x, cell=cell)


@partial(jax.jit, static_argnames=("cell",))
def _step_body(params: Any, state: State, x: Array, *, cell: Cell) -> Any:
    state, a, w = ready(cell, params, state, x)
    return bare(tuple(s.astype(x.dtype) for s in cell.step(w, state, a)[0]))


def ready(cell: Cell, params: Any, state: State, x: Array) -> tuple[State, Any, Any]:
    """(state, products of x, w) of one step, their leading axes alike in number."""
    rank = max(each.ndim for each in (*state, x))
    return tuple(to_accumulator(led(s, rank)) for s in state), cell.project(params, led(x, rank)), cell.prepare(params)


def scan(
    cell: Cell, function: str, params: Any, x: Any, h0: Any, *, derivative: Derivative = "hand", **options: Any
) -> Any:
    """The cell over a sequence, its arguments checked: (last state, h); options as in `gated_scan`."""
    config, lengths, axis = read_options(cell, function, params, x, h0, derivative=derivative, **options)
    state = None if h0 is None else of_state(cell, h0)
    last, h = _scan_body(
        params, x, state, lengths, config=config, time_axis=axis, derivative=derivative, function=function
    )
    return bare(last), h


@partial(jax.jit, static_argnames=("config", "time_axis", "derivative", "function"))
def _scan_body(
    params: Any,
    x: Array,
    state: Any,
    lengths: Any,
    *,
    config: ScanConfig,
    time_axis: int,
    derivative: str,
    function: str,
) -> tuple[State, Array]:  # fmt: skip
    run = partial(_scan, config=config, time_axis=time_axis, derivative=derivative)
    if not is_split(params, x, state):
        return run(params, x, state, lengths)
    last, h = _read_split(function, params, x, time_axis)
    return under_auto_axes(run, ([last] * len(config.cell.states), h), params, x, state, lengths)


def _read_split(function: str, params: Any, x: Array, time_axis: int) -> tuple[tuple, tuple]:
    """How h_last and h lie in explicit mode: the batch as that of x, the features as the rows of the first weight."""
    spec, rows, first = split(x), split(params[0])[0], params._fields[0]
    if spec[time_axis] is not None:
        rule = "`x` must be whole along time: say x = jax.reshard(x, ...) with None there"
        wrong_value(function, rule, f"x split as {spec}, time_axis={time_axis}")
    result = (*spec[:-1], rows)
    advice = "say jax.reshard(x, ...) or jax.reshard(params, ...) with None for one of them"
    what = f"`h`, whose batch lies as that of `x` and whose features as the rows of `{first}`,"
    check_once(function, result, what, advice)
    return tuple(e for axis, e in enumerate(result) if axis != time_axis), result


def _scan(
    params: Any, x: Array, state: Any, lengths: Any, *, config: ScanConfig, time_axis: int, derivative: str
) -> tuple[State, Array]:
    x = jnp.moveaxis(x, time_axis, 0)
    if state is None:
        zeros = jnp.zeros((*x.shape[1:-1], config.cell.width(params)), x.dtype)
        state = (zeros,) * len(config.cell.states)
    zero = jax.lax.stop_gradient(engine.zero_like_all(x, state, params))
    if jax.typeof(zero) != jax.typeof(jnp.zeros((), zero.dtype)):  # in shard_map gradients must vary as their inputs do
        params, x, state = jax.tree.map(lambda each: each + zero, (params, x, state))
    if lengths is not None:
        narrow = jnp.iinfo(lengths.dtype).bits < 32  # too narrow for T
        lengths = jnp.clip(lengths.astype(jnp.int32) if narrow else lengths, 0, x.shape[0]).astype(jnp.int32)
    run = engine.scan if derivative == "hand" else engine.forward
    last, h = run(params, x, state, lengths, config)
    return last, jnp.moveaxis(h, 0, time_axis)


def scan_both(run: Any, function: str, forward: Any, backward: Any, x: Any, h0: Any, options: dict[str, Any]) -> Any:
    """`run`, a cell's scan, from each end; every array of the results side by side along the features."""
    if "reverse" in options:
        rule = "`reverse` must be left out: both directions run"
        wrong_value(function, rule, f"reverse={options['reverse']!r}")
    if h0 is not None and not (isinstance(h0, tuple) and len(h0) == 2):
        wrong_kind(function, "`h0` must be a pair of states or None", f"h0 of type {type(h0).__name__}")
    first, second = (None, None) if h0 is None else h0
    runs = run(forward, x, first, **options), run(backward, x, second, reverse=True, **options)
    return jax.tree.map(lambda *pair: jnp.concatenate(pair, axis=-1), *runs)


def step_jacobian(cell: Cell, function: str, params: Any, h: Any, x: Any) -> Array:
    """The Jacobian of one step, (*batch, states · m, states · m), its arguments checked."""
    check_step(cell, function, params, h, x)
    return jacobian(params, of_state(cell, h), x, cell=cell).astype(x.dtype)


@partial(jax.jit, static_argnames=("cell",))
def jacobian(params: Any, state: State, x: Array, *, cell: Cell) -> Array:
    """The adjoint of one step for every unit vector, in the accumulator's dtype: row i is that of component i."""
    state, a, w = ready(cell, params, state, x)
    slopes = cell.slopes(w, state, cell.step(w, state, a)[1])
    m, batch = state[0].shape[-1], jnp.broadcast_shapes(*(s.shape[:-1] for s in (*state, x)))
    unit = jnp.eye(len(state) * m, dtype=state[0].dtype)
    rows = jax.vmap(lambda g: jnp.concatenate(cell.adjoint(w, slopes, _cut(g, len(state), batch))[0], -1))(unit)
    return jnp.moveaxis(rows, 0, -2)


def _cut(g: Array, states: int, batch: tuple) -> State:
    """One vector of all components as a g of every example."""
    return tuple(jnp.broadcast_to(led(part, len(batch) + 1), (*batch, part.shape[0])) for part in jnp.split(g, states))


def uniform(key: Array, shape: tuple[int, int], variance: float, dtype: Any) -> Array:
    """√(3 · variance) · U(−1, 1)"""
    bound = (3 * variance) ** 0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def memory_bias(m: int, memory: float | None, dtype: Any) -> Array:
    """log u, u the m quantiles of U(1, memory − 1), the longest first: σ(log u) = 1 − 1/(1 + u). Zeros for None."""
    return jnp.zeros(m, dtype) if memory is None else jnp.asarray(np.log(np.linspace(memory - 1, 1, m)), dtype)


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6))
def rows_drawn(key: Array, n: int, m: int, signs: tuple, memory: Any, dtype: Any, bias: bool) -> tuple[Any, ...]:
    """(w_ih, w_hh, b_ih, b_hh), m rows a gate; b_ih holds the sign of each gate times `memory_bias`."""
    for_x, for_h = jax.random.split(key)
    k = len(signs)
    w_ih, w_hh = uniform(for_x, (k * m, n), 1 / n, dtype), uniform(for_h, (k * m, m), 1 / (4 * m), dtype)
    if not bias:
        return w_ih, w_hh, None, None
    lasting = memory_bias(m, memory, dtype)
    return w_ih, w_hh, jnp.concatenate([sign * lasting for sign in signs]), jnp.zeros(k * m, dtype)
