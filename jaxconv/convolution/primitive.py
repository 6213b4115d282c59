"""The three maps as one JAX primitive: the same rules, registered so that forward mode works too (derivative="any").

    product(a, b)        its derivative is product(ȧ, b) + product(a, ḃ), since it is bilinear;
                         its transpose in a factor is the other map of the two, as for `custom_vjp`

A `custom_vjp` is closed to forward mode; a primitive is open to every transform. The price: `jax.interpreters` and
`jax.extend` are public, but JAX promises less about them than about the rest, and no derivative is left out by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxconv._jax.explicit_sharding import check_once, is_split, num_shards_of, split, under_auto_axes
from jaxconv._jax.unstable import enter
from jaxconv.algorithms.choose import lowered
from jaxconv.algorithms.reference import Map
from jaxconv.convolution.batching import folded, spec
from jaxconv.convolution.config import ConvConfig
from jaxconv.sizes.geometry import Geometry

_product = Primitive("jaxconv")


def product(which: Map, a: Array, b: Array, config: ConvConfig) -> Array:
    """One of the three maps, by name; with what is static of the call."""
    return laid(lambda a, b: _product.bind(a, b, which=which, config=config), which, a, b, config.geometry)


def laid(f: Callable[[Array, Array], Array], which: Map, a: Array, b: Array, geometry: Geometry) -> Array:
    """f(a, b), which makes that map; in explicit mode its sharding is the one that `batching.spec` computes."""
    if not is_split(a, b):
        return f(a, b)
    result = spec(which, split(a), split(b), geometry, num_shards_of(a, b))
    check_once(which, result, "the result", "reshard one of the arrays first, with jax.sharding.reshard")
    return under_auto_axes(lambda a, b: (f(a, b),), (result,), a, b)[0]


def examples_laid(f: Callable[[Array, Array], Array], a: Array, b: Array, geometry: Geometry) -> Array:
    """f(a, b) with a mapped axis before the others; in explicit mode the result's is sharded as the factors' is.

    No other axis is split here: where one is, `laid` has freed them all before `vmap` sees them.
    """
    examples = next((split(each)[0] for each in (a, b) if is_split(each)), None)
    if examples is None:
        return f(a, b)
    result = (examples, *(None,) * (geometry.axes + 2))
    return under_auto_axes(lambda a, b: (f(a, b),), (result,), a, b)[0]


def _value(a: Array, b: Array, *, which: Map, config: ConvConfig) -> Array:
    return lowered(which, a, b, *config)


def _avals(a: Any, b: Any, **how: Any) -> Any:
    """Shape, dtype and mesh axes of the result: those of the form that serves the call."""
    return jax.make_jaxpr(lambda a, b: _value(a, b, **how))(a, b).out_avals[0]


def _in_first(t: Array, a: Any, b: Array, *, which: Map, config: ConvConfig) -> Array:
    """conv: dx from g and w.  conv_input_vjp: ḡ from t and w.  conv_weight_vjp: x̄ from g and t."""
    if which == "conv":
        return product("conv_input_vjp", t, b, config)
    if which == "conv_input_vjp":
        return product("conv", t, b, config)
    return product("conv_input_vjp", b, t, config)


def _in_second(t: Array, a: Array, b: Any, *, which: Map, config: ConvConfig) -> Array:
    """conv: dw from x and g.  conv_input_vjp: w̄ from t and g.  conv_weight_vjp: ḡ from x and t."""
    if which == "conv":
        return product("conv_weight_vjp", a, t, config)
    if which == "conv_input_vjp":
        return product("conv_weight_vjp", t, a, config)
    return product("conv", a, t, config)


def _batched(factors: Any, axes: Any, *, which: Map, config: ConvConfig) -> tuple[Array, int]:
    """See `batching`."""
    mapped = [axis is not None for axis in axes]
    moved = [
        jnp.moveaxis(f, axis, 0) if is_mapped else f for f, axis, is_mapped in zip(factors, axes, mapped, strict=True)
    ]

    def one(which: Map, a: Array, b: Array, geometry: Any) -> Array:
        return product(which, a, b, config._replace(geometry=geometry))

    batched = lambda a, b: folded(one, which, (a, b), mapped, config.geometry)  # noqa: E731
    return examples_laid(batched, moved[0], moved[1], config.geometry), 0


_product.def_impl(jax.jit(_value, static_argnames=("which", "config")))
_product.def_abstract_eval(_avals)
ad.defbilinear(_product, _in_first, _in_second)
batching.primitive_batchers[_product] = _batched
mlir.register_lowering(_product, mlir.lower_fun(_value, multiple_results=False))
enter(_product)
