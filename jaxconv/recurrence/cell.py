"""What a cell is to the engine: a few functions, each written once and called on one step or on a whole chunk of time.

A cell reads h and x through products with its weights. `project` makes those of x, outside the loop; `step` makes those
of the state, inside. Every function is written features last, W x as ``x @ W.T``, and so takes any leading axes: the
engine calls `step` and `adjoint` in its loops, one step at a time, and once more on all steps of a chunk, where only
the gates or only the gradients of the weights are wanted and each product is one large one.

`jaxconv.examples.minimal_gated_unit` is a cell of a reader's own in one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv._jax.dtypes import accumulator

State = tuple[Array, ...]


def always_none(*_: Any) -> Any:
    """What a cell without that function has."""
    return None


class Cell(NamedTuple):
    """One cell. Arrays are in the accumulator's dtype, leading axes (steps, *batch) or (*batch,).

    Attributes:
        params: the class of its weights, a NamedTuple; the first one has `rows` · m rows and n columns.
        shapes: (m, n) → the shape of every weight, by name.
        rows: how many times m rows the first weight has.
        layout: what the error messages say of the rows: the order of the gates.
        optional: the weights that may be None.
        of_x: the weights that x is multiplied by; a bias is whatever has one axis.
        states: the names of the arrays that a state holds, each (*batch, m); the first is the output.
        project: (params, x) → a tree of products of x.
        prepare: params → w, what the steps read beside them; a loop makes it once.
        step: (w, state, a) → (next state, gates): the equations.
        slopes: (w, state before, gates) → what one number of g is multiplied by.
        adjoint: (w, slopes, g) → (g before, {weight: gradient at what it adds to}); linear in g, a tuple like a state.
        operands: (state before, gates) → {weight: what it multiplies}, where that is neither x nor h. A tuple of
            operands, like a tuple of gradients, belongs to the weight's rows block by block.
        keep: of the residuals "recompute" whether the states are kept, and which of the gates.
        fill: (params, x, gates kept) → all gates, where that takes no step; None: by `step`.
        line: gates → (c, u), where h[t] = c[t] ⊙ h[t−1] + u[t]; only with gates that `fill` makes or `is_line`.
        is_line: params → whether the gates depend on x alone.
    """

    params: Any
    shapes: Callable[[Any, Any], dict[str, tuple]]
    rows: int
    layout: str
    optional: tuple[str, ...]
    of_x: tuple[str, ...]
    states: tuple[str, ...]
    project: Callable[[Any, Array], Any]
    prepare: Callable[[Any], Any]
    step: Callable[[Any, State, Any], tuple[State, tuple[Array, ...]]]
    slopes: Callable[[Any, State, Any], Any]
    adjoint: Callable[[Any, Any, State], tuple[State, dict[str, Any]]]
    operands: Callable[[State, Any], dict[str, Any]] = lambda before, gates: {}
    keep: tuple[bool, tuple[int, ...]] = (True, ())
    fill: Callable[[Any, Array, Any], Any] | None = None
    line: Callable[[Any], tuple[Array, Array]] = always_none
    is_line: Callable[[Any], bool] = lambda params: False

    def width(self, params: Any) -> Any:
        """m, the features of a state."""
        return params[0].shape[0] // self.rows


def to_accumulator(tree: Any) -> Any:
    """Arrays in the dtype that their sums are accumulated in; None stays None."""
    return jax.tree.map(lambda a: a.astype(accumulator(a.dtype)), tree)


def product(x: Array, w: Array) -> Array:
    """W x for every leading axis, in the accumulator's dtype."""
    return jnp.matmul(x, w.T, preferred_element_type=accumulator(x.dtype))


def biased(a: Array, b: Array | None) -> Array:
    """a + b in the dtype of a, or a where there is no bias."""
    return a if b is None else a + led(b.astype(a.dtype), a.ndim)


def led(array: Array, rank: int) -> Array:
    """An array with axes of size one before its own, `rank` in all: what broadcasting would add in silence."""
    return jnp.expand_dims(array, tuple(range(rank - array.ndim)))


def held(tree: Any) -> Any:
    """Arrays that several readers share. XLA on a CPU would compute them anew in each, σ and tanh included."""
    leaves, structure = jax.tree.flatten(tree)
    once = {id(leaf): leaf for leaf in leaves}  # one array that stands twice stays one
    kept = dict(zip(once, lax.optimization_barrier(list(once.values())), strict=True))
    return jax.tree.unflatten(structure, [kept[id(leaf)] for leaf in leaves])


def spread(g: Array, slopes: Array) -> Array:
    """g ⊙ every block of m features of `slopes`, side by side as those are."""
    m = g.shape[-1]
    blocks = slopes.reshape(*slopes.shape[:-1], slopes.shape[-1] // m if m else 1, m)
    product = g[..., None, :] * blocks
    return product.reshape(*product.shape[:-2], slopes.shape[-1])


def parts(a: Array, count: int) -> list[Array]:
    """`a` cut along its features into `count` equal parts."""
    m = a.shape[-1] // count
    return [lax.slice_in_dim(a, i * m, (i + 1) * m, axis=-1) for i in range(count)]
