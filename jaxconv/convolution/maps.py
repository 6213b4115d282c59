"""Convolution and its two gradients: one trilinear form, three bilinear maps, each the derivative of the others.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    y = conv(x, w) = ∂T/∂g        dx = conv_input_vjp(g, w) = ∂T/∂x        dw = conv_weight_vjp(x, g) = ∂T/∂w

Letters, per spatial axis: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size.
g, dx, dw are cotangents; t is the cotangent of a cotangent. Each sum, with its paddings, stands in
`jaxconv.algorithms.reference`; the rules are registered below by `WithRule`, which is `jax.custom_vjp` where a
cotangent that is zero is not computed with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxconv._jax.dtypes import accumulator
from jaxconv._jax.explicit_sharding import as_primal
from jaxconv._jax.symbolic_zeros import WithRule, instantiate_zeros, is_perturbed, perturbed, primals
from jaxconv._jax.unstable import vmap_rule_of
from jaxconv.algorithms.choose import lowered
from jaxconv.algorithms.reference import Map
from jaxconv.convolution.batching import folded
from jaxconv.convolution.config import ConvConfig
from jaxconv.convolution.primitive import examples_laid, laid


@partial(WithRule, nondiff_argnums=(2,))
def conv(x: Array, w: Array, config: ConvConfig) -> Array:
    return _map("conv", x, w, config)


@partial(WithRule, nondiff_argnums=(2,))
def input_vjp(g: Array, w: Array, config: ConvConfig) -> Array:
    return _map("conv_input_vjp", g, w, config)


@partial(WithRule, nondiff_argnums=(2,))
def weight_vjp(x: Array, g: Array, config: ConvConfig) -> Array:
    return _map("conv_weight_vjp", x, g, config)


def _map(which: Map, a: Array, b: Array, config: ConvConfig) -> Array:
    """The map, by the algorithm that `choose` selects; under `vmap` again one such map (see `batching`)."""

    def one(a: Array, b: Array) -> Array:
        return lowered(which, a, b, *config)

    def many(size: int, mapped: list[bool], a: Array, b: Array) -> tuple[Array, bool]:
        if which == "conv_weight_vjp" and all(mapped) and config.geometry.groups == 1 and size:
            # One product of all examples' patches, as JAX batches it: on JAX 0.10 twice as fast as groups.
            return jax.vmap(lambda a, b: lowered(which, a, b, *config, mapped=True))(a, b), True
        again = lambda which, a, b, geometry: _map(which, a, b, config._replace(geometry=geometry))  # noqa: E731
        return folded(again, which, (a, b), mapped, config.geometry), True

    if not any(isinstance(each, jax.core.Tracer) for each in (a, b)):
        # Nothing is mapped here, and `jax.debug_nans` does not look into a `custom_vmap`.
        return laid(one, which, a, b, config.geometry)
    mappable = jax.custom_batching.custom_vmap(one)

    def rule(size: int, mapped: list[bool], a: Array, b: Array) -> tuple[Array, bool]:
        return examples_laid(lambda a, b: many(size, mapped, a, b)[0], a, b, config.geometry), True

    mappable.def_vmap(vmap_rule_of(which, rule))
    return laid(mappable, which, a, b, config.geometry)


Bilinear = Callable[[Array, Array, ConvConfig], Array]


def _register(product: Any, first: Bilinear, second: Bilinear) -> None:
    """Give product(a, b) its two derivatives: first(t, b) for a and second(a, t) for b, t the cotangent.

    A derivative that nobody asked for is not computed. Both factors are kept all the same: what is kept must not
    depend on what was asked for (see `jaxconv._jax.symbolic_zeros`).
    """

    def forward(a: Any, b: Any, config: ConvConfig) -> tuple[Array, tuple]:
        marks = perturbed((a, b))
        a, b = primals((a, b))
        return product(a, b, config), (a, b, marks)

    def backward(config: ConvConfig, kept: tuple, t: Any) -> tuple[Array | None, Array | None]:
        a, b, (for_a, for_b) = kept
        t = instantiate_zeros(t)
        da = as_primal(first(t, b, config), a) if is_perturbed(for_a) else None
        return da, as_primal(second(a, t, config), b) if is_perturbed(for_b) else None

    product.defvjp(forward, backward)


# The whole calculus. Each line: a product, its derivative in the first factor, its derivative in the second.
_register(conv, lambda g, w, config: input_vjp(g, w, config), lambda x, g, config: weight_vjp(x, g, config))
_register(input_vjp, lambda t, w, config: conv(t, w, config), lambda g, t, config: weight_vjp(t, g, config))
_register(weight_vjp, lambda t, g, config: input_vjp(g, t, config), lambda x, t, config: conv(x, t, config))


def plus_bias(y: Array, b: Array, channel_axis: int) -> Array:
    """y[b,o,p] + b[o]"""
    return y + jnp.expand_dims(b, tuple(a for a in range(y.ndim) if a != channel_axis))


add_bias = WithRule(plus_bias, nondiff_argnums=(2,))


def _add_bias_forward(y: Any, b: Any, channel_axis: int) -> tuple[Array, tuple]:
    return add_bias(y.value, b.value, channel_axis), (b.value, perturbed(b))


def _add_bias_backward(channel_axis: int, kept: tuple, g: Any) -> tuple[Array, Array | None]:
    """dy = g,  db[o] = Σ_{b,p} g[b,o,p]"""
    b, for_b = kept
    g = instantiate_zeros(g)
    others = tuple(a for a in range(g.ndim) if a != channel_axis)
    if not is_perturbed(for_b):
        return g, None
    return g, as_primal(jnp.sum(g, others, dtype=accumulator(g.dtype)).astype(g.dtype), b)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)
