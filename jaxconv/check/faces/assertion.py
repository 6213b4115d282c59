"""`assert_vjp`: `check_vjp` as one line of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxconv.check.core import check_vjp
from jaxconv.check.faces.report import VjpReport


def assert_vjp(f: Callable[..., Any], *args: Any, **options: Any) -> VjpReport:
    """Assert that the gradient of a function is right: `check_vjp`, for a test.

        check_vjp(f, *args, **options).passed

    Args:
        f: a function with a rule of its own.
        args: what it is called with: pytrees of arrays, integers and what else it takes.
        options: those of `check_vjp`: reference, directions, seed, transforms.

    Returns:
        The report, where all is right.

    Raises:
        AssertionError: something is wrong; its text is the whole report.
        TypeError, ValueError: a bad call, as in `check_vjp`.

    Source:
        The adjoint of the derivative, as in `check_vjp`.

    >>> import jax.numpy as jnp
    >>> from jaxconv import conv
    >>> assert_vjp(conv, jnp.ones((1, 2, 5)), jnp.ones((3, 2, 3)), transforms=False).passed
    True
    """
    __tracebackhide__ = True
    return check_vjp(f, *args, **options).raise_if_failed()
