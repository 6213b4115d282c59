"""Names that JAX does not promise to keep, in this file alone, for two transforms that keep tables of their own.

`jax.experimental.checkify` looks for NaN in what the primitives of its table make: a convolution of ours is another
primitive, or a `custom_vmap`. `jax.experimental.jet` has a table of rules for Taylor series. Each entry made here is
JAX's own for `lax.conv_general_dilated`, with our primitive in the place of lax's.

Where a JAX has not these names, nothing is entered: checkify is then silent about our NaN, and jet has no rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from jax import lax
from jax.extend.core import Primitive

_MAP = "_jaxconv_map"  # the attribute of a rule for `vmap` that says whose it is

Rule = TypeVar("Rule", bound=Callable[..., Any])


class _Named(NamedTuple):
    """What JAX's rules ask of a primitive: those of one of the three maps."""

    name: str
    multiple_results: bool
    bind: Callable[..., Any]


def vmap_rule_of(which: str, rule: Rule) -> Rule:
    """The rule, marked as that of one of the three maps, for checkify to know it by."""
    setattr(rule, _MAP, which)
    return rule


def enter(primitive: Primitive) -> None:
    """Enter our primitive, which has the parameter `which`, into both tables; and `custom_vmap` where it is ours."""
    checks, series = _look_up("jax._src.checkify", "error_checks"), _look_up("jax.experimental.jet", "jet_rules")
    mapped = _look_up("jax._src.custom_batching", "custom_vmap_p")
    otherwise = _look_up("jax._src.checkify", "default_checkify_rule")
    check, taylor = _for_any(checks), _for_any(series)
    if check is not None:
        checks[primitive] = partial(_by_map, check, primitive)
        if None not in (mapped, otherwise) and mapped not in checks:
            checks[mapped] = partial(_by_mark, check, otherwise, mapped)
    if taylor is not None:
        series[primitive] = partial(taylor, primitive)


def _by_map(check: Callable[..., Any], primitive: Primitive, *args: Any, which: str, **how: Any) -> Any:
    return check(_Named(which, False, partial(primitive.bind, which=which)), *args, **how)


def _by_mark(check: Callable[..., Any], otherwise: Callable[..., Any], mapped: Any, *args: Any, **how: Any) -> Any:
    which = getattr(how.get("rule"), _MAP, None)
    if which is None:
        return otherwise(mapped, *args, **how)
    return check(_Named(which, True, mapped.bind), *args, **how)


def _look_up(module: str, name: str) -> Any:
    """A name of JAX's, or None."""
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def _for_any(table: Any) -> Callable[..., Any] | None:
    """A table's rule for lax's convolution, that takes the primitive as its first argument; None where it has none."""
    rule = table.get(lax.conv_general_dilated_p) if isinstance(table, dict) else None
    return rule.func if isinstance(rule, partial) and rule.args == (lax.conv_general_dilated_p,) else None
