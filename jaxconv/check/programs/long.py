"""Programs that would take longer to compile than to run: run equation by equation.

Every operation is compiled once for its shape, every loop once, and both are kept from one run to the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxconv.check.programs.interpret import INLINE, LOOPS, bind, bodies, holds, is_loop, run

LONG = 800  # equations of a pull-back
MOST = 8  # programs kept


def is_long(*programs: Any) -> bool:
    """Whether one is long, and none has a while loop, whose iterations are bounded as a whole."""
    return any(count(each) > LONG for each in programs) and not any(holds(each, is_loop) for each in programs)


def count(jaxpr: Any) -> int:
    """Its equations, those of the programs inside included."""
    return sum(1 + sum(map(count, bodies(equation))) for equation in jaxpr.eqns)


class Program:
    """A function traced for its arguments: `closed`, the structure of its results, and its loops as compiled."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
        self.tree = jax.tree.structure(out)
        self.loops: dict[int, Any] = {}

    def once(self, equation: Any, run_it: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        return self.loops.setdefault(id(equation), jax.jit(run_it))

    def __call__(self, *args: Any) -> Any:
        flat = run(self.closed.jaxpr, self.closed.consts, jax.tree.leaves(args), _step, _is_call)
        return jax.tree.unflatten(self.tree, flat)


def _is_call(equation: Any) -> bool:
    name = equation.primitive.name
    return name in INLINE or name.startswith(("custom_vjp_call", "custom_jvp_call"))


def _step(equation: Any, inputs: list[Any], go: Callable[[list[Any]], list[Any]]) -> list[Any]:
    return bind(equation, inputs) if equation.primitive.name in LOOPS else go(inputs)


_KEPT: OrderedDict[Any, Program] = OrderedDict()


def traced(function: Callable[..., Any], call: Any, *args: Any) -> Program:
    """`function(call, *args)` as a program, kept while few others were asked for."""
    leaves, tree = jax.tree.flatten(args)
    types = tuple((np.shape(v), str(getattr(v, "dtype", type(v)))) for v in leaves)
    how = getattr(jax.config, "jax_enable_x64", None), getattr(jax.config, "jax_default_matmul_precision", None)
    key = function, call, tree, types, how
    if key not in _KEPT:
        _KEPT[key] = Program(partial(function, call), args)
        while len(_KEPT) > MOST:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end(key)
    return _KEPT[key]
