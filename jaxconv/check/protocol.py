"""What goes wrong before a number can be compared, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# What JAX says, and what it means for the author of a rule.
WORDS: tuple[tuple[type[BaseException], str, str], ...] = (
    (jax.errors.UnexpectedTracerError, "", "the rule leaks a residual: a traced value kept outside the forward pass"),
    (Exception, r"[Nn]o differentiation rule|defvjp", "no rule was registered: `defvjp` was not called"),
    (Exception, r"tree structure|container structure", "the rule's cotangents have the wrong structure"),
    (
        Exception,
        r"(?=.*(bwd|VJP|vjp|cotangent|[Uu]nexpected input type))(?=.*(shape|aval))",
        "a cotangent has the wrong shape or dtype",
    ),
    (Exception, r"[Ii]ncompatible shapes|got shape|shapes? mismatch", "shapes do not fit together"),
    (Exception, r"dtype", "a dtype is wrong"),
)  # fmt: skip

# JAX's words for a rule that returns another type than its argument has, and for the file in which the rule stands.
RETURNED = re.compile(r"at output(\S*) the bwd rule produced an output of type (\w+)\[(.*?)\].*? type (\w+)\[(.*?)\]")
PLACE = re.compile(r" attached to (\S+) at .+?:\d+(?= must )")


def _returned(text: str) -> str:
    """Which gradient has another shape or dtype than its argument, and what each is; "" where JAX does not say so."""
    if not (found := RETURNED.search(text)):
        return ""
    at, dtype, shape, right_dtype, right_shape = found.groups()
    wrong = [name for name, differs in (("shape", shape != right_shape), ("dtype", dtype != right_dtype)) if differs]
    types = f"{dtype}[{shape}] for {right_dtype}[{right_shape}]"
    return f"gradient {at or '[0]'} has the wrong {' and '.join(wrong) or 'type'}: {types}"


def in_words(what: str, error: BaseException) -> str:
    """A sentence for an exception that `what` raised, JAX's own first words kept, but no path: it may be long."""
    text = PLACE.sub(r" of \1", re.sub(r"\s+", " ", str(error)).strip())
    known = (m for kind, rx, m in WORDS if isinstance(error, kind) and re.search(rx, text))
    meaning = _returned(text) or next(known, "")
    lead = f"{what} fails{': ' + meaning if meaning else ''}"
    return f"{lead} ({type(error).__name__}: {_shortened(text)})"


def _shortened(text: str) -> str:
    """Its beginning and its end: what came stands in the one or the other."""
    return text if len(text) <= 360 else f"{text[:180]} … {text[-180:]}"


def attempt(what: str, function: Callable[..., Any], *args: Any) -> tuple[Any, str | None]:
    """The result, or None and the fault in words."""
    try:
        return function(*args), None
    except Exception as error:
        return None, in_words(what, error)


def gradient_faults(paths: list[str], xs: list[Any], grads: list[Any]) -> list[str]:
    """Shapes and dtypes of gradients that JAX lets through."""
    faults = []
    for path, x, grad in zip(paths, xs, grads, strict=True):
        if jnp.shape(grad) != jnp.shape(x):
            faults.append(f"the gradient of {path} has the wrong shape: {jnp.shape(grad)} for {jnp.shape(x)}")
        elif grad.dtype != x.dtype:
            faults.append(f"the gradient of {path} has the wrong dtype: {grad.dtype} for {x.dtype}")
    return faults
