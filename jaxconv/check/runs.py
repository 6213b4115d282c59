"""What is computed with a call: its values, its derivative backward and forward, and these under noise.

A short program is compiled; a long one is run equation by equation, several cotangents or draws at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count as counting
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import unit_roundoff
from jaxconv.check.call import ALL, Subject, direct
from jaxconv.check.compare import doubles
from jaxconv.check.programs.interpret import counted, holds, is_float, is_loop, limited, narrowest, plain
from jaxconv.check.programs.long import QUICK, Program, count, is_long, keep, program_of, remember, traced
from jaxconv.check.programs.noise import noisy, shaken
from jaxconv.check.programs.room import kept
from jaxconv.check.protocol import attempt
from jaxconv.terminal.progress import step


def shapes(call: Subject, xs: Any, data: Any) -> Sequence[Any]:
    """f's outputs, or what they look like: run one by one, its operations would each be compiled."""
    try:
        return jax.eval_shape(lambda xs: call.outputs(xs, data), list(xs))
    except Exception:  # it may need concrete values; if not, it fails again
        return call.outputs(xs, data)


def value_and_pull(call: Subject, xs: Any, data: Any, cotangents: Any) -> tuple[list[Any], list[Any]]:
    """f's outputs, and the cotangents pulled back to its differentiable leaves."""
    out, back = jax.vjp(lambda xs: call.outputs(xs, data), list(xs))
    return out, back(list(cotangents))[0]


SMALL = 20_000  # elements of input up to which compiling takes longer than running


def _small(xs: Any) -> bool:
    return jax.default_backend() == "cpu" and sum(int(np.size(x)) for x in xs) < SMALL


def jitted(function: Callable[..., Any], long: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """`function` compiled, once for every call and shape; on a CPU small ones without LLVM's optimisations.

    Where the call is long it is traced once, and run equation by equation; `long` is the same without loops.
    """

    @kept(2)
    def made(small: bool) -> Callable[..., Any]:
        options = QUICK if small else None
        return jax.jit(lambda *args: function(*args), static_argnums=0, compiler_options=options)

    def compiled(call: Subject, xs: Any, *rest: Any) -> Any:
        if call.long:
            return traced(long or function, call, xs, *rest)(xs, *rest)
        return made(_small(xs))(call, xs, *rest)

    return compiled


def _apart(flat: list[Any], cotangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """(values, gradients) of the results of `value_and_pull`: it has as many values as cotangents."""
    return flat[: len(cotangents)], flat[len(cotangents) :]


def program(call: Subject, xs: Any, data: Any, cotangents: Any) -> jex.ClosedJaxpr:
    """The pull-back as a program, to be looked at or to be run with something changed."""
    return program_of(value_and_pull, call, list(xs), list(data), list(cotangents))


def _disturbed(how: Callable[..., list[Any]]) -> Callable[..., Any]:
    """`value_and_pull` under the noise of `interpret.noisy` or `interpret.shaken`, of size u, drawn from a seed."""

    def run(call: Subject, xs: Any, data: Any, cotangents: Any, seed: Any, u: Any) -> tuple[list[Any], list[Any]]:
        flat = how(program(call, xs, data, cotangents), [*xs, *data, *cotangents], seed, u, call.loop)
        return _apart(flat, cotangents)

    return jitted(run)


def has_jvp_rules(call: Subject, xs: Any, data: Any) -> bool:
    """Whether f calls any `custom_jvp`."""
    return holds(_inside(call, xs, data).jaxpr, lambda equation: equation.primitive.name.startswith("custom_jvp"))


def _inside(call: Subject, xs: Any, data: Any) -> jex.ClosedJaxpr:
    """f as a program."""
    return program_of(direct, replace(call, bare=()), list(xs), list(data))


_STAMPS = counting(1)


def stamped(call: Subject, xs: Any, data: Any, cotangents: Any) -> Subject:
    """`call` with the stamp of its programs, of the pull-back and of the function without its rule: text, constants.

    Long ones are not compared with those of another check.
    """
    found = jax.make_jaxpr(partial(value_and_pull, call), return_shape=True)(xs, data, cotangents)
    plain = jax.make_jaxpr(partial(direct, call))(list(xs), list(data))
    programs = [found[0], plain]
    call = replace(call, equations=count(found[0].jaxpr))
    if is_long(*(one.jaxpr for one in programs)):
        call = replace(call, stamp=-next(_STAMPS), long=True)
        keep(value_and_pull, call, (xs, data, cotangents), *found)
        return call
    constants = tuple(np.asarray(each).tobytes() for one in programs for each in one.consts if is_float(each))
    call = replace(call, stamp=hash((*(str(one.jaxpr) for one in programs), constants)))
    remember(value_and_pull, call, (list(xs), list(data), list(cotangents)), found[0])
    remember(direct, call, (list(xs), list(data)), plain)
    return call


def with_roundoff(call: Subject, xs: Any, data: Any) -> Subject:
    """`call` with the roundoff of the coarsest dtype that its values pass through."""
    coarse = narrowest(_inside(call, xs, data).jaxpr)
    return call if coarse is None else replace(call, roundoff=max(unit_roundoff(coarse), call.roundoff))


def _values(call: Subject, xs: Any, data: Any) -> list[Any]:
    """f's outputs; the iterations of its loops are bounded: f is run at other points, too."""
    if not call.laps:
        return call.outputs(xs, data)
    return plain(_inside(call, xs, data), [*xs, *data], ALL, call.loop)


def _pull(call: Subject, xs: Any, data: Any, cotangents: Any) -> tuple[list[Any], list[Any]]:
    """`value_and_pull`, the iterations of its loops bounded."""
    if not call.laps:
        return value_and_pull(call, xs, data, cotangents)
    flat = plain(program(call, xs, data, cotangents), [*xs, *data, *cotangents], (), call.loop)
    return _apart(flat, cotangents)


def _push(call: Subject, xs: Any, data: Any, vs: Any, beyond: Any) -> list[Any]:
    """f'(x) v for every output, the iterations of its loops bounded; they go on for `beyond` after their end."""

    def pushed(xs: Any, data: Any, vs: Any) -> list[Any]:
        return jax.jvp(lambda xs: call.outputs(xs, data), (list(xs),), (list(vs),))[1]

    if not call.laps:
        return pushed(xs, data, vs)
    return plain(jax.make_jaxpr(pushed)(xs, data, vs), [*xs, *data, *vs], (), limited(call.laps, beyond))


def _count(call: Subject, told: Callable[[Any], None], xs: Any, data: Any, cotangents: Any) -> None:
    counted(program(call, xs, data, cotangents), [*xs, *data, *cotangents], told)
    counted(_inside(call, xs, data), [*xs, *data], told)


def with_laps(call: Subject, xs: Any, data: Any, cotangents: Any) -> Subject:
    """`call` with a bound on the iterations of its loops: four times what the longest takes here, and 100."""
    if not holds(program(call, xs, data, cotangents).jaxpr, is_loop):
        return call
    found: list[int] = []
    quick = QUICK if jax.default_backend() == "cpu" else None
    counting = jax.jit(partial(_count, call, lambda k: found.append(int(np.max(k)))), compiler_options=quick)
    counting(xs, data, cotangents)
    jax.effects_barrier()
    return replace(call, laps=4 * max(found, default=0) + 100)


outputs = jitted(_values)
pull = jitted(_pull, long=value_and_pull)
_noisy, _shaken = _disturbed(noisy), _disturbed(shaken)
push = jitted(_push)


def after_another(call: Subject, xs: Any, data: Any, cotangents: Any) -> list[Any]:
    """The gradients, pulled back after a forward pass at other arguments. A big program is traced anew for it."""

    def after(xs: Any, cotangents: Any) -> list[Any]:
        forward = lambda xs: call.outputs(xs, data)  # noqa: E731
        back, elsewhere = jax.vjp(forward, list(xs))[1], [x * 0.5 for x in xs]
        if call.laps:  # there its loops may have no end
            jax.eval_shape(lambda xs: jax.vjp(forward, xs)[0], elsewhere)
        else:
            jax.vjp(forward, elsewhere)
        return back(list(cotangents))[0]

    if call.long:
        return Program(*jax.make_jaxpr(after, return_shape=True)(xs, cotangents))(xs, cotangents)
    return (jax.jit(after, compiler_options=QUICK if _small(xs) else None) if call.big else after)(xs, cotangents)


# -------------------------------------------------------------------------------- for every cotangent, draw, point


def pulled(call: Subject, xs: Any, data: Any, cotangents: Any, what: str) -> list[Any]:
    """Values and gradients for every cotangent."""
    runs, fault = attempt("", pull_each, pull, call, xs, data, cotangents, what)
    return pull_each(value_and_pull, call, xs, data, cotangents, what) if fault else runs  # it may need concrete values


def pull_each(how: Callable[..., Any], call: Subject, xs: Any, data: Any, cotangents: Any, what: str) -> list[Any]:
    """As `pulled`, by `pull` or, uncompiled, by `value_and_pull`."""
    if call.long and how is pull and len(cotangents) > 1:
        step(what)
        stacked = [jnp.stack(each) for each in zip(*cotangents, strict=True)]
        kept = traced(value_and_pull, call, xs, data, cotangents[0])
        together, fault = attempt("", kept.stacked, (xs, data, stacked), (False, False, True))
        if not fault:
            return [jax.tree.map(lambda v, c=c: v[c], together) for c in range(len(cotangents))]
    runs = []
    for g in cotangents:
        step(what)
        runs.append(how(call, xs, data, g))
    return runs


def noisy_draws(call: Subject, xs: Any, data: Any, cotangents: Any, draws: int, u: float) -> list[Any]:
    """Values and gradients under `draws` noises of size u, of the cotangents in turn."""
    each = [cotangents[k % len(cotangents)] for k in range(draws)]
    if call.long:
        step("what rounding may cost")
        kept = traced(value_and_pull, call, xs, data, cotangents[0])
        gs = [jnp.stack(g) for g in zip(*each, strict=True)]
        args, stacks = [*xs, *data, *gs], [False] * len([*xs, *data]) + [True] * len(gs)
        flat, fault = attempt("", kept.noisy, args, stacks, range(draws), u)
        if not fault:
            runs = [[v[k] for v in flat] for k in range(draws)]
            return [_apart(run, gs) for run in runs]
    runs = []
    for k, g in enumerate(each):
        step("what rounding may cost")
        runs.append(_noisy(call, xs, data, g, k, u))
    return runs


def shaken_pull(call: Subject, xs: Any, data: Any, cotangents: Any, seed: int, u: float) -> tuple[list[Any], list[Any]]:
    """`value_and_pull` with its constants disturbed by u."""
    if not call.long:
        return _shaken(call, xs, data, cotangents, seed, u)
    flat = traced(value_and_pull, call, xs, data, cotangents).shaken([*xs, *data, *cotangents], seed, u)
    return _apart(flat, cotangents)


class Values:
    """f's outputs as a function of its differentiable leaves alone, in float64, and what they are rounded to."""

    def __init__(self, call: Subject, data: Any) -> None:
        self.call, self.data, self.roundoff = call, data, call.roundoff

    def __call__(self, at: list[np.ndarray]) -> list[np.ndarray]:
        return doubles(outputs(self.call, [jnp.asarray(x) for x in at], self.data))

    def many(self, points: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """Those of many points."""
        if self.call.long:
            stacks = [jnp.stack(each) for each in zip(*points, strict=True)]
            kept = traced(_values, self.call, [x[0] for x in stacks], self.data)
            found, fault = attempt("", kept.stacked, (stacks, self.data), (True, False))
            if not fault:
                return [[v[k] for v in doubles(found)] for k in range(len(points))]
        return [self(at) for at in points]


class InDouble(Values):
    """The same outside ``jax.enable_x64(True)``."""

    def __call__(self, at: list[np.ndarray]) -> list[np.ndarray]:
        with jax.enable_x64(True):
            return super().__call__(at)

    def many(self, points: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        with jax.enable_x64(True):
            return super().many(points)


def grads_of(runs: Any) -> list[list[np.ndarray]]:
    """The gradients of every run (values, gradients), in float64."""
    return [doubles(grads) for _, grads in runs]
