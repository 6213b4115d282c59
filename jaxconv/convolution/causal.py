"""The causal depthwise convolution of state-space layers, of a whole sequence or of one piece after the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv._jax.dtypes import read_arrays
from jaxconv.convolution.api import conv
from jaxconv.sizes.arguments import is_symbolic, wrong_value


def causal_conv(x: Array, w: Array, b: Array | None = None, state: Array | None = None) -> tuple[Array, Array]:
    """Causal depthwise convolution of a sequence, or of its next piece, with gradients written by hand.

        y[c,t] = b[c] + Σ_q w[c,0,q] · z[c, t + q],   z = (state, x) along time,   next state = the last k − 1 of z

    A sequence cut anywhere gives the same numbers: ``y, state = causal_conv(piece, w, b, state)``; one position is a
    piece of length 1. Of the whole it is ``conv(x, w, b, padding="CAUSAL", groups=channels)``. There is no activation.

    Args:
        x: (*batch, channels, time), any number of leading batch axes; time may be 0.
        w: (channels, 1, k), the last tap on the present position.
        b: (channels,), or None.
        state: (*batch, channels, k − 1), the positions before x, the nearest last; zeros where None.

    Returns:
        (y, state): (*batch, channels, time), and the state after it, (*batch, channels, k − 1).

    Raises:
        TypeError, ValueError: dtypes or shapes do not fit together.

    Source: A. Gu and T. Dao 2023, "Mamba"; `CausalConvWithState` of ONNX.

    >>> import jax.numpy as jnp
    >>> y, state = causal_conv(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[[10.0, 1.0]]]))
    >>> y, state
    (Array([[ 1., 12., 23.]], dtype=float32), Array([[3.]], dtype=float32))
    """
    _check(x, w, b, state)
    return _causal_body(x, w, b, state)


@jax.jit
def _causal_body(x: Array, w: Array, b: Array | None, state: Array | None) -> tuple[Array, Array]:
    """Of arrays that fit together."""
    channels, reach, time = w.shape[0], w.shape[-1] - 1, x.shape[-1]
    whole = x if state is None else jnp.concatenate([state, x], axis=-1)
    y = conv(whole, w, b, padding="CAUSAL" if state is None else 0, groups=channels) if time != 0 else x
    if state is None and (is_symbolic(time) or time < reach):  # positions before the first are zeros
        whole = jnp.pad(whole, [(0, 0)] * (x.ndim - 1) + [(reach, 0)])
    return y, whole[..., whole.shape[-1] - reach :]


def _check(x: Any, w: Any, b: Any, state: Any) -> None:
    """Raise unless the arrays fit together."""
    function = "causal_conv"
    given = {"x": x, "w": w, "b": b, "state": state}
    read_arrays(function, {name: a for name, a in given.items() if a is not None or name in ("x", "w")})
    if w.ndim != 3 or w.shape[1] != 1 or w.shape[2] < 1:
        wrong_value(function, "`w` must have the shape (channels, 1, k)", f"w.shape={w.shape}")
    channels, _, k = w.shape
    if x.ndim < 2 or x.shape[-2] != channels:
        rule = f"`x` must have the shape (*batch, channels, time) with the {channels} channels of w.shape={w.shape}"
        wrong_value(function, rule, f"x.shape={x.shape}")
    if b is not None and b.shape != (channels,):
        wrong_value(function, f"`b` must have the shape (channels,) = ({channels},)", f"b.shape={b.shape}")
    if state is not None and state.shape != (*x.shape[:-1], k - 1):
        rule = f"`state` must have the shape (*batch, channels, k - 1) = {(*x.shape[:-1], k - 1)}"
        wrong_value(function, rule, f"state.shape={state.shape} (x.shape={x.shape}, w.shape={w.shape})")
