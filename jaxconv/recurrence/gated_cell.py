"""One step of the gated recurrence: its weights, its equations, and what its arguments must be.

    v[t] = W_x x[t] + b_x
    c[t] = σ(W_c x[t] + b_c + W_h h[t−1])
    h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]

Letters: n input features, m state features, T time steps; c the gate, v the candidate. Arrays hold features last, so
that W x stands in the code as ``x @ W.T``.

Source: the GRU of K. Cho et al. 2014 without reset gate and with a linear candidate (activations σ and the identity).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, export

from jaxconv._jax.dtypes import accumulator, read_arrays
from jaxconv.sizes.arguments import wrong_kind, wrong_value


class GatedParams(NamedTuple):
    """The weights of the cell.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    Attributes:
        w_c: (m, n), the gate's weights of the input.
        w_h: (m, m), the gate's weights of the state, or None: the gate reads x alone.
        w_x: (m, n), the candidate's weights.
        b_c, b_x: (m,), the biases of gate and candidate, or None.

    What ``jax.export`` makes of a function that takes them can be serialised; whoever reads it imports this name first.

    Source: the equations of the module `gated_cell`.

    >>> import jax
    >>> from jaxconv import gated_init
    >>> gated_init(jax.random.key(0), 3, 4).w_c.shape
    (4, 3)
    """

    w_c: Array
    w_h: Array | None
    w_x: Array
    b_c: Array | None = None
    b_x: Array | None = None


with suppress(ValueError):  # registered already, where this module is loaded a second time
    export.register_namedtuple_serialization(GatedParams, serialized_name="jaxconv.GatedParams")


# ------------------------------------------------------------------------------------------------ the equations


def to_accumulator(array: Any) -> Any:
    """An array in the dtype that its sums are accumulated in; None stays None."""
    return None if array is None else array.astype(accumulator(array.dtype))


def project(x: Array, w: Array, b: Array | None) -> Array:
    """W x + b for every leading axis, in the accumulator's dtype."""
    return biased(jnp.matmul(x, w.T, preferred_element_type=accumulator(x.dtype)), b)


def biased(a: Array, b: Array | None) -> Array:
    """a + b in the dtype of a, or a where there is no bias."""
    return a if b is None else a + led(b.astype(a.dtype), a.ndim)


def led(array: Array, rank: int) -> Array:
    """An array with axes of size one before its own, `rank` in all: what broadcasting would add in silence."""
    return jnp.expand_dims(array, tuple(range(rank - array.ndim)))


def gate(pre: Array, h: Array, turned: Array | None) -> Array:
    """c = σ(pre + W_h h),  pre = W_c x + b_c;  `turned` is W_hᵀ, which a loop makes once, not at every step."""
    return jax.nn.sigmoid(pre if turned is None else pre + h @ turned)


def mix(c: Array, h: Array, v: Array) -> Array:
    """c ⊙ h + (1 − c) ⊙ v"""
    return c * h + (1 - c) * v


# ---------------------------------------------------------------------------------------------- reading arguments


def check_step(function: str, params: Any, h: Any, x: Any) -> None:
    """Raise unless h and x are a state and an input of the cell whose leading axes broadcast."""
    check_params(function, params, {"h": h, "x": x})
    check_features(function, params, x, h)
    try:
        jnp.broadcast_shapes(h.shape[:-1], x.shape[:-1])
    except ValueError:
        rule = "the leading axes of `h` and `x` must broadcast"
        wrong_value(function, rule, f"h.shape={h.shape}, x.shape={x.shape}")


def check_params(function: str, params: Any, arrays: dict[str, Any]) -> None:
    """Raise unless `params` is a GatedParams whose shapes agree, in one real dtype with `arrays`."""
    if not isinstance(params, GatedParams):
        wrong_kind(function, "`params` must be a GatedParams", f"params of type {type(params).__name__}")
    weights = params._asdict()
    for name in ("w_c", "w_x"):
        if weights[name] is None:
            wrong_kind(function, f"`params.{name}` must be an array", f"params.{name}=None")
    given = {f"params.{name}": value for name, value in weights.items() if value is not None}
    read_arrays(function, {**arrays, **given})
    if jnp.issubdtype(params.w_c.dtype, jnp.complexfloating):
        wrong_kind(
            function, "`params` must be real: the gate has no complex form", f"params.w_c.dtype={params.w_c.dtype}"
        )
    if params.w_c.ndim != 2:
        wrong_value(function, "`params.w_c` must have the shape (m, n)", f"params.w_c.shape={params.w_c.shape}")
    m, n = params.w_c.shape
    for name, shape in (("w_x", (m, n)), ("w_h", (m, m)), ("b_c", (m,)), ("b_x", (m,))):
        value = getattr(params, name)
        if value is not None and value.shape != shape:
            rule = f"`params.{name}` must have the shape {shape} that params.w_c.shape={params.w_c.shape} implies"
            wrong_value(function, rule, f"params.{name}.shape={value.shape}")


def check_features(function: str, params: GatedParams, x: Array, h: Array | None) -> None:
    """Raise unless the last axes of x and h are the features that the weights expect."""
    m, n = params.w_c.shape
    for name, value, count in (("x", x, n), ("h", h, m)):
        if value is not None and (value.ndim < 1 or value.shape[-1] != count):
            rule = f"the last axis of `{name}` must have the {count} features of params.w_c.shape={params.w_c.shape}"
            wrong_value(function, rule, f"{name}.shape={value.shape}")
