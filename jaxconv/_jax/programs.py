"""A traced program, equation by equation: which equations hold programs, how often each runs, and its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.extend.core as jex

CALLS = frozenset(
    ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_vmap_call", "custom_jvp_call",
     "custom_vjp_call", "custom_vjp_call_jaxpr"),
)  # fmt: skip


class Inner(NamedTuple):
    """A program inside an equation.

    Attributes:
        jaxpr: the program.
        inputs: the equation's operands that its inputs are, in order; None where they are not the same arrays.
        outputs: whether the equation's results are its outputs.
        times: how often it runs, None where only the run itself tells.
    """

    jaxpr: Any
    inputs: Sequence[Any] | None
    outputs: bool
    times: int | None


def inner(equation: Any) -> list[Inner]:
    """The programs that run when an equation does; where the platform picks among several, the one for all others."""
    name, params = equation.primitive.name, equation.params
    platforms = params.get("branches_platforms")
    if name == "cond" and platforms is not None and None in platforms:
        branch = _open(params["branches"][list(platforms).index(None)])
        return [Inner(branch, equation.invars[1:], True, 1)]
    found = [
        _open(each)
        for value in params.values()
        for each in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(each, (jex.ClosedJaxpr, jex.Jaxpr))
    ]
    if name in CALLS and len(found) == 1 and len(found[0].invars) == len(equation.invars):
        return [Inner(found[0], equation.invars, True, 1)]
    times = params.get("length", 1) if name == "scan" else None if name == "while" else 1
    return [Inner(each, None, False, times) for each in found]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def name_of(equation: Any) -> str:
    """The name stack at which an equation was traced; "" where JAX keeps none."""
    return str(getattr(getattr(equation, "source_info", None), "name_stack", ""))


def is_literal(variable: Any) -> bool:
    return isinstance(variable, jex.Literal)
