"""A word that stands beside a convolution of lax in every program, its derivatives and whatever `vmap` makes of it.

JAX carries `xla_metadata` beside each operation and hands it on to what a transform makes of the operation, as far as
the compiled program, where XLA ignores words that it does not know. `jax.experimental` is no promise: where a JAX has
not this name, nothing is marked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

MARK = "jaxconv"
TAKE, LEAVE = "take", "leave"  # lower it by an algorithm of ours; lower it as lax does


def marked(word: str) -> AbstractContextManager[Any]:
    """Whatever lax is called for inside bears the word."""
    try:
        from jax.experimental.xla_metadata import set_xla_metadata
    except ImportError:
        return nullcontext()
    return set_xla_metadata(**{MARK: word})


def left_to_lax(f: Function) -> Function:
    """f, whose convolutions are lowered as lax does, also under `accelerate`."""

    @wraps(f)
    def left(*args: Any, **kwargs: Any) -> Any:
        with marked(LEAVE):
            return f(*args, **kwargs)

    return left  # type: ignore[return-value]
