"""Reading arguments: what is not what the documentation says becomes an error that a person can act on.

Every message has one shape, ``function: `argument` rule; got argument=value (context).``
A wrong kind is a `TypeError`, a wrong value a `ValueError`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeGuard

import numpy as np

Size = Any  # an int, or a symbolic dimension of jax.export


def wrong_kind(function: str, rule: str, got: str) -> NoReturn:
    raise TypeError(f"{function}: {rule}; got {got}.")


def wrong_value(function: str, rule: str, got: str) -> NoReturn:
    raise ValueError(f"{function}: {rule}; got {got}.")


def is_symbolic(value: object) -> bool:
    """Whether `value` is a symbolic dimension of ``jax.export``; false where jax was never imported."""
    export = sys.modules.get("jax.export")
    return export is not None and export.is_symbolic_dim(value)


def holds(comparison: Any) -> bool:
    """The truth of a comparison of sizes; one that symbolic sizes leave open counts as true.

    `comparison` is a function without arguments, since the comparison itself is what raises.
    """
    try:
        return bool(comparison())
    except Exception as error:
        if type(error).__name__ == "InconclusiveDimensionOperation":
            return True
        raise


def is_traced(value: object) -> bool:
    """Whether `value` is an array whose numbers are not known yet; false where jax was never imported."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.core.Tracer)


def is_integer(value: object) -> bool:
    """Whether `value` is one known integer: of Python, of NumPy, or an integer array of no axes. A bool is none."""
    if isinstance(value, (bool, np.bool_)) or is_symbolic(value):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:  # an array with axes, of another dtype, or traced, too
        return False
    return True


def integer(function: str, name: str, value: object, *, least: int | None = None, symbolic: bool = False) -> Any:
    """`value` as an int. A bool is no int here: ``stride=True`` is a slip, not a stride of 1."""
    if symbolic and is_symbolic(value):
        return value
    if not is_integer(value):
        got = f"{name}={value!r} ({type(value).__name__})"
        if is_traced(value):
            advice = "write a Python integer, or name it in static_argnames of jax.jit"
            wrong_kind(function, f"`{name}` must be an integer known while tracing", f"{got}: {advice}")
        wrong_kind(function, f"`{name}` must be an integer", got)
    number = operator.index(value)  # type: ignore[arg-type]  # it is one
    if least is not None:
        at_least(function, name, number, least)
    return number


def at_least(function: str, name: str, number: int, least: int) -> None:
    if number < least:
        wrong_value(function, f"`{name}` must be at least {least}", f"{name}={number}")


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is a sequence, an array with axes included, and no string."""
    jax = sys.modules.get("jax")
    if isinstance(value, np.ndarray) or (jax is not None and isinstance(value, jax.Array)):
        return value.ndim >= 1  # type: ignore[attr-defined]  # of an array of jax
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def per_axis(
    function: str, name: str, value: object, axes: int, *, least: int | None = None, symbolic: bool = False
) -> tuple[Any, ...]:
    """One integer for every axis, or one per axis, as a tuple of `axes` integers."""
    if not is_sequence(value):
        return (integer(function, name, value, least=least, symbolic=symbolic),) * axes
    numbers = tuple(value)
    if len(numbers) != axes:
        wrong_value(function, f"`{name}` must be one integer or one per spatial axis ({axes})", f"{name}={value!r}")
    return tuple(integer(function, f"{name}[{i}]", v, least=least, symbolic=symbolic) for i, v in enumerate(numbers))


def one_of(function: str, name: str, value: object, choices: Sequence[str | None]) -> Any:
    """`value` where it is one of `choices`, else an error that lists them and guesses what was meant."""
    words = [c for c in choices if c is not None]
    if not (isinstance(value, str) or (value is None and None in choices)):
        wrong_kind(function, f"`{name}` must be one of {', '.join(map(repr, choices))}", f"{name}={value!r}")
    if value not in choices:
        rule = f"`{name}` must be one of {', '.join(map(repr, choices))}"
        raise ValueError(f"{function}: {rule}; got {name}={value!r}{did_you_mean(str(value), words) or '.'}")
    return value


def did_you_mean(word: str, words: Sequence[str]) -> str:
    """The end of an error's sentence that guesses which of `words` was meant; empty where none is near."""
    near = get_close_matches(word.lower(), [w.lower() for w in words], n=1)
    return next((f": did you mean {w!r}?" for w in words if near and w.lower() == near[0]), "")
