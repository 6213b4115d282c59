"""A JAX program, run equation by equation, with something changed on the way.

`plain`: a function with a custom rule is replaced by its body, so that JAX's own derivative is to be had without the
rule. What `noise` changes stands there.

Only names that JAX documents are used: ``jax.make_jaxpr``, ``jax.extend.core`` and a primitive's ``bind``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

Loop = Callable[..., Any]  # as lax.while_loop
Change = Callable[[Any, list[Any], Callable[[list[Any]], list[Any]]], list[Any]]  # (equation, inputs, run) → outputs

BODIES = ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")
INLINE = frozenset(("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_vmap_call"))


LOOPS = frozenset(("scan", "while", "cond"))


def is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and bool(jnp.issubdtype(value.dtype, jnp.inexact))


def bodies(equation: Any) -> list[Any]:
    """The programs inside an equation."""
    found = []
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (jex.ClosedJaxpr, jex.Jaxpr)):
                found.append(getattr(each, "jaxpr", each))
    return found


def is_call(equation: Any) -> bool:
    """Whether it runs one program once, as it stands."""
    name = equation.primitive.name
    return name in INLINE or name.startswith(("custom_vjp_call", "custom_jvp_call"))


def called(equation: Any) -> tuple[Any, Sequence[Any]]:
    """The program that a call runs, and its constants."""
    inner = next(equation.params[key] for key in BODIES if key in equation.params)
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def holds(jaxpr: Any, test: Callable[[Any], bool]) -> bool:
    """Whether any equation, however deep, satisfies `test`."""
    return any(test(e) or any(holds(inner, test) for inner in bodies(e)) for e in jaxpr.eqns)


def narrowest(jaxpr: Any) -> Any:
    """The coarsest float dtype that any result is rounded to, however deep; None without floats."""
    dtypes = [v.aval.dtype for v in jaxpr.invars if is_float(v.aval)]

    def collect(equation: Any) -> bool:
        dtypes.extend(v.aval.dtype for v in equation.outvars if is_float(v.aval))
        if equation.primitive.name == "reduce_precision" and equation.params["mantissa_bits"] <= 23:
            bits = equation.params["mantissa_bits"]
            dtypes.append(jnp.dtype(jnp.bfloat16 if bits < 10 else jnp.float16 if bits < 23 else jnp.float32))
        dtypes.extend(_asked(equation.params.get("precision")))
        return False

    holds(jaxpr, collect)
    return max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).eps), default=None)


def _asked(precision: Any) -> list[Any]:
    """The dtype that a product rounds its factors to, where its algorithm is asked for by name: BF16_BF16_F32."""
    names = {"BF16": jnp.bfloat16, "F16": jnp.float16, "TF32": jnp.float16}  # TF32 keeps as many bits as float16
    each = precision if isinstance(precision, (tuple, list)) else (precision,)
    found = (getattr(p, "name", "").upper().split("_") for p in each if isinstance(p, lax.DotAlgorithmPreset))
    return [jnp.dtype(names[parts[0]]) for parts in found if parts[0] in names and parts[-1] not in ("X3", "X6", "X9")]


def run(
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[Any],
    change: Change,
    into: Callable[[Any], bool],
    loop: Loop = lax.while_loop,
) -> list[Any]:
    """The results of a program, with `change` made at every equation; `into` says which inner programs to enter.

    `loop` runs its while loops.
    """
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else env[atom]

    variables = lambda atoms: [v for v in atoms if not isinstance(v, jex.Literal)]  # noqa: E731
    uses = Counter(v for e in jaxpr.eqns for v in variables(e.invars)) + Counter(variables(jaxpr.outvars))
    for equation in jaxpr.eqns:
        go = partial(apply, equation, change=change, into=into, loop=loop)
        results = change(equation, [read(v) for v in equation.invars], go)
        env.update((v, value) for v, value in zip(equation.outvars, results, strict=True) if uses[v])
        for v in variables(equation.invars):  # what nobody asks for any more is let go
            uses[v] -= 1
            if not uses[v]:
                del env[v]
    return [read(v) for v in jaxpr.outvars]


def bind(equation: Any, inputs: list[Any]) -> list[Any]:
    out = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
    return list(out) if equation.primitive.multiple_results else [out]


def apply(equation: Any, inputs: list[Any], change: Change, into: Callable[[Any], bool], loop: Loop) -> list[Any]:
    name, params = equation.primitive.name, equation.params

    def enter(inner: Any, args: Sequence[Any]) -> list[Any]:
        return run(inner.jaxpr, inner.consts, args, change, into, loop)

    if not any(holds(inner, into) for inner in bodies(equation)) and not into(equation):
        return bind(equation, inputs)
    if name == "scan":
        n, c = _consts_and_carry(equation)
        consts, init, xs = inputs[:n], inputs[n : n + c], inputs[n + c :]

        def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            out = enter(params["jaxpr"], [*consts, *carry, *x])
            return out[:c], out[c:]

        carry, ys = lax.scan(
            step, list(init), list(xs), length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
        )
        return [*carry, *ys]
    if name == "while":
        n, m = params["cond_nconsts"], params["body_nconsts"]
        goes_on = lambda carry: jex.jaxpr_as_fun(params["cond_jaxpr"])(*inputs[:n], *carry)[0]  # noqa: E731

        def lap(carry: list[Any]) -> list[Any]:
            new, going = enter(params["body_jaxpr"], [*inputs[n : n + m], *carry]), goes_on(carry)
            chosen = lambda a, b: jnp.where(going.reshape(going.shape + (1,) * (a.ndim - going.ndim)), a, b)  # noqa: E731
            return list(map(chosen, new, carry)) if going.ndim else new  # under vmap each example has its own end

        return list(loop(lambda carry: jnp.any(goes_on(carry)), lap, list(inputs[n + m :])))
    if name == "cond":
        branches = [lambda *v, b=b: enter(b, v) for b in params["branches"]]
        return list(lax.switch(inputs[0], branches, *inputs[1:]))
    if is_call(equation):
        return run(*called(equation), inputs, change, into, loop)
    return bind(equation, inputs)


def _consts_and_carry(equation: Any) -> tuple[int, int]:
    """How many inputs of a scan are constants, and how many its carry: what is scanned over has one axis more outside.

    JAX 0.10 says so in parameters that JAX 0.12 has no longer.
    """
    inner = equation.params["jaxpr"].jaxpr

    def kept(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        return sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(outside, inside, strict=True))

    carry = kept(equation.outvars, inner.outvars)
    return kept(equation.invars, inner.invars) - carry, carry


def plain(closed: Any, args: Sequence[Any], rules: tuple[str, ...] = (), loop: Loop | None = None) -> list[Any]:
    """The results of a program whose custom rules are gone: their bodies stand in their place; `rules` names them.

    `loop` runs its while loops, where they are to be run in another way.
    """

    def changed(equation: Any) -> bool:
        name = equation.primitive.name
        return name.startswith(rules) or (loop is not None and name == "while")

    how = lambda equation, inputs, go: go(inputs)  # noqa: E731
    return run(closed.jaxpr, closed.consts, args, how, changed, loop or lax.while_loop)


def is_loop(equation: Any) -> bool:
    return bool(equation.primitive.name == "while")


def limited(most: int, beyond: Any = None) -> Loop:
    """lax.while_loop that stops after `most` iterations, since a condition may stay unmet; it goes on for `beyond`.

    `beyond` may be traced, so that what is compiled serves every number.
    """

    def loop(goes_on: Callable[[Any], Any], lap: Callable[[Any], Any], init: Any) -> Any:
        if beyond is None:
            bounded = lambda s: (s[0] < most) & goes_on(s[1])  # noqa: E731
            return lax.while_loop(bounded, lambda s: (s[0] + 1, lap(s[1])), (0, init))[1]

        def on(state: Any) -> Any:
            k, _, ended, carry = state
            return ~ended & (k < most) & goes_on(carry)

        def further(state: Any) -> Any:
            k, left, _, carry = state
            ended = ~on(state)
            return k + 1, left - ended.astype(left.dtype), ended, lap(carry)

        start = (0, jnp.asarray(beyond), jnp.asarray(False), init)
        return lax.while_loop(lambda s: on(s) | (s[1] > 0), further, start)[3]

    return loop


def counted(closed: Any, args: Sequence[Any], told: Callable[[Any], None]) -> list[Any]:
    """The results of a program; `told` hears how many iterations every while loop took."""

    def loop(goes_on: Callable[[Any], Any], lap: Callable[[Any], Any], init: Any) -> Any:
        k, end = lax.while_loop(lambda s: goes_on(s[1]), lambda s: (s[0] + 1, lap(s[1])), (0, init))
        jax.debug.callback(told, k)
        return end

    return plain(closed, args, ("custom_vjp_call", "custom_vmap_call", "custom_jvp_call"), loop)
