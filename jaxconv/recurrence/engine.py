"""Any cell over a sequence, and its adjoint: chunks of time, lengths, either direction, what is kept for the gradient.

    forward     s[t], gates[t] = step(w, s[t−1], a[t]),    a[t] = W x[t],    h[t] = s[t]₀,    from left to right
    backward    g[t−1], δ[t] = adjoint(w, slopes[t], g[t] + ȳ[t]),           from right to left
                dW = Σ_t δ[t] (what W multiplies at t)ᵀ    db = Σ_t δ[t]    dx[t] = Wᵀ δ[t]    ds[0] = g[0]

s is the state, ȳ[t] = ∂l/∂h[t] as it comes from outside, g the total gradient at the state, δ that at the
pre-activations; sums over t run over the batch as well. The equations are the cell's (`cell`, and a file for each).

Both passes go through time in chunks (`time_chunks`). Inside a chunk the products of x and of δ are large ones outside
the loop; the loops hold the products of the state alone. What the gradient keeps beyond the inputs is the state at the
start of every chunk, and by `residuals`

    "recompute"     what the cell says: the states, of which one `step` on all of a chunk makes the gates anew, or gates
    "save"          states and gates
    k               nothing more: the states of a chunk of k steps are made anew

Past a sequence's length the state stands still, s[t] = s[t−1], and δ = 0.

Source: the adjoint is the chain rule along s[t−1] → s[t] (P. Werbos, "Backpropagation through time", 1990).
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.manual_axes import partitioned
from jaxconv._jax.row_major import transposed
from jaxconv._jax.symbolic_zeros import WithRule, is_perturbed, none_if_zero, perturbed, primals
from jaxconv.recurrence.affine import affine_scan, states_before
from jaxconv.recurrence.cell import Cell, State, held, to_accumulator
from jaxconv.recurrence.time_chunks import TimeChunks, chunks_of, over_chunks

Residuals = Literal["recompute", "save"] | int

TURN = 256  # from so many numbers of δ on Σ_t x δᵀ is faster as a product with x turned before it


class ScanConfig(NamedTuple):
    """The options of a run.

    Attributes:
        cell: whose equations.
        reverse: from right to left.
        unroll: steps per iteration of a loop.
        residuals: what the gradient keeps: "recompute", "save", or the state every so many steps.
    """

    cell: Cell
    reverse: bool = False
    unroll: int = 1
    residuals: Residuals = "recompute"

    def chunks(self, params: Any, x: Array) -> TimeChunks:
        """How the time of x (T, *batch, n) is cut."""
        steps = self.residuals if isinstance(self.residuals, int) else None
        return chunks_of(x.shape[:-1], self.cell.width(params), steps, self.reverse)


class Kept(NamedTuple):
    """Arrays over time in the accumulator's dtype, (T, *batch, ·), or None where one is not kept.

    Attributes:
        states: one per array of a state.
        gates: one per gate.
        starts: the state that each chunk begins with, (chunks, *batch, m).
    """

    states: tuple[Any, ...]
    gates: tuple[Any, ...]
    starts: Any = None


# -------------------------------------------------------------------------------------------------- the forward pass


def within(lengths: Array | None, t: Array | None) -> Array | None:
    """Whether the steps t lie within each sequence: (steps, *batch, 1); None where all do."""
    if lengths is None or t is None:
        return None
    return (t.reshape(-1, *(1,) * lengths.ndim) < lengths[None])[..., None]


def masked(live: Array | None, tree: Any, otherwise: Any) -> Any:
    """The arrays of a tree within each sequence, `otherwise`, a number or such a tree, past its end."""
    if live is None:
        return tree
    others = jax.tree.map(lambda _: otherwise, tree) if isinstance(otherwise, (int, float)) else otherwise
    return jax.tree.map(lambda a, o: jnp.where(live, a, jnp.asarray(o, a.dtype)), tree, others)


def zero_like_all(*trees: Any) -> Array:
    """The number 0, which varies over a mesh like every array given: what a scan inside `shard_map` must start from."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((leaf.ravel()[:0].sum() for leaf in leaves[1:]), leaves[0].ravel()[:0].sum())


def _rooms(cell: Cell, params: Any, x: Array, start: State, states: bool, gates: Any, h_dtype: Any) -> Kept:
    """Room for what is kept of the steps of x: h always, the other states if `states`, the gates of those numbers, all
    for None.
    """
    zero = zero_like_all(start)  # varies over a mesh as the states do

    def room(like: Any, dtype: Any = None) -> Array:
        return jnp.zeros((x.shape[0], *like.shape), dtype or like.dtype) + zero.astype(dtype or like.dtype)

    def one(params: Any, x: Array, start: State) -> tuple[Array, ...]:
        a = jax.tree.map(lambda a: a[0], cell.project(params, x))
        return cell.step(cell.prepare(params), start, a)[1]

    shapes = jax.eval_shape(one, params, x, start)
    every = range(len(shapes)) if gates is None else gates
    rest = (room(s) if states else None for s in start[1:])
    return Kept((room(start[0], h_dtype), *rest), tuple(room(g) if i in every else None for i, g in enumerate(shapes)))


def _write(room: Any, rows: Any, t: Array) -> Any:
    """The arrays of `room` that are not None with `rows` from position t on, in place within a loop."""

    def one(stack: Array | None, row: Array) -> Array | None:
        return None if stack is None else lax.dynamic_update_slice_in_dim(stack, row.astype(stack.dtype), t, 0)

    return tuple(one(*each) for each in zip(room, rows, strict=True))


def _run(params: Any, x: Array, start: State, live: Any, t: Array, into: Kept, config: ScanConfig) -> Any:
    """(last state, `into` with the steps t of one chunk written)."""
    cell = config.cell
    w, a = cell.prepare(params), cell.project(params, x)
    if cell.is_line(params):
        gates = cell.step(w, tuple(s[None] for s in start), a)[1]
        last, h = affine_scan(*_line(cell, gates, live), start[0], config.reverse, config.unroll)
        return (last,), Kept(_write(into.states, (h,), t[0]), _write(into.gates, gates, t[0]))

    def step(carry: tuple[State, Kept], at_t: Any) -> tuple[tuple[State, Kept], None]:
        (before, into), (a, live, t) = carry, at_t
        after, gates = cell.step(w, before, a)
        after = held(masked(live, after, before))
        rows = tuple(s[None] for s in after), tuple(g[None] for g in gates)
        return (after, Kept(_write(into.states, rows[0], t), _write(into.gates, rows[1], t))), None

    return lax.scan(step, (start, into), (a, live, t), reverse=config.reverse, unroll=config.unroll)[0]


def _line(cell: Cell, gates: Any, live: Any) -> tuple[Array, Array]:
    """(c, u) of h[t] = c[t] ⊙ h[t−1] + u[t], which is (1, 0) past a sequence's end."""
    c, u = cell.line(gates)
    return masked(live, c, 1), masked(live, u, 0)


def _forward(
    params: Any, x: Array, start: State, lengths: Array | None, config: ScanConfig, residuals: Residuals | None
) -> tuple[State, Array, Kept]:
    """(last state, h, what the gradient keeps with these residuals; nothing for None)."""
    cell, dtype, time = config.cell, x.dtype, x.shape[0]
    start, given = to_accumulator(start), start
    if not time:
        return given, jnp.zeros((0, *given[0].shape), dtype), Kept((None,) * len(given), ())
    policies: dict[Any, tuple[bool, Any]] = {"save": (True, None), "recompute": cell.keep}
    states, gates = policies.get(residuals, (False, ()))
    into = _rooms(cell, params, x, start, states, gates, start[0].dtype if states else dtype)

    def chunk(carry: tuple[State, Kept], at: tuple[Array, Array], nothing: None) -> tuple[Any, None, State]:
        (start, into), (x, t) = carry, at
        live = within(lengths, t)
        return _run(params, masked(live, x, 0), start, live, t, into, config), None, start

    t = jnp.arange(time, dtype=jnp.int32)
    (last, into), _, starts = over_chunks(chunk, (start, into), (x, t), None, config.chunks(params, x), back=False)
    h = masked(within(lengths, t), into.states[0], 0).astype(dtype)
    kept = Kept(into.states if states else (None,) * len(start), into.gates, starts)
    return tuple(s.astype(dtype) for s in last), h, kept


# -------------------------------------------------------------------------------------------------- the adjoint


def _recall(params: Any, x: Array, live: Any, start: State, kept: Kept, config: ScanConfig) -> tuple[State, Any]:
    """(state before, gates) of every step of one chunk, from what was kept of it."""
    cell, w = config.cell, config.cell.prepare(params)
    if all(each is None for each in (*kept.states, *kept.gates)):
        into = _rooms(cell, params, x, start, True, cell.keep[1], start[0].dtype)
        _, kept = _run(params, x, start, live, jnp.arange(x.shape[0], dtype=jnp.int32), into, config)
    gates: Any = kept.gates
    if any(gate is None for gate in gates) and cell.fill is not None:
        gates = cell.fill(params, x, gates)
    before: State
    if kept.states[0] is None:
        before = (affine_scan(*_line(cell, gates, live), start[0], config.reverse, config.unroll, before=True)[1],)
    else:
        before = tuple(states_before(s, h, config.reverse) for s, h in zip(start, kept.states, strict=True))
    if any(gate is None for gate in gates):
        gates = held(cell.step(w, before, cell.project(params, x))[1])
    return before, gates


def _reverse_scan(params: Any, slopes: Any, g: State, y_bar: Any, live: Any, gates: Any, config: ScanConfig) -> Any:
    """g at the state before the chunk, and the total g[t] of all its steps."""
    cell, w = config.cell, config.cell.prepare(params)
    if cell.is_line(params):
        c, _ = _line(cell, gates, live)
        y_bar = jnp.zeros_like(c) if y_bar is None else y_bar
        last, passed_on = affine_scan(c, y_bar * c, g[0], not config.reverse, config.unroll, before=True)
        return (last,), (passed_on + y_bar,)

    def step(g: State, at_t: Any) -> tuple[State, State]:
        slopes, y_bar, live = at_t
        total = g if y_bar is None else (g[0] + y_bar, *g[1:])
        return masked(live, cell.adjoint(w, slopes, total)[0], total), total

    return lax.scan(step, g, (slopes, y_bar, live), reverse=not config.reverse, unroll=config.unroll)


def _rows(a: Array) -> Array:
    """(steps, *batch, m) as (steps · batch, m); m may be 0."""
    return a.reshape(prod(a.shape[:-1]), a.shape[-1])


def _turned(a: Array, width: int) -> Array:
    """(steps, *batch, n) as (n, steps · batch), transposed in memory where a product with δ of that width repays it."""
    return transposed(_rows(a), (1, 0)) if width >= TURN else _rows(a).T


def _outer(a: Array, delta: Array) -> Array:
    """Σ_t a[t] δ[t]ᵀ, over the batch as well, over several devices.

    The axes stay unmerged: one that is split would have to be gathered. δ stands first, so that the gradient is split
    as the rows of its weight are.
    """
    axes = tuple(range(delta.ndim - 1))
    return jnp.tensordot(delta, a, (axes, axes)).T


def blocks(each: Any, count: int = 1) -> tuple[Any, ...]:
    """The blocks of rows that a gradient, or what it meets, is given in: a tuple, or one array for all."""
    return each if isinstance(each, tuple) else (each,) * count


def _weight_gradients(asked: list[str], params: Any, deltas: Any, operands: Any) -> dict[str, Array]:
    """(Σ_t δ[t] (what W multiplies at t)ᵀ)ᵀ, what W multiplies turned once, and Σ_t δ[t] of a bias."""
    kept: dict[int, Array] = {}

    def turned(a: Array, width: int) -> Array:
        if id(a) not in kept:
            kept[id(a)] = _turned(a, width)
        return kept[id(a)]

    def total(name: str) -> Array:
        delta = blocks(deltas[name])
        width = sum(d.shape[-1] for d in delta)
        if getattr(params, name).ndim == 1:
            terms = [d.sum(tuple(range(d.ndim - 1))) for d in delta]
        else:
            given = zip(blocks(operands[name], len(delta)), delta, strict=True)
            terms = [_outer(a, d) if partitioned() else turned(a, width) @ _rows(d) for a, d in given]
        return terms[0] if len(terms) == 1 else jnp.concatenate(terms, -1)

    return {name: total(name) for name in asked}


def _input_gradient(cell: Cell, params: Any, deltas: Any) -> Array:
    """dx[t] = Wᵀ δ[t], summed over the weights of x, block by block of their rows."""
    terms = []
    for name in cell.of_x:
        w, first = to_accumulator(getattr(params, name)), 0
        for delta in blocks(deltas[name]):
            terms.append(delta @ w[first : first + delta.shape[-1]])
            first += delta.shape[-1]
    return sum(terms[1:], terms[0])


def _backward(
    params: Any, x: Array, lengths: Array | None, kept: Kept, g: State, y_bar: Any, marks: Any, config: ScanConfig
) -> tuple[Any, Any, Any]:
    """The gradients that `marks` ask for, None for the others; the weights' are summed from chunk to chunk."""
    cell, (for_params, for_x, for_state) = config.cell, marks

    def chunk(carry: tuple[State, dict], at: Any, start: State) -> tuple[Any, Any, None]:
        (g, sums), (x, t, y_bar, kept) = carry, at
        live = within(lengths, t)
        x, y_bar = masked(live, x, 0), None if y_bar is None else to_accumulator(masked(live, y_bar, 0))
        before, gates = _recall(params, x, live, start, kept, config)
        slopes = cell.slopes(cell.prepare(params), before, gates)
        g, total = _reverse_scan(params, slopes, g, y_bar, live, gates, config)
        deltas = held(cell.adjoint(cell.prepare(params), slopes, masked(live, total, 0))[1])
        x = to_accumulator(x)
        operands = {name: x if name in cell.of_x else before[0] for name in sums} | cell.operands(before, gates)
        terms = _weight_gradients(list(sums), params, deltas, operands)
        sums = {name: total + terms[name] for name, total in sums.items()}
        return (g, sums), (_input_gradient(cell, params, deltas).astype(dtype) if is_perturbed(for_x) else None), None

    dtype, time = x.dtype, x.shape[0]
    asked = [name for name, mark in for_params._asdict().items() if mark is not None and is_perturbed(mark)]
    sums = {name: jnp.zeros_like(to_accumulator(getattr(params, name)).T) for name in asked}
    g, dx = to_accumulator(g), jnp.zeros_like(x)
    if time:
        t = None if lengths is None else jnp.arange(time, dtype=jnp.int32)
        at = (x, t, y_bar, kept._replace(starts=None))
        (g, sums), dx, _ = over_chunks(chunk, (g, sums), at, kept.starts, config.chunks(params, x), back=True)
    gradients: list[Any] = [sums[f].T.astype(dtype) if f in sums else None for f in cell.params._fields]
    of_state = tuple(s.astype(dtype) if is_perturbed(mark) else None for s, mark in zip(g, for_state, strict=True))
    return cell.params(*gradients), dx if is_perturbed(for_x) else None, of_state


# -------------------------------------------------------------------------------------------------- the rule


def forward(params: Any, x: Array, start: State, lengths: Array | None, config: ScanConfig) -> tuple[State, Array]:
    """(last state, h), differentiated by JAX."""
    return _forward(params, x, start, lengths, config, None)[:2]


@partial(WithRule, nondiff_argnums=(4,))
def scan(params: Any, x: Array, start: State, lengths: Array | None, config: ScanConfig) -> tuple[State, Array]:
    """(last state, h), differentiated by hand."""
    return forward(params, x, start, lengths, config)


def _rule_forward(params: Any, x: Any, start: Any, lengths: Any, config: ScanConfig) -> tuple[tuple, tuple]:
    marks = perturbed((params, x, start))
    params, x, start, lengths = primals((params, x, start, lengths))
    last, h, kept = _forward(params, x, start, lengths, config, config.residuals)
    return (last, h), (params, x, lengths, kept, marks)


def _rule_backward(config: ScanConfig, residuals: tuple, cotangents: tuple[Any, Any]) -> tuple[Any, ...]:
    params, x, lengths, kept, marks = residuals
    g_last, y_bar = tuple(map(none_if_zero, cotangents[0])), none_if_zero(cotangents[1])
    zeros = jnp.zeros((*x.shape[1:-1], config.cell.width(params)), x.dtype) + zero_like_all(x)
    g = tuple(zeros if each is None else each for each in g_last)
    return *_backward(params, x, lengths, kept, g, y_bar, marks, config), None


scan.defvjp(_rule_forward, _rule_backward)
