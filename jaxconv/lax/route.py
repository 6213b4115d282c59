"""What is compiled in the place of a convolution of lax, and the record of it.

A call that is marked, or any call while the switch is on, is read; what the reading says is computed by the algorithm
that `jaxconv.algorithms.choose` selects. Everything else is compiled by JAX's own rule, and the record says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import RLock
from typing import Any, NamedTuple, cast

import jax
from jax import Array

from jaxconv._jax.conv_rule import Asked
from jaxconv._jax.dtypes import DTYPES, read_precision
from jaxconv._jax.marks import LEAVE, TAKE
from jaxconv.algorithms import choose
from jaxconv.algorithms.problem import Problem
from jaxconv.lax.read import Call, Reading, read


class Taken(NamedTuple):
    """A kind of convolution that was compiled our way: as which map, and by which algorithm."""

    which: str
    algorithm: str


class Record:
    """How many convolutions were compiled, by what became of them."""

    def __init__(self) -> None:
        self._lock = RLock()
        self.taken: Counter[Taken] = Counter()
        self.left: Counter[str] = Counter()

    def count(self, outcome: Taken | str) -> None:
        with self._lock:
            (self.taken if isinstance(outcome, Taken) else self.left)[outcome] += 1  # type: ignore[index]


class Router:
    """Decides what is compiled for each call; `on` is the switch for calls that bear no mark."""

    def __init__(self) -> None:
        self.on = False
        self.records: list[Record] = []

    def decide(self, asked: Asked) -> Callable[[Array, Array], Array] | None:
        if asked.mark == LEAVE or not (self.on or asked.mark == TAKE):
            return None
        outcome = self._outcome(asked)
        for record in tuple(self.records):
            record.count(outcome if isinstance(outcome, str) else outcome[0])
        return None if isinstance(outcome, str) else outcome[1]

    def _outcome(self, asked: Asked) -> tuple[Taken, Callable[[Array, Array], Array]] | str:
        if reason := unsuited(asked.lhs, asked.rhs, asked.out, asked.explicit):
            return reason
        reading = read(Call.of(asked.lhs.shape, asked.rhs.shape, asked.out.shape, asked.params))
        if isinstance(reading, str):
            return reading
        compute = computed(reading, asked.out.dtype, asked.params["precision"])
        if asked.exported and _of_this_machine(compute, asked):
            return "exported, and the algorithm chosen is a call into this machine's libraries"
        return Taken(reading.which, choose.choose(problem_of(reading, asked.out.dtype))), compute


def unsuited(lhs: Any, rhs: Any, out: Any, explicit: bool = False) -> str | None:
    """Why the maps do not take such arrays; None where they do."""
    if lhs.dtype not in DTYPES or out.dtype not in DTYPES:
        return f"dtype {lhs.dtype}"
    if lhs.dtype != rhs.dtype:
        return "two dtypes"
    if explicit:
        return "explicit sharding"
    return None


def computed(reading: Reading, dtype: Any, precision: Any) -> Callable[[Array, Array], Array]:
    """The function of lhs and rhs that makes what lax's call makes."""
    precision = None if precision is None else read_precision("conv_general_dilated", precision)

    def compute(lhs: Array, rhs: Array) -> Array:
        arrays = {"lhs": lhs.astype(dtype), "rhs": rhs.astype(dtype)}
        first, second = (arrays[name] for name in reading.factors)
        a, b = reading.first.to_form(first), reading.second.to_form(second)
        return reading.result.from_form(choose.lowered(reading.which, a, b, reading.geometry, precision, "auto"))

    return compute


def problem_of(reading: Reading, dtype: Any) -> Problem:
    """What the choice of an algorithm is told."""
    a, b = (cast(Array, jax.ShapeDtypeStruct(move.merged, dtype)) for move in (reading.first, reading.second))
    return Problem.of(reading.which, a, b, reading.geometry)


def seconds_of(problem: Problem, algorithm: str) -> float | None:
    """The time that it was measured to take on this machine, or else is estimated at; None where neither is so."""
    return (choose.measured(problem) or choose.estimates(problem)).get(algorithm)


def _of_this_machine(compute: Callable[..., Array], asked: Asked) -> bool:
    """Whether the program calls a function that only this machine's libraries have."""
    program = jax.make_jaxpr(compute)(*(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (asked.lhs, asked.rhs)))
    return "ffi_call" in str(program)


ROUTER = Router()
