"""Programs that would take longer to compile than to run: run equation by equation.

A program is traced once and laid out as steps, the bodies of calls inlined. A step is compiled once for its shapes and
parameters, with its noise, for a whole stack of draws or cotangents; the same step elsewhere is not compiled again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jaxconv.check.programs.interpret import bind, bodies, called, holds, is_call, is_float, is_loop
from jaxconv.check.programs.noise import disturbed, is_rounded, rounds, with_noise
from jaxconv.check.programs.room import kept

LONG = 120  # equations of a pull-back
REPEATED = 8  # times that its equations come, on average, from which on one by one is quicker than all at once
MOST = 16  # programs kept
OFTEN = 8  # times that a step must come to be compiled, where it needs neither noise nor a stack
# Compiling takes longer than running.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
Axes = tuple[int | None, ...]  # of every input: 0 where it is a stack


def is_long(*programs: Any) -> bool:
    """Whether one is long and repeats itself, and none has a while loop, whose iterations are bounded as a whole."""
    if any(holds(each, is_loop) for each in programs):
        return False
    sizes = zip(map(count, programs), programs, strict=True)
    return any(size > LONG and size > REPEATED * _different(each) for size, each in sizes)


def count(jaxpr: Any) -> int:
    """Its equations, those of the programs inside included."""
    return sum(1 + sum(map(count, bodies(equation))) for equation in jaxpr.eqns)


def _different(jaxpr: Any) -> int:
    """Its equations, each counted once however often it comes."""
    found: dict[Kind, int] = {}

    def collect(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            if is_call(equation):
                collect(called(equation)[0])
            else:
                found[Kind(equation)] = 1 + sum(map(count, bodies(equation)))

    collect(jaxpr)
    return sum(found.values())


class Kind:
    """An equation as what it computes: two of one primitive, parameters and shapes are the same.

    `inner`: whether programs are among its parameters, of which each trace has its own: their texts are compared.
    """

    def __init__(self, equation: Any) -> None:
        self.equation, self.rounds, self.inner = equation, rounds(equation), any(bodies(equation))
        types = tuple((v.aval.shape, v.aval.dtype) for v in equation.invars if hasattr(v.aval, "shape"))
        params = _in_text(equation) if self.inner else tuple(equation.params.items())
        key: Hashable = (equation.primitive, params, types)
        try:
            self.hash = hash(key)
        except TypeError:
            key = id(equation)
            self.hash = key
        self.key = key

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and self.key == other.key


def _in_text(equation: Any) -> Hashable:
    """An equation's parameters where programs are among them."""
    constants = [v for each in equation.params.values() for v in getattr(each, "consts", ())]
    return str(equation.params), tuple((str(v.dtype), v.shape, v.tobytes()) for v in map(np.asarray, constants))


class Step(NamedTuple):
    """`kind` from the values at `inputs` to those at `outputs`; nobody asks for `gone` any more."""

    kind: Kind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    gone: tuple[int, ...]


@kept(4096)
def _compiled(kind: Kind, axes: Axes, draws: bool) -> Callable[..., list[Any]]:
    """(seed, salt, u, *inputs) → outputs; `draws`: with noise, for a stack of seeds."""

    def run(seed: Any, salt: Any, u: Any, *inputs: Any) -> list[Any]:
        if draws:
            return with_noise(kind.equation, list(inputs), seed + salt, u)
        return bind(kind.equation, list(inputs))

    stacked = jax.vmap(run, (0 if draws else None, None, None, *axes)) if draws or 0 in axes else run
    return jax.jit(stacked, compiler_options=QUICK if jax.default_backend() == "cpu" else None)


@kept(2)
def _disturbed(stacked: bool) -> Callable[..., Any]:
    return jax.jit(jax.vmap(disturbed, (0 if stacked else None, 0, None)))


class Program:
    """A program, laid out, and what its results look like.

    Attributes:
        closed: the program.  tree: the structure of its results.  steps: what is run, one after the other.
        constants: what is known beforehand, by place.  given, results: the places of the arguments, of the results.
    """

    def __init__(self, closed: Any, out: Any) -> None:
        self.closed, self.tree = closed, jax.tree.structure(out)
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []
        self._places = 0
        self.given = [self._place() for _ in self.closed.jaxpr.invars]
        self.results = self._laid_out(self.closed.jaxpr, self.closed.consts, self.given)
        self._times = Counter(step.kind for step in self.steps)
        self._let_go()

    def _place(self, value: Any = None) -> int:
        self._places += 1
        if value is not None:
            self.constants[self._places - 1] = value
        return self._places - 1

    def _laid_out(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[int]) -> list[int]:
        """The steps of a program whose arguments are at `given`; where its results will be."""
        at: dict[Any, int] = dict(zip(jaxpr.invars, given, strict=True))
        at.update((v, self._place(value)) for v, value in zip(jaxpr.constvars, consts, strict=True))

        def place(atom: Any) -> int:
            return self._place(_literal(atom)) if isinstance(atom, jex.Literal) else at[atom]

        for equation in jaxpr.eqns:
            inputs = [place(v) for v in equation.invars]
            if is_call(equation):
                outputs = self._laid_out(*called(equation), inputs)
            else:
                outputs = [self._place() for _ in equation.outvars]
                self.steps.append(Step(Kind(equation), tuple(inputs), tuple(outputs), ()))
            at.update(zip(equation.outvars, outputs, strict=True))
        return [place(v) for v in jaxpr.outvars]

    def _let_go(self) -> None:
        """Say of every step which values nobody asks for after it."""
        kept = {*self.results, *self.constants}
        for k in reversed(range(len(self.steps))):
            step = self.steps[k]
            gone = {*step.inputs, *step.outputs} - kept
            kept |= gone
            self.steps[k] = step._replace(gone=tuple(gone))

    def __call__(self, *args: Any) -> Any:
        return jax.tree.unflatten(self.tree, self._run(jax.tree.leaves(args))[0])

    def stacked(self, args: Sequence[Any], stacks: Sequence[bool]) -> Any:
        """The results where all of some arguments are stacks: stacks, too."""
        leaves = jax.tree.leaves(list(args))
        ways = [way for each, way in zip(args, stacks, strict=True) for _ in jax.tree.leaves(each)]
        size = next(len(v) for v, many in zip(leaves, ways, strict=True) if many)
        return jax.tree.unflatten(self.tree, _all_stacks(*self._run(leaves, ways), size))

    def noisy(self, args: Sequence[Any], stacks: Sequence[bool], seeds: Sequence[int], u: float) -> list[Any]:
        """The results under noise of size u, stacks for the seeds, as are some arguments; see `noise.noisy`."""
        given, ways = list(args), list(stacks)
        for k, (value, way) in enumerate(zip(args, stacks, strict=True)):
            if u > 0 and is_float(value):
                given[k], ways[k] = _disturbed(way)(value, np.asarray(seeds) + 7919 * k, u), True
        return _all_stacks(*self._run(given, ways, (np.asarray(seeds), abs(u))), len(seeds))

    def shaken(self, args: Sequence[Any], seed: int, u: float) -> list[Any]:
        """The results where constants that are rounded are disturbed by u; those of loops are left."""
        changed = {k: disturbed(self.constants[k], seed + 7919 * k, u) for k in self._rounded}
        return self._run(list(args), constants=self.constants | changed)[0]

    @cached_property
    def _rounded(self) -> list[int]:
        return [k for k, value in self.constants.items() if is_rounded(value)]

    def _run(
        self, args: list[Any], stacked: Sequence[bool] | None = None, noise: Any = None, constants: Any = None
    ) -> tuple[list[Any], list[bool]]:
        """The results, and which of them are stacks."""
        values: dict[int, Any] = dict(self.constants if constants is None else constants)
        values.update(zip(self.given, args, strict=True))
        many = {k for k, way in zip(self.given, stacked or (), strict=False) if way}
        seeds, u = noise or (0, 0.0)
        for salt, step in enumerate(self.steps):
            inputs = [values[k] for k in step.inputs]
            axes = tuple([0 if k in many else None for k in step.inputs])
            draws = noise is not None and step.kind.rounds
            stack = draws or 0 in axes
            if stack or step.kind.inner or self._times[step.kind] >= OFTEN:
                outputs = _compiled(step.kind, axes, draws)(seeds, draws and salt << 20, u, *inputs)
            else:
                outputs = bind(step.kind.equation, inputs)
            if stack:
                many.update(step.outputs)
            values.update(zip(step.outputs, outputs, strict=True))
            for k in step.gone:
                del values[k]
        return [values[k] for k in self.results], [k in many for k in self.results]


def _literal(atom: Any) -> Any:
    dtype = getattr(atom.aval, "dtype", None)
    return jnp.asarray(np.asarray(atom.val, dtype)) if isinstance(dtype, np.dtype) else atom.val


def _all_stacks(values: list[Any], stacked: list[bool], size: int) -> list[Any]:
    return [v if way else jnp.broadcast_to(v, (size, *np.shape(v))) for v, way in zip(values, stacked, strict=True)]


_KEPT: OrderedDict[Any, Program] = OrderedDict()
_CLOSED: OrderedDict[Any, Any] = OrderedDict()


def traced(function: Callable[..., Any], call: Any, *args: Any) -> Program:
    """`function(call, *args)` as a program, kept while few others were asked for."""
    key = _key(function, call, args)
    if key not in _KEPT:
        keep(function, call, args, *jax.make_jaxpr(partial(function, call), return_shape=True)(*args))
    _KEPT.move_to_end(key)
    return _KEPT[key]


def program_of(function: Callable[..., Any], call: Any, *args: Any) -> Any:
    """`function(call, *args)` as a ClosedJaxpr, kept where the call has a stamp."""
    if call.long:
        return traced(function, call, *args).closed
    key = _closed_key(function, call, args)
    if key in _CLOSED:
        _CLOSED.move_to_end(key)
        return _CLOSED[key]
    closed = jax.make_jaxpr(partial(function, call))(*args)
    if call.stamp:
        remember(function, call, args, closed)
    return closed


def remember(function: Callable[..., Any], call: Any, args: Any, closed: Any) -> None:
    """Have `program_of` answer with a program that is there already, unless it holds traced values."""
    if any(isinstance(v, jax.core.Tracer) for v in closed.consts):
        return
    _add(_CLOSED, _closed_key(function, call, args), closed)


def _closed_key(function: Callable[..., Any], call: Any, args: Any) -> Any:
    """How long loops may run changes no program."""
    weak = tuple([getattr(v, "weak_type", False) for v in jax.tree.leaves(args)])
    return _key(function, replace(call, laps=0), args), weak


def keep(function: Callable[..., Any], call: Any, args: Any, closed: Any, out: Any) -> None:
    """Have `traced` answer with a program that is there already."""
    _add(_KEPT, _key(function, call, args), Program(closed, out))


def _add(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Keep it, and let go of what was asked for longest ago."""
    kept[key] = value
    while len(kept) > MOST:
        kept.popitem(last=False)


def _key(function: Callable[..., Any], call: Any, args: Any) -> Any:
    leaves, tree = jax.tree.flatten(args)
    types = tuple((np.shape(v), str(getattr(v, "dtype", type(v)))) for v in leaves)
    how = getattr(jax.config, "jax_enable_x64", None), getattr(jax.config, "jax_default_matmul_precision", None)
    return function, call, tree, types, how
