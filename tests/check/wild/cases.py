"""The wild cases: custom rules of twelve packages, each with small arguments and what it is judged by.

An element (`elementwise`) or matrix function (`closed`) is judged by the function written once more; where the rule was
judged by reading, the reason stands beside the word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass
class Case:
    name: str
    make: Callable[[], tuple[Any, tuple]]
    truth: Any
    by: str = "JAX"
    options: dict = field(default_factory=lambda: {"directions": 4})


CASES: list[Case] = []


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def named(path):
    """package.module:attribute.attribute"""
    module, _, attribute = path.partition(":")
    value = import_module(module)
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


def elementwise(path, truth, *args, within=None, name=""):
    """`within(f)` makes a function of arrays alone of the one that is named."""
    make = lambda: ((within(named(path)) if within else named(path)), tuple(jnp.asarray(a, jnp.float32) for a in args))  # noqa: E731
    CASES.append(Case(path + name, make, truth, "mpmath"))


def closed(path, truth, *args, within=None, name="", **options):
    make = lambda: ((within(named(path)) if within else named(path)), args)  # noqa: E731
    CASES.append(Case(path + name, make, truth, "JAX", {"directions": 4} | options))


def student(distribution, like):
    """Student's t with 3.5 degrees of freedom, in the dtype of an array."""
    return distribution(*(jnp.asarray(v, like.dtype) for v in (3.5, 0.0, 1.0)))


X = [-2.5, -0.7, 0.3, 1.1, 3.2]
P = [0.02, 0.3, 0.55, 0.97]
POSITIVE = [0.05, 0.4, 1.3, 4.2]
A = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
SPD = (A @ A.T + 2 * np.eye(4)).astype(np.float32)
V = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
