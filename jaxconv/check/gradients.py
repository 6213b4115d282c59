"""The gradients that a function gives as it stands, for every cotangent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxconv.check.call import Subject, pull, value_and_pull
from jaxconv.check.compare import to_double
from jaxconv.check.protocol import attempt
from jaxconv.terminal.progress import step


def in_force() -> Any:
    """The precision of products where none is asked for."""
    return getattr(jax.config, "jax_default_matmul_precision", None)


def wide_grads(runs: Any) -> list[list[np.ndarray]]:
    return [[to_double(v) for v in grads] for _, grads in runs]


def pulled(call: Subject, xs: Any, data: Any, cotangents: Any, what: str) -> list[Any]:
    """Values and gradients for every cotangent."""

    def by(how: Callable[..., Any]) -> list[Any]:
        runs = []
        for g in cotangents:
            step(what)
            runs.append(how(call, xs, data, g))
        return runs

    runs, fault = attempt("", by, pull)
    return by(value_and_pull) if fault else runs  # it may need concrete values
