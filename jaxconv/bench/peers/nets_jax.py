"""A net's training step in JAX: loss, gradients and SGD in one compiled program, for any function that convolves."""

from __future__ import annotations

import time
from functools import reduce

import jax
import jax.numpy as jnp
import nets_shared
import numpy as np
from jax import lax

RATE = 1e-4


def build(name: str, call: dict) -> tuple:
    """The step with lax's convolution."""
    return built(call, convolution)


def built(call: dict, conv) -> tuple:
    """The compiled step, and compile seconds and temporaries' bytes.

    `conv(node, x, w, b, layout)`; loss and gradients go to the file call["save"].
    """
    given = inputs(call)
    begin = time.perf_counter()
    compiled = jax.jit(step(call, conv)).lower(*given).compile()
    facts = {"compile": time.perf_counter() - begin}
    analysis = compiled.memory_analysis()
    facts["temporaries"] = None if analysis is None else analysis.temp_size_in_bytes
    if "save" in call:
        nets_shared.save(call["save"], *differentiated(call, compiled, given))
    return lambda: jax.block_until_ready(compiled(*given)), facts


def inputs(call: dict) -> tuple:
    """Weights, x, labels and rate, in the layout of the call."""
    last = call["layout"] == "channels_last"
    x, labels, weights = nets_shared.draw(call)
    return jax.tree.map(jnp.asarray, ([_laid(w, last) for w in weights], _channels_last(x, last), labels, RATE))


def differentiated(call: dict, one, given: tuple) -> tuple:
    """Loss and gradients, channels first, of a `step`: at so large a rate, a power of 2, new weights are gradients."""
    large = 2.0**20
    loss, new = one(*given[:3], jnp.float32(large))
    gradients = [(w - n) / large for w, n in zip(given[0], new)]  # noqa: B905
    return float(loss), [np.asarray(_laid(g, call["layout"] == "channels_last", back=True)) for g in gradients]


def step(call: dict, conv):
    """(weights, x, labels, rate) → loss, weights − rate · gradients. Weights are not donated: that is slower."""
    by_name, first = operations(call["layout"], conv), call["layout"] == "channels_first"

    def loss(weights, x, labels):
        logits = _channels_last(nets_shared.walk(call, x, weights, by_name), first)
        chosen = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
        return jnp.mean(jax.nn.logsumexp(logits, -1) - chosen)

    def one(weights, x, labels, rate):
        value, gradients = jax.value_and_grad(loss)(weights, x, labels)
        return value, [w - rate * g for w, g in zip(weights, gradients)]  # noqa: B905

    return one


def convolution(node: dict, x, w, b, layout: str):
    """lax's own."""
    axes, last = "DHW"[5 - x.ndim :], layout == "channels_last"
    array, kernel = (f"N{axes}C", f"{axes}IO") if last else (f"NC{axes}", f"OI{axes}")
    y = lax.conv_general_dilated(
        x,
        w,
        (node["stride"],) * len(axes),
        [(node["padding"],) * 2] * len(axes),
        dimension_numbers=(array, kernel, array),
        feature_group_count=node["groups"],
    )
    return y + (b if last else b.reshape(-1, *[1] * len(axes)))


def _pool(node: dict, x, last: bool):
    """The largest in each window, one axis after the other: the gradient of `lax.reduce_window` is slow."""
    k, s, p = node["window"], node["stride"], node["padding"]
    for axis in _space(x, last):
        edges = [(p, p, 0) if each == axis else (0, 0, 0) for each in range(x.ndim)]
        x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
        m = (x.shape[axis] - k) // s + 1
        x = reduce(jnp.maximum, (lax.slice_in_dim(x, q, q + s * (m - 1) + 1, s, axis) for q in range(k)))
    return x


def _upsample(node: dict, x, last: bool):
    for axis in _space(x, last):
        x = jnp.repeat(x, node["factor"], axis)
    return x


def operations(layout: str, conv) -> dict:
    """By the name of a node's op."""
    last = layout == "channels_last"
    return {
        "conv": lambda node, x, w, b: conv(node, x, w, b, layout),
        "pool": lambda node, x: _pool(node, x, last),
        "upsample": lambda node, x: _upsample(node, x, last),
        "relu": lambda node, x: jax.nn.relu(x),
        "add": lambda node, a, b: a + b,
        "concat": lambda node, a, b: jnp.concatenate([a, b], -1 if last else 1),
        "mean": lambda node, x: jnp.mean(x, _space(x, last)),
        "dense": lambda node, x, w, b: x @ w + b,
    }


def _space(x, last: bool) -> tuple:
    return tuple(range(1, x.ndim - 1) if last else range(2, x.ndim))


def _channels_last(x, move: bool):
    return jnp.moveaxis(x, 1, -1) if move and x.ndim > 2 else x


def _laid(w, last: bool, back: bool = False):
    """Weights (out, in/groups, *kernel) as the layout has them, or `back`; those of a dense layer (in, out)."""
    if w.ndim == 1:
        return w
    if last or w.ndim == 2:
        return jnp.moveaxis(w, (-1, -2), (0, 1)) if back else jnp.moveaxis(w, (0, 1), (-1, -2))
    return w
