"""A function and its arguments, taken apart: what is differentiated, what is data, what is fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.check.programs.interpret import is_float, limited, plain
from jaxconv.check.programs.long import program_of
from jaxconv.sizes.arguments import wrong_kind


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


BIG = 800  # equations of a pull-back from which on less is tried


@dataclass(frozen=True)
class Subject:
    """f(*args) as a function of its differentiable leaves and its data; hashable, so that compilations are kept.

    Attributes:
        f: the function.  treedef: of the arguments.
        kinds: of every leaf: "x" differentiable, "data" another array, else `Fixed`.
        bare: which custom rules inside f are replaced by the bodies they belong to: names of primitives.
        laps: how many iterations a while loop may take; 0: no loop, or any number.
        stamp: of the programs as they are now: a rule registered anew, or another global, is compiled anew.
        equations: how many the pull-back has.
        long: whether its programs are run equation by equation, since compiling them would take longer.
        roundoff: of the coarsest dtype that its values pass through where its inputs are float64.
    """

    f: Fixed
    treedef: Any
    kinds: tuple[Any, ...]
    bare: tuple[str, ...] = ()
    laps: int = 0
    stamp: int = 0
    equations: int = 0
    long: bool = False
    roundoff: float = field(default=1e-16, compare=False)
    name: str = field(default="", compare=False)

    @property
    def big(self) -> bool:
        return self.equations > BIG

    def whole(self, xs: Sequence[Any], data: Sequence[Any]) -> Any:
        """f's output as f gives it."""
        x, d = iter(xs), iter(data)
        leaves = [next(x) if k == "x" else next(d) if k == "data" else k.value for k in self.kinds]
        return self.f.value(*jax.tree.unflatten(self.treedef, leaves))

    def outputs(self, xs: Sequence[Any], data: Sequence[Any]) -> list[Any]:
        """f's inexact outputs, as a flat list: the others have no derivative."""
        if not self.bare:
            return direct(self, xs, data)
        closed = program_of(direct, replace(self, bare=()), list(xs), list(data))
        return plain(closed, [*xs, *data], self.bare)

    @property
    def loop(self) -> Any:
        """What runs while loops."""
        return limited(self.laps) if self.laps else lax.while_loop


def direct(call: Subject, xs: Sequence[Any], data: Sequence[Any]) -> list[Any]:
    return [jnp.asarray(v) for v in jax.tree.leaves(call.whole(xs, data)) if inexact(v)]


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


ALL = ("custom_vjp_call", "custom_vmap_call", "custom_jvp_call")
LINEAR = ALL[:2]  # those that JAX cannot push forward
