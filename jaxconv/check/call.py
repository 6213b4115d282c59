"""A function and its arguments, taken apart: what is differentiated, what is data, what is fixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jaxconv.check.compare import doubles
from jaxconv.check.interpret import is_float, noisy, plain, shaken
from jaxconv.check.protocol import attempt
from jaxconv.sizes.arguments import wrong_kind
from jaxconv.terminal.progress import step


class Fixed:
    """A value that is part of the program: compared by value where it can be, else by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key = _key(value)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and self.key == other.key


def _key(value: Any) -> Any:
    if type(value) is partial:  # made anew with every call, and the same
        options = tuple((name, _key(each)) for name, each in sorted(value.keywords.items()))
        return (partial, _key(value.func), tuple(map(_key, value.args)), options)
    try:
        return (type(value), value, hash(value))
    except TypeError:
        return (type(value), id(value))


@dataclass(frozen=True)
class Subject:
    """f(*args) as a function of its differentiable leaves and its data; hashable, so that compilations are kept.

    Attributes:
        f: the function.  treedef: of the arguments.
        kinds: of every leaf: "x" differentiable, "data" another array, else `Fixed`.
        bare: whether custom rules inside f are replaced by the bodies they belong to.
        stamp: of the programs as they are now: a rule registered anew, or another global, is compiled anew.
    """

    f: Fixed
    treedef: Any
    kinds: tuple[Any, ...]
    bare: bool = False
    stamp: int = 0
    name: str = field(default="", compare=False)

    def whole(self, xs: Sequence[Any], data: Sequence[Any]) -> Any:
        """f's output as f gives it."""
        x, d = iter(xs), iter(data)
        leaves = [next(x) if k == "x" else next(d) if k == "data" else k.value for k in self.kinds]
        return self.f.value(*jax.tree.unflatten(self.treedef, leaves))

    def outputs(self, xs: Sequence[Any], data: Sequence[Any]) -> list[Any]:
        """f's inexact outputs, as a flat list: the others have no derivative."""

        def direct(xs: Sequence[Any], data: Sequence[Any]) -> list[Any]:
            return [jnp.asarray(v) for v in jax.tree.leaves(self.whole(xs, data)) if inexact(v)]

        if not self.bare:
            return direct(xs, data)
        closed = jax.make_jaxpr(direct)(list(xs), list(data))
        return plain(closed, [*xs, *data])


def inexact(value: Any) -> bool:
    return is_float(value) or (isinstance(value, (float, complex)) and not isinstance(value, np.generic))


def take_apart(function: str, f: Any, args: Sequence[Any]) -> tuple[Subject, list[Any], list[Any], list[str]]:
    """The call, its differentiable leaves, its data, and the paths of the former.

    A Python float is an option and stays fixed, unless there is nothing else to differentiate.
    """
    if not callable(f):
        wrong_kind(function, "`f` must be a function", f"f={f!r} ({type(f).__name__})")
    found, treedef = jax.tree_util.tree_flatten_with_path(tuple(args))
    floats = not any(is_float(leaf) for _, leaf in found)
    kinds: list[Any] = []
    xs, data, paths = [], [], []
    for path, leaf in found:
        if is_float(leaf) or (floats and inexact(leaf)):
            kinds.append("x")
            xs.append(jnp.asarray(leaf))
            paths.append("args" + jax.tree_util.keystr(path))
        elif isinstance(leaf, (jax.Array, np.ndarray, np.generic)) and leaf.dtype != np.dtype(object):
            kinds.append("data")
            data.append(leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))
        else:
            kinds.append(Fixed(leaf))
    name = getattr(f, "__name__", None) or getattr(getattr(f, "func", None), "__name__", None) or type(f).__name__
    return Subject(Fixed(f), treedef, tuple(kinds), name=name), xs, data, paths


# ------------------------------------------------------------------------------------- what is computed with a call


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


def jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled, once for every call and shape; on a CPU small ones without LLVM's optimisations."""
    fast = jax.jit(function, static_argnums=0)
    quick = jax.jit(function, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})

    def compiled(call: Subject, xs: Any, *rest: Any) -> Any:
        small = jax.default_backend() == "cpu" and sum(int(np.size(x)) for x in xs) < SMALL
        return (quick if small else fast)(call, xs, *rest)

    return compiled


def program(call: Subject, xs: Any, data: Any, cotangents: Any) -> jex.ClosedJaxpr:
    """The pull-back as a program, to be looked at or to be run with something changed."""
    return jax.make_jaxpr(partial(value_and_pull, call))(xs, data, cotangents)


def _disturbed(how: Callable[..., list[Any]]) -> Callable[..., Any]:
    """`value_and_pull` under the noise of `interpret.noisy` or `interpret.shaken`, of size u, drawn from a seed."""

    def run(call: Subject, xs: Any, data: Any, cotangents: Any, seed: Any, u: Any) -> tuple[list[Any], list[Any]]:
        flat = how(program(call, xs, data, cotangents), [*xs, *data, *cotangents], seed, u)
        return flat[: len(cotangents)], flat[len(cotangents) :]

    return jitted(run)


def stamped(call: Subject, xs: Any, data: Any, cotangents: Any) -> Subject:
    """`call` with the stamp of its programs, of the pull-back and of the function without its rule: text, constants."""
    plain = jax.make_jaxpr(lambda xs: call.outputs(xs, data))(list(xs))
    programs = [program(call, xs, data, cotangents), plain]
    constants = tuple(np.asarray(each).tobytes() for one in programs for each in one.consts if is_float(each))
    return replace(call, stamp=hash((*(str(one.jaxpr) for one in programs), constants)))


outputs = jitted(lambda call, xs, data: call.outputs(xs, data))
pull = jitted(value_and_pull)
noisy_pull, shaken_pull = _disturbed(noisy), _disturbed(shaken)
push = jitted(lambda call, xs, data, vs: jax.jvp(lambda xs: call.outputs(xs, data), (list(xs),), (list(vs),))[1])


# ------------------------------------------------------------------------------------------- for every cotangent


def pulled(call: Subject, xs: Any, data: Any, cotangents: Any, what: str) -> list[Any]:
    """Values and gradients for every cotangent."""
    runs, fault = attempt("", pull_each, pull, call, xs, data, cotangents, what)
    return pull_each(value_and_pull, call, xs, data, cotangents, what) if fault else runs  # it may need concrete values


def pull_each(how: Callable[..., Any], call: Subject, xs: Any, data: Any, cotangents: Any, what: str) -> list[Any]:
    """As `pulled`, by `pull` or, uncompiled, by `value_and_pull`."""
    runs = []
    for g in cotangents:
        step(what)
        runs.append(how(call, xs, data, g))
    return runs


def grads_of(runs: Any) -> list[list[np.ndarray]]:
    """The gradients of every run (values, gradients), in float64."""
    return [doubles(grads) for _, grads in runs]
