"""The rule by which a `lax.conv_general_dilated` is compiled for a CPU, in another's hands: JAX's private names for it.

A rule takes JAX's context, the two operands and the primitive's parameters. Ours asks `decide` what to compile in the
place of a call; None is JAX's own rule, which stands in the table again after `restore`. Other platforms have rules of
their own, which are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import RLock
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.interpreters import mlir

from jaxconv._jax.marks import MARK, marked

Compute = Callable[[Any, Any], Any]

_lock = RLock()
_theirs: Any = None  # JAX's entry, while ours stands in its place
_ours: Any = None


class Asked(NamedTuple):
    """A call that is about to be compiled.

    Attributes:
        lhs, rhs, out: abstract values.
        params: of the primitive.
        mark: the word beside it, or None.
        exported: whether the program is compiled for `jax.export`.
        explicit: whether an array's type says that it is split over devices.
    """

    lhs: Any
    rhs: Any
    out: Any
    params: dict[str, Any]
    mark: str | None
    exported: bool
    explicit: bool


@cache
def missing() -> str | None:
    """What this JAX lacks of the names needed here; None where it has all."""
    try:
        table = import_module("jax._src.interpreters.mlir")._platform_specific_lowerings["cpu"]
        entry = table[lax.conv_general_dilated_p]
    except (ImportError, AttributeError, KeyError, TypeError):
        return f"JAX {jax.__version__} has no rule by which convolutions are compiled for a CPU where it is looked for"
    if not callable(getattr(entry, "rule", None)):
        return f"JAX {jax.__version__} keeps the rule for convolutions on a CPU in another form"
    with marked("looked for"):
        seen = jax.make_jaxpr(lambda x: lax.neg(x))(1.0).eqns[0]
    if (getattr(getattr(seen, "ctx", None), "xla_metadata", None) or {}).get(MARK) != "looked for":
        return f"JAX {jax.__version__} does not keep a word beside an operation"
    return None


def install(decide: Callable[[Asked], Compute | None]) -> None:
    """Put our rule in the place of JAX's for a CPU; once is enough. Nothing must be `missing`."""
    global _theirs, _ours
    with _lock:
        table = _table()
        if _ours is not None and table.get(lax.conv_general_dilated_p) is _ours:
            return
        theirs = _theirs = table[lax.conv_general_dilated_p]

        def rule(ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
            compute = decide(_asked(ctx, params))
            if compute is None:
                return theirs.rule(ctx, lhs, rhs, **params)
            return mlir.lower_fun(compute, multiple_results=False)(ctx, lhs, rhs)

        mlir.register_lowering(lax.conv_general_dilated_p, rule, platform="cpu")
        _ours = table[lax.conv_general_dilated_p]


def restore() -> None:
    """JAX's own rule stands in the table again, unless another one has been put there since."""
    global _ours
    with _lock:
        table = _table()
        if _ours is not None and table.get(lax.conv_general_dilated_p) is _ours:
            table[lax.conv_general_dilated_p] = _theirs
        _ours = None


def _table() -> dict[Any, Any]:
    table: dict[Any, Any] = import_module("jax._src.interpreters.mlir")._platform_specific_lowerings["cpu"]
    return table


def is_exported(ctx: Any, unknown: bool) -> bool:
    """Whether a rule's program is compiled for `jax.export`; `unknown` where this JAX does not say."""
    return bool(getattr(getattr(ctx.module_context, "lowering_parameters", None), "for_export", unknown))


def _asked(ctx: Any, params: dict[str, Any]) -> Asked:
    beside = getattr(ctx.jaxpr_eqn_ctx, "xla_metadata", None) or {}
    (lhs, rhs), (out,) = ctx.avals_in, ctx.avals_out
    return Asked(
        lhs,
        rhs,
        out,
        params=params,
        mark=beside.get(MARK),
        exported=is_exported(ctx, unknown=False),
        explicit=any(entry is not None for aval in (lhs, rhs, out) for entry in getattr(aval.sharding, "spec", ())),
    )
