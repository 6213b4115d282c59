"""Dense Jacobians of a convolution, small ones to look at."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv.convolution.api import conv


def conv_input_jacobian(x: Array, w: Array, **options: Any) -> Array:
    """Jacobian of a convolution with respect to its input, dense.

        ∂y[b,o,p]/∂x[b,i,j] = w[o, i, q]  where s·p + d·q − lo = j for a tap q, else 0

    Row (b,o,p) is `conv_input_vjp` of the cotangent that is 1 there and 0 elsewhere.

    Args:
        x, w: as in `conv`.
        **options: as in `conv`.

    Returns:
        y.shape + x.shape.

    Raises:
        TypeError, ValueError: as `conv`.

    Source: the formula of `conv`, differentiated in x.

    >>> import jax.numpy as jnp
    >>> conv_input_jacobian(jnp.zeros((1, 5)), jnp.array([[[1.0, 2.0, 3.0]]]), stride=2)[0, :, 0]
    Array([[1., 2., 3., 0., 0.],
           [0., 0., 1., 2., 3.]], dtype=float32)
    """
    return _rows(lambda x: conv(x, w, **options), x)


def conv_weight_jacobian(x: Array, w: Array, **options: Any) -> Array:
    """Jacobian of a convolution with respect to its kernel, dense.

        ∂y[b,o,p]/∂w[o,i,q] = x[b, i, s·p + d·q − lo],  0 for another output channel

    Row (b,o,p) is `conv_weight_vjp` of the cotangent that is 1 there and 0 elsewhere.

    Args:
        x, w: as in `conv`.
        **options: as in `conv`.

    Returns:
        y.shape + w.shape.

    Raises:
        TypeError, ValueError: as `conv`.

    Source: the formula of `conv`, differentiated in w.

    >>> import jax.numpy as jnp
    >>> conv_weight_jacobian(jnp.arange(5.0).reshape(1, 5), jnp.zeros((1, 1, 3)), stride=2)[0, :, 0, 0]
    Array([[0., 1., 2.],
           [2., 3., 4.]], dtype=float32)
    """
    return _rows(lambda w: conv(x, w, **options), w)


def _rows(f: Any, at: Array) -> Array:
    """The Jacobian of f, one pull-back per element of its value."""
    y, pull_back = jax.vjp(f, at)
    (rows,) = jax.vmap(pull_back)(_units(y.shape, y.dtype))
    return rows.reshape(*y.shape, *at.shape)


@partial(jax.jit, static_argnums=(0, 1))  # eagerly its scalars would be sent to the device one by one
def _units(shape: tuple[int, ...], dtype: Any) -> Array:
    """Every array of that shape that is 1 in one place and 0 elsewhere."""
    return jnp.eye(prod(shape), dtype=dtype).reshape(prod(shape), *shape)
