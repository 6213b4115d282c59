"""A program run with noise: what rounding does in a dtype of unit roundoff u, to any program.

Every rounded result is multiplied by 1 + u ξ, ξ random of variance 1; a sum of L products has its terms disturbed by
u √L, as `jaxconv.accuracy.error_model` says. The spread of the noisy results is what rounding may cost.

A disturbance is compiled once for every shape and dtype: written out, it would be a dozen operations per equation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxconv.accuracy.oracle import to_double
from jaxconv.check.programs.interpret import LOOPS, Loop, apply, bind, bodies, holds, is_float, run

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


def longest(jaxpr: Any) -> int:
    """L of the longest sum, however deep; a sum inside a scan goes on for as many steps."""
    lengths = [1]
    for equation in jaxpr.eqns:
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        lengths += [_length(equation), *(times * longest(inner) for inner in bodies(equation))]
    return max(lengths)


def _shared(jaxpr: Any) -> set[Any]:
    """The variables, however deep, that more than one equation reads."""
    uses = Counter(v for equation in jaxpr.eqns for v in equation.invars if not isinstance(v, jex.Literal))
    inner = (_shared(each) for equation in jaxpr.eqns for each in bodies(equation))
    return {v for v, times in uses.items() if times > 1}.union(*inner)


class _Noise:
    """What is changed at every equation. Noise is drawn once for all that read it: XLA would draw it anew in each."""

    def __init__(self, seed: Any, u: Any, shared: set[Any]) -> None:
        self.seed, self.u, self.shared = seed, u, shared
        self.salt = iter(range(1, 1 << 30))

    def disturbed(self, values: Sequence[Any], size: Any) -> list[Any]:
        return [disturbed(v, self.seed + next(self.salt) * 7919, size) if is_float(v) else v for v in values]

    def change(self, equation: Any, inputs: list[Any], go: Callable[[list[Any]], list[Any]]) -> list[Any]:
        name = equation.primitive.name
        length = _length(equation)
        if length > 1:
            inputs = self.disturbed(inputs, self.u * math.sqrt(length))
        out = go(inputs)
        if name in EXACT:
            return out
        if not bodies(equation):  # a body that was entered has been disturbed inside
            out = self.disturbed(out, SEVERAL * self.u if name in APPROXIMATE else self.u)
        each = zip(equation.outvars, out, strict=True)
        return [lax.optimization_barrier(v) if is_float(v) and var in self.shared else v for var, v in each]


def with_noise(equation: Any, inputs: list[Any], seed: Any, u: Any) -> list[Any]:
    """The results of one equation, disturbed by u; a loop is entered."""
    change = _Noise(seed, u, set().union(*map(_shared, bodies(equation)))).change
    if equation.primitive.name in LOOPS:
        return apply(equation, inputs, change, everything, lax.while_loop)
    return change(equation, inputs, partial(bind, equation))


def rounds(equation: Any) -> bool:
    """Whether noise changes anything in it."""
    name = equation.primitive.name
    if name in LOOPS:
        return any(holds(inner, rounds) for inner in bodies(equation))
    floats = any(is_float(v.aval) for v in equation.outvars)
    return floats and (_length(equation) > 1 or not (name in EXACT or bodies(equation)))


def everything(equation: Any) -> bool:
    return True


def noisy(closed: Any, args: Sequence[Any], seed: Any, u: Any, loop: Loop = lax.while_loop) -> list[Any]:
    """The results of a program, inputs and every rounded result disturbed by u; a negative u leaves the inputs."""
    noise = _Noise(seed, jnp.abs(u), _shared(closed.jaxpr))
    args = noise.disturbed(args, jnp.maximum(u, 0.0))
    return run(closed.jaxpr, closed.consts, args, noise.change, everything, loop)


def shaken(closed: Any, args: Sequence[Any], seed: Any, u: float, loop: Loop = lax.while_loop) -> list[Any]:
    """The results of a program whose constants are disturbed by u: those with more than 12 binary digits are taken for
    rounded, as 1/√8 written in float32 is.
    """
    salt = iter(range(1, 1 << 30))

    def shake(value: Any) -> Any:
        return disturbed(jnp.asarray(value), seed + next(salt) * 7919, u) if is_rounded(value) else value

    def change(equation: Any, inputs: list[Any], go: Callable[[list[Any]], list[Any]]) -> list[Any]:
        return go([shake(v) if isinstance(a, jex.Literal) else v for a, v in zip(equation.invars, inputs, strict=True)])

    return run(closed.jaxpr, [shake(c) for c in closed.consts], args, change, everything, loop)


def is_rounded(constant: Any) -> bool:
    """Whether a constant has more than 12 binary digits."""
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


@jax.jit
def disturbed(value: Any, seed: Any, size: Any) -> Array:
    """value · (1 + size ξ): ξ even in ±√3, told from the bits of the value, its place and the seed, so that no state
    has to be carried through loops.
    """
    part = value.real if jnp.iscomplexobj(value) else value
    bits = lax.bitcast_convert_type(part.astype(jnp.float64), jnp.uint64)
    place = lax.iota(jnp.uint64, max(math.prod(part.shape), 1))[: math.prod(part.shape)].reshape(part.shape)
    # Odd numbers of 64 bits carry every bit upwards, the shift carries them down: few operations, as there is one of
    # these for every equation, and in a loop's body XLA writes each out.
    own = place * jnp.uint64(0x9E3779B97F4A7C15) ^ (jnp.asarray(seed, jnp.uint64) * jnp.uint64(0xD6E8FEB86659FD93))
    z = bits * jnp.uint64(0xBF58476D1CE4E5B9) ^ own
    z = (z ^ (z >> jnp.uint64(32))) * jnp.uint64(0x94D049BB133111EB)
    xi = lax.bitcast_convert_type(z, jnp.int64).astype(jnp.float64)  # even in ±2⁶³
    wide = jnp.complex128 if jnp.iscomplexobj(value) else jnp.float64
    return (value.astype(wide) * (1 + (size * (math.sqrt(3) * 2.0**-63)) * xi).astype(wide)).astype(value.dtype)
