"""A JAX program, run equation by equation, with something changed on the way.

Two changes are made. `plain`: a function with a custom rule is replaced by its body, so that JAX's own derivative
is to be had without the rule. `noisy`: every rounded result is multiplied by 1 + u ξ, ξ random of variance 1, which is
what rounding does in a dtype of unit roundoff u; a sum of L products has its terms disturbed by u √L, as
`jaxconv.accuracy.error_model` says. The spread of the noisy results is what rounding may cost, through any program.

Only names that JAX documents are used: ``jax.make_jaxpr``, ``jax.extend.core`` and a primitive's ``bind``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv.accuracy.oracle import to_double

Change = Callable[[Any, list[Any], Callable[[list[Any]], list[Any]]], list[Any]]  # (equation, inputs, run) → outputs

# Where data moves and nothing is rounded.
EXACT = frozenset(
    """reshape transpose broadcast_in_dim broadcast slice squeeze rev gather copy copy_p concatenate pad select_n neg
    real imag conj abs max min sign stop_gradient dynamic_slice dynamic_update_slice expand_dims split iota sort
    reduce_max reduce_min argmax argmin scatter convert_element_type reduce_precision complex reshard device_put
    sharding_constraint optimization_barrier clamp floor ceil round psum_invariant pvary bitcast_convert_type""".split()  # noqa: SIM905
)
# Approximated: a compiler's f32 tanh, erf and their like are off by several units in the last place, not half a one.
APPROXIMATE = frozenset(
    """tanh exp exp2 expm1 log log1p logistic erf erfc erf_inv sin cos tan asin acos atan atan2 sinh cosh asinh acosh
    atanh pow rsqrt cbrt lgamma digamma igamma igammac bessel_i0e bessel_i1e""".split()  # noqa: SIM905
)
SEVERAL = 4
BODIES = ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")
INLINE = frozenset(("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_vmap_call"))


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


def longest(jaxpr: Any) -> int:
    """L of the longest sum, however deep; a sum inside a scan goes on for as many steps."""
    lengths = [1]
    for equation in jaxpr.eqns:
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        lengths += [_length(equation), *(times * longest(inner) for inner in bodies(equation))]
    return max(lengths)


def _asked(precision: Any) -> list[Any]:
    """The dtype that a product rounds its factors to, where its algorithm is asked for by name: BF16_BF16_F32."""
    names = {"BF16": jnp.bfloat16, "F16": jnp.float16, "TF32": jnp.float16}  # TF32 keeps as many bits as float16
    each = precision if isinstance(precision, (tuple, list)) else (precision,)
    found = (getattr(p, "name", "").upper().split("_") for p in each if isinstance(p, lax.DotAlgorithmPreset))
    return [jnp.dtype(names[parts[0]]) for parts in found if parts[0] in names and parts[-1] not in ("X3", "X6", "X9")]


def run(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], change: Change, into: Callable[[Any], bool]
) -> list[Any]:
    """The results of a program, with `change` made at every equation; `into` says which inner programs to enter."""
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else env[atom]

    for equation in jaxpr.eqns:
        go = partial(_apply, equation, change=change, into=into)
        results = change(equation, [read(v) for v in equation.invars], go)
        env.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def bind(equation: Any, inputs: list[Any]) -> list[Any]:
    out = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
    return list(out) if equation.primitive.multiple_results else [out]


def _apply(equation: Any, inputs: list[Any], change: Change, into: Callable[[Any], bool]) -> list[Any]:
    name, params = equation.primitive.name, equation.params

    def enter(inner: Any, args: Sequence[Any]) -> list[Any]:
        return run(inner.jaxpr, inner.consts, args, change, into)

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
        return lax.while_loop(
            lambda carry: jex.jaxpr_as_fun(params["cond_jaxpr"])(*inputs[:n], *carry)[0],
            lambda carry: enter(params["body_jaxpr"], [*inputs[n : n + m], *carry]),
            list(inputs[n + m :]),
        )
    if name == "cond":
        branches = [lambda *v, b=b: enter(b, v) for b in params["branches"]]
        return list(lax.switch(inputs[0], branches, *inputs[1:]))
    if name in INLINE or name.startswith(("custom_vjp_call", "custom_jvp_call")):
        inner = next(params[key] for key in BODIES if key in params)
        return run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs, change, into)
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


def plain(closed: Any, args: Sequence[Any]) -> list[Any]:
    """The results of a program whose custom rules are gone: their bodies stand in their place."""

    def custom(equation: Any) -> bool:
        return equation.primitive.name.startswith(("custom_vjp_call", "custom_vmap_call"))

    return run(closed.jaxpr, closed.consts, args, lambda equation, inputs, go: go(inputs), custom)


def noisy(closed: Any, args: Sequence[Any], seed: Any, u: float) -> list[Any]:
    """The results of a program, inputs and every rounded result disturbed by u."""
    salt = iter(range(1, 1 << 30))

    def disturb(values: Sequence[Any], size: float = u) -> list[Any]:
        return [_disturbed(v, seed + next(salt) * 7919, size) if is_float(v) else v for v in values]

    def change(equation: Any, inputs: list[Any], go: Callable[[list[Any]], list[Any]]) -> list[Any]:
        length = _length(equation)
        if length > 1:
            inputs = disturb(inputs, u * math.sqrt(length))
        out = go(inputs)
        # A body that was entered has been disturbed inside.
        if equation.primitive.name in EXACT or bodies(equation):
            return out
        return disturb(out, SEVERAL * u if equation.primitive.name in APPROXIMATE else u)

    return run(closed.jaxpr, closed.consts, disturb(args), change, lambda equation: True)


def shaken(closed: Any, args: Sequence[Any], seed: Any, u: float) -> list[Any]:
    """The results of a program whose constants are disturbed by u: those with more than 12 binary digits are taken for
    rounded, as 1/√8 written in float32 is.
    """
    salt = iter(range(1, 1 << 30))

    def disturb(value: Any) -> Any:
        return _disturbed(jnp.asarray(value), seed + next(salt) * 7919, u) if _is_rounded(value) else value

    def change(equation: Any, inputs: list[Any], go: Callable[[list[Any]], list[Any]]) -> list[Any]:
        return go(
            [disturb(v) if isinstance(a, jex.Literal) else v for a, v in zip(equation.invars, inputs, strict=True)]
        )

    return run(closed.jaxpr, [disturb(c) for c in closed.consts], args, change, lambda equation: True)


def _is_rounded(constant: Any) -> bool:
    if not is_float(constant) and not isinstance(constant, (float, complex)):
        return False
    value = np.abs(to_double(constant))
    digits = np.frexp(value[np.isfinite(value)])[0] * 2.0**12
    return bool(np.any(digits != np.round(digits)))


def _length(equation: Any) -> int:
    """L: how many products an equation sums into one element."""
    name, params = equation.primitive.name, equation.params
    shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
    if name == "dot_general":
        return math.prod(shapes[0][axis] for axis in params["dimension_numbers"][0][0])
    if name == "reduce_sum":
        return math.prod(shapes[0][axis] for axis in params["axes"])
    if name == "conv_general_dilated":
        return math.prod(shapes[1]) // max(shapes[1][params["dimension_numbers"].rhs_spec[0]], 1)
    if name in ("cumsum", "cumlogsumexp", "cumprod"):
        return shapes[0][params["axis"]]
    if name == "reduce_window_sum":
        return math.prod(params["window_dimensions"])
    if name in ("scatter-add", "scatter_add"):
        return 1 + math.prod(shapes[2]) // max(math.prod(shapes[0]), 1)
    return 1


def _disturbed(value: Any, seed: Any, size: float) -> Array:
    """value · (1 + size ξ): ξ even in ±√3, told from the bits of the value, its place and the seed, so that no state
    has to be carried through loops.
    """
    part = value.real if jnp.iscomplexobj(value) else value
    number = part.astype(jnp.float64)
    bits = lax.bitcast_convert_type(number, jnp.uint64)
    place = lax.iota(jnp.uint64, max(math.prod(part.shape), 1))[: math.prod(part.shape)].reshape(part.shape)
    z = (
        bits
        ^ ((place + jnp.uint64(1)) * jnp.uint64(0x9E3779B97F4A7C15))
        ^ (jnp.asarray(seed, jnp.uint64) << jnp.uint64(20))
    )
    z = (z ^ (z >> jnp.uint64(30))) * jnp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> jnp.uint64(27))) * jnp.uint64(0x94D049BB133111EB)
    z = z ^ (z >> jnp.uint64(31))
    xi = (z >> jnp.uint64(11)).astype(jnp.float64) * (2.0**-52) - 1
    wide = jnp.complex128 if jnp.iscomplexobj(value) else jnp.float64
    return (value.astype(wide) * (1 + size * math.sqrt(3) * xi).astype(wide)).astype(value.dtype)
