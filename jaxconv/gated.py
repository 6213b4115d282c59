"""A gated recurrence and its hand-written adjoint: one reverse scan that carries one vector.

    v[t] = W_x x[t] + b_x
    c[t] = σ(W_c x[t] + b_c + W_h h[t−1])
    h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ v[t]

and, with ȳ[t] = ∂l/∂h[t] as it comes from outside and g[t] the total one,

    δ[t]   = g[t] ⊙ (h[t−1] − v[t]) ⊙ c[t] ⊙ (1 − c[t])          (gradient at the gate's pre-activation)
    ν[t]   = g[t] ⊙ (1 − c[t])                                    (gradient at v[t])
    g[t−1] = ȳ[t−1] + c[t] ⊙ g[t] + W_hᵀ δ[t]
    dW_c = Σ_t δ[t] x[t]ᵀ    dW_h = Σ_t δ[t] h[t−1]ᵀ    dW_x = Σ_t ν[t] x[t]ᵀ    dx[t] = W_cᵀ δ[t] + W_xᵀ ν[t]
    db_c = Σ_t δ[t]          db_x = Σ_t ν[t]            dh[0] = g[0]

Letters: n input features, m state features, T time steps; c the gate, v the candidate. Arrays hold features last, so
that W x stands in the code as ``x @ W.T``. Sums over t run over the batch as well.

Only h is kept beyond the inputs: c and v of all steps come back as two matrix products, and every weight gradient is
one more, outside the scan. Half precision is carried and accumulated in float32.

Source: the adjoint is the chain rule along h[t−1] → h[t] (P. Werbos, "Backpropagation through time", 1990); the cell is
the GRU of K. Cho et al. 2014 without reset gate and with a linear candidate (activations σ and the identity).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxconv.arguments import integer, one_of, wrong_kind, wrong_value
from jaxconv.precision import DTYPES, accumulator, read_arrays
from jaxconv.rules import dense, is_wanted, values, wanted

Derivative = Literal["hand", "jax"]


class GatedParams(NamedTuple):
    """The weights of the cell.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    Attributes:
        w_c, w_x: (m, n).  w_h: (m, m), or None: the gate reads x alone.  b_c, b_x: (m,), or None.

    Source: the equations of the module `jaxconv.gated`.

    >>> import jax
    >>> gated_init(jax.random.key(0), 3, 4).w_c.shape
    (4, 3)
    """

    w_c: Array
    w_h: Array | None
    w_x: Array
    b_c: Array | None = None
    b_x: Array | None = None


def gated_init(key: Array, n: int, m: int, *, bias: bool = True, dtype: Any = jnp.float32) -> GatedParams:
    """Random weights, uniform, and biases 0.

        W_c, W_x ~ √(3/n) · U(−1, 1)  (variance 1/n),   W_h ~ √(3/(4m)) · U(−1, 1)  (variance 1/(4m))

    The variances keep v of the size of x, and ‖W_h‖₂ near 1, where gradients through time neither vanish at once nor
    explode (see `gradient_flow`).

    Args:
        key: a random key of `jax.random`.
        n: input features.
        m: state features.
        bias: whether there are biases.
        dtype: of all weights.

    Returns:
        GatedParams with w_c, w_x (m, n), w_h (m, m), b_c, b_x (m,) or None.

    Raises:
        TypeError, ValueError: n or m is no positive integer; dtype is no real floating-point dtype.

    Source: X. Glorot and Y. Bengio 2010, equation 16, for the uniform form.

    >>> import jax
    >>> gated_init(jax.random.key(0), 3, 4, bias=False).b_c is None
    True
    """
    n, m = integer("gated_init", "n", n, least=1), integer("gated_init", "m", m, least=1)
    if not isinstance(bias, bool):
        wrong_kind("gated_init", "`bias` must be True or False", f"bias={bias!r}")
    try:
        real = jnp.dtype(dtype) in DTYPES and not jnp.issubdtype(dtype, jnp.complexfloating)
    except TypeError:  # no dtype at all
        real = False
    if not real:
        wrong_kind("gated_init", "`dtype` must be a real floating-point dtype", f"dtype={dtype!r}")

    def uniform(key: Array, shape: tuple[int, int], variance: float) -> Array:
        bound = (3 * variance) ** 0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    for_c, for_h, for_x = jax.random.split(key, 3)
    weights = uniform(for_c, (m, n), 1 / n), uniform(for_h, (m, m), 1 / (4 * m)), uniform(for_x, (m, n), 1 / n)
    return GatedParams(*weights, *((jnp.zeros(m, dtype), jnp.zeros(m, dtype)) if bias else (None, None)))


# ------------------------------------------------------------------------------------------------ the equations


def _project(x: Array, w: Array, b: Array | None) -> Array:
    """W x + b for every leading axis, in the accumulator's dtype."""
    product = jnp.matmul(x, w.T, preferred_element_type=accumulator(x.dtype))
    return product if b is None else product + b


def _gate(pre: Array, h: Array, w_h: Array | None) -> Array:
    """c = σ(pre + W_h h),  pre = W_c x + b_c"""
    return jax.nn.sigmoid(pre if w_h is None else pre + h @ w_h.T)


def _mix(c: Array, h: Array, v: Array) -> Array:
    """c ⊙ h + (1 − c) ⊙ v"""
    return c * h + (1 - c) * v


def _wide(array: Any) -> Any:
    """An array in the dtype that its sums are accumulated in; None stays None."""
    return None if array is None else array.astype(accumulator(array.dtype))


def _forward(params: GatedParams, x: Array, h0: Array, unroll: int) -> tuple[Array, Array]:
    w_h = _wide(params.w_h)
    pre, v = _project(x, params.w_c, params.b_c), _project(x, params.w_x, params.b_x)

    def step(h: Array, at_t: tuple[Array, Array]) -> tuple[Array, Array]:
        pre, v = at_t
        h = _mix(_gate(pre, h, w_h), h, v)
        return h, h.astype(x.dtype)

    h_last, h = lax.scan(step, _wide(h0), (pre, v), unroll=unroll)
    return h_last.astype(x.dtype), h


# -------------------------------------------------------------------------------------------------- the adjoint


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _scan(params: GatedParams, x: Array, h0: Array, unroll: int) -> tuple[Array, Array]:
    return _forward(params, x, h0, unroll)


def _scan_forward(params: Any, x: Any, h0: Any, unroll: int) -> tuple[tuple[Array, Array], tuple]:
    marks = wanted((params, x, h0))
    params, x, h0 = values((params, x, h0))
    h_last, h = _scan(params, x, h0, unroll)
    return (h_last, h), (params, x, h0, h, marks)


def _scan_backward(unroll: int, kept: tuple, cotangents: tuple[Any, Any]) -> tuple[GatedParams, Any, Any]:
    params, x, h0, h, (for_params, for_x, for_h0) = kept
    g_last, y_bar = dense(cotangents)
    w_c, w_h, w_x, _, _ = map(_wide, params)
    h_before = jnp.concatenate([h0[None], h[:-1]]) if h.shape[0] else h
    h_before, x_wide = _wide(h_before), _wide(x)

    c = _gate(_project(x, params.w_c, params.b_c), h_before, w_h)
    v = _project(x, params.w_x, params.b_x)
    slope = (h_before - v) * c * (1 - c)  # ∂h[t]/∂(pre-activation of c[t])

    def step(g: Array, at_t: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        y_bar, c, slope = at_t
        g = g + y_bar
        through_gate = 0 if w_h is None else (g * slope) @ w_h
        return c * g + through_gate, g

    g_h0, g = lax.scan(step, _wide(g_last), (_wide(y_bar), c, slope), reverse=True, unroll=unroll)
    delta = g * slope
    nu = g * (1 - c)

    def outer(a: Array, b: Array) -> Array:
        """Σ_t a[t] b[t]ᵀ, over the batch as well."""
        return jnp.tensordot(a, b, (tuple(range(a.ndim - 1)),) * 2)

    def total(a: Array) -> Array:
        """Σ_t a[t], over the batch as well."""
        return a.sum(tuple(range(a.ndim - 1)))

    def only(mark: Array | None, gradient: Any) -> Any:
        return gradient().astype(x.dtype) if mark is not None and is_wanted(mark) else None

    d_params = GatedParams(
        only(for_params.w_c, lambda: outer(delta, x_wide)),
        only(for_params.w_h, lambda: outer(delta, h_before)),
        only(for_params.w_x, lambda: outer(nu, x_wide)),
        only(for_params.b_c, lambda: total(delta)),
        only(for_params.b_x, lambda: total(nu)),
    )
    return d_params, only(for_x, lambda: delta @ w_c + nu @ w_x), only(for_h0, lambda: g_h0)


_scan.defvjp(_scan_forward, _scan_backward, symbolic_zeros=True)


@partial(jax.jit, static_argnames=("unroll", "derivative"))
def _scan_body(params: GatedParams, x: Array, h0: Array | None, *, unroll: int, derivative: str) -> tuple[Array, Array]:
    if h0 is None:
        h0 = jnp.zeros((*x.shape[1:-1], params.w_c.shape[0]), x.dtype)
    return (_scan if derivative == "hand" else _forward)(params, x, h0, unroll)


# ------------------------------------------------------------------------------------------------ the public face


@jax.jit
def _step_body(params: GatedParams, h: Array, x: Array) -> Array:
    pre, v = _project(x, params.w_c, params.b_c), _project(x, params.w_x, params.b_x)
    return _mix(_gate(pre, _wide(h), _wide(params.w_h)), _wide(h), v).astype(x.dtype)


def gated_step(params: GatedParams, h: Array, x: Array) -> Array:
    """One step of the recurrence.

        c = σ(W_c x + b_c + W_h h),   next h = c ⊙ h + (1 − c) ⊙ (W_x x + b_x)

    Its gradient is left to JAX: within one step there is nothing to save.

    Args:
        params: GatedParams.
        h: state before the step, (*batch, m).
        x: input of the step, (*batch, n); leading axes of h and x broadcast.

    Returns:
        The state after the step, (*batch, m).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: the equations of the module `jaxconv.gated`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_step(params, jnp.array([2.0]), jnp.array([4.0]))
    Array([3.], dtype=float32)
    """
    check_step("gated_step", params, h, x)
    return _step_body(params, h, x)


def gated_scan(
    params: GatedParams,
    x: Array,
    h0: Array | None = None,
    *,
    unroll: int = 1,
    derivative: Derivative = "hand",
) -> tuple[Array, Array]:
    """The recurrence over a sequence, with the hand-written adjoint of the module `jaxconv.gated`.

        c[t] = σ(W_c x[t] + b_c + W_h h[t−1]),   h[t] = c[t] ⊙ h[t−1] + (1 − c[t]) ⊙ (W_x x[t] + b_x)

    Args:
        params: GatedParams.
        x: (time, *batch, n), any number of batch axes, none included; time may be 0.
        h0: state before the first step, (*batch, m); zeros where None.
        unroll: steps per iteration of the loop, as in `lax.scan`: more compile, less overhead.
        derivative: "hand", the adjoint above; "jax" leaves the derivative to JAX, so that jvp and hessian work too.

    Returns:
        (h_last, h) as `lax.scan`, the carry and then the stack: (*batch, m) and (time, *batch, m).

    Raises:
        TypeError, ValueError: dtypes, shapes or options do not fit together.

    Source: the equations of the module `jaxconv.gated`.

    >>> import jax.numpy as jnp
    >>> params = GatedParams(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> gated_scan(params, jnp.array([[4.0], [8.0]]))[1]
    Array([[2.],
           [5.]], dtype=float32)
    """
    function = "gated_scan"
    check_scan(function, params, x, h0)
    one_of(function, "derivative", derivative, ("hand", "jax"))
    unroll = integer(function, "unroll", unroll, least=1)
    return _scan_body(params, x, h0, unroll=unroll, derivative=derivative)


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


def check_scan(function: str, params: Any, x: Any, h0: Any) -> None:
    """Raise unless x is a sequence (time, *batch, n) and h0 None or a state (*batch, m)."""
    check_params(function, params, {"x": x, **({} if h0 is None else {"h0": h0})})
    if x.ndim < 2:
        wrong_value(function, "`x` must have the axes (time, *batch, n)", f"x.shape={x.shape}")
    check_features(function, params, x, None)
    state = (*x.shape[1:-1], params.w_c.shape[0])
    if h0 is not None and h0.shape != state:
        rule = f"`h0` must have the shape (*batch, m) = {state}"
        wrong_value(function, rule, f"h0.shape={h0.shape} (x.shape={x.shape})")


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
