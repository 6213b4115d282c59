"""Every convolution of a program, found by going through it, with all calls, scans, branches and custom rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._jax.programs import Inner, inner, is_literal, name_of
from jaxconv.algorithms.choose import lowered
from jaxconv.algorithms.problem import Problem
from jaxconv.explanation.fields import INPUT, Seen, after
from jaxconv.lax.read import Call, Reading, read
from jaxconv.lax.route import problem_of, unsuited


@dataclass(frozen=True)
class Found:
    """One `lax.conv_general_dilated` of a program.

    Attributes:
        name: the name stack.
        call: what is static about it.
        reading: as one of the maps, or why it is none.
        dtype: of the operands and of the result.
        times: how often it runs in one call of the program, None where the data decide.
        field: of what it makes, or None.
    """

    name: str
    call: Call
    reading: Reading | str
    dtype: tuple[str, str]
    times: int | None
    field: Any

    @property
    def multiply_adds(self) -> int:
        """Products of two numbers that are no padding, of one run.

        b · o · (i/groups) · ∏ #{(j, q) : σ·j + δ·q − lo = λ·p for an index p of lhs}
        """
        return self._pairs * math.prod(_meetings(self.call, axis) for axis in range(len(self.call.padding)))

    @property
    def multiply_adds_with_padding(self) -> int:
        """Those with padding, too: every tap at every position of the map."""
        if isinstance(self.reading, str):
            return self._pairs * math.prod(self.call.space["rhs"]) * math.prod(self.call.space["out"])
        geometry = self.reading.geometry
        return self._pairs * geometry.taps * math.prod(geometry.output_size)

    @property
    def bytes(self) -> int:
        """Of both operands and the result, each once."""
        (operand, result), call = (jnp.dtype(name).itemsize for name in self.dtype), self.call
        return operand * (math.prod(call.lhs_shape) + math.prod(call.rhs_shape)) + result * math.prod(call.out_shape)

    @property
    def _pairs(self) -> int:
        """b · o · (i/groups), with lax's names."""
        batch, filters = (self.call.out_shape[axis] for axis in self.call.specs[2][:2])
        return batch * filters * self.call.rhs_shape[self.call.specs[1][1]]

    @property
    def problem(self) -> Problem | None:
        return None if isinstance(self.reading, str) else problem_of(self.reading, self.dtype[1])


def _meetings(call: Call, axis: int) -> int:
    """#{(j, q) : σ·j + δ·q − lo = λ·p, 0 ≤ p < n}"""
    n, k, m = (call.space[name][axis] for name in ("lhs", "rhs", "out"))
    at = call.window_strides[axis] * np.arange(m)[:, None] + call.rhs_dilation[axis] * np.arange(k)
    at = at - call.padding[axis][0]
    step = call.lhs_dilation[axis]
    return int(((at >= 0) & (at <= step * (n - 1)) & (at % step == 0)).sum())


def convolutions(f: Callable[..., Any], *args: Any) -> list[Found]:
    """Every convolution of f(*args), in the order of the program."""
    program = jax.make_jaxpr(f)(*args).jaxpr
    found: list[Found] = []
    _walk(program, [INPUT] * len(program.invars), "", 1, found.append)
    return found


def _walk(
    jaxpr: Any, inputs: Sequence[Seen | None], prefix: str, times: int | None, tell: Callable[[Found], None]
) -> list[Seen | None]:
    """Tell of every convolution; the fields of the program's outputs."""
    seen: dict[Any, Seen | None] = dict(zip(jaxpr.invars, inputs, strict=True))

    def field(variable: Any) -> Seen | None:
        return None if is_literal(variable) else seen.get(variable)

    for equation in jaxpr.eqns:
        name = "/".join(filter(None, (prefix, name_of(equation))))
        before = [field(each) for each in equation.invars]
        programs = _programs(equation)
        if equation.primitive.name == "conv_general_dilated":
            one = _found(equation, name, times)
            made = [after(equation, before, one.reading, one.call)]
            tell(replace(one, field=made[0]))
        elif programs:
            made = _within(equation, programs, field, name, times, tell)
        else:
            made = [after(equation, before, None, None)] if len(equation.outvars) == 1 else []
        seen.update(zip(equation.outvars, made, strict=False))
    return [field(each) for each in jaxpr.outvars]


def _programs(equation: Any) -> list[Inner]:
    """Those inside an equation; of a convolution with derivative="any" the form of lax."""
    if equation.primitive.name != "jaxconv":
        return inner(equation)
    which, config = equation.params["which"], equation.params["config"]
    plain = jax.make_jaxpr(lambda a, b: lowered(which, a, b, *config))(*(each.aval for each in equation.invars))
    return [Inner(plain.jaxpr, equation.invars, True, 1)]


def _within(
    equation: Any, programs: list[Inner], field: Any, name: str, times: int | None, tell: Callable[[Found], None]
) -> list[Seen | None]:
    made: list[Seen | None] = []
    for each in programs:
        inputs = [None] * len(each.jaxpr.invars) if each.inputs is None else [field(v) for v in each.inputs]
        often = None if times is None or each.times is None else times * each.times
        outputs = _walk(each.jaxpr, inputs, name, often, tell)
        made = outputs if each.outputs and len(outputs) == len(equation.outvars) else made
    return made


def _found(equation: Any, name: str, times: int | None) -> Found:
    lhs, rhs = (each.aval for each in equation.invars)
    out = equation.outvars[0].aval
    call = Call.of(lhs.shape, rhs.shape, out.shape, equation.params)
    reading = unsuited(lhs, rhs, out) or read(call)
    return Found(name, call, reading, (str(lhs.dtype), str(out.dtype)), times, None)


def names(found: Sequence[Found]) -> Iterator[str]:
    """The name of each, without what all have in common, numbered where two are the same."""
    parts = [each.name.split("/") for each in found]
    while parts and all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    yield from ("/".join(each) for each in parts)
