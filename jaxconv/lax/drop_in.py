"""`conv_general_dilated`: lax's own function, compiled by our algorithms for a CPU."""

from __future__ import annotations

from functools import wraps
from inspect import signature
from typing import Any

from jax import Array, lax

from jaxconv._jax.marks import TAKE, marked
from jaxconv.lax.accelerated import SWITCH


@wraps(lax.conv_general_dilated, assigned=("__annotations__",))
def conv_general_dilated(*args: Any, **kwargs: Any) -> Array:
    SWITCH.serve_marked()
    with marked(TAKE):
        return lax.conv_general_dilated(*args, **kwargs)


conv_general_dilated.__signature__ = signature(lax.conv_general_dilated)  # type: ignore[attr-defined]
