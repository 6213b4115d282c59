"""What `jax.grad` makes: of lax's convolution, of flax's and equinox's layers, and of two plain scans."""

from __future__ import annotations

import time

import arrays
import jax
import jax.numpy as jnp
import nets_jax
from jax import lax


def start(name: str) -> dict:
    """Import what is needed; the versions."""
    framework = name.split("_")[0]
    if framework not in ("flax", "equinox"):
        return {"jax": jax.__version__}
    module = __import__(framework)
    return {framework: module.__version__, "jax": jax.__version__}


def build(name: str, call: dict) -> tuple:
    """The compiled call, and compile seconds and temporaries' bytes; kept bytes of a recurrence's gradient."""
    if "nodes" in call:
        return nets_jax.build(name, call)
    if call["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    function, inputs, facts = (_recurrence if "steps" in call else _convolution)(name, call)
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    facts["compile"] = time.perf_counter() - begin
    analysis = compiled.memory_analysis()
    facts["temporaries"] = None if analysis is None else analysis.temp_size_in_bytes
    return lambda: jax.block_until_ready(compiled(*inputs)), facts


def _convolution(name: str, call: dict) -> tuple:
    x, w, g = (jnp.asarray(a).astype(call["dtype"]) for a in arrays.convolution(call))
    last = call["layout"] == "channels_last" or name == "flax"
    if last:
        x, g, w = jnp.moveaxis(x, 1, -1), jnp.moveaxis(g, 1, -1), jnp.moveaxis(w, (0, 1), (-1, -2))
    value = {"lax": _lax, "flax": _flax, "equinox": _equinox}[name](call, last)
    if call["map"] == "y":
        return value, (x, w), {}
    if call["map"] == "dx":
        return (lambda x, w, g: jax.vjp(lambda x: value(x, w), x)[1](g)[0]), (x, w, g), {}
    return (lambda x, w, g: jax.vjp(lambda w: value(x, w), w)[1](g)[0]), (x, w, g), {}


def _lax(call: dict, last: bool):
    axes = "DHW"[-(len(call["x"]) - 2) :]
    array, kernel = (f"N{axes}C", f"{axes}IO") if last else (f"NC{axes}", f"OI{axes}")

    def value(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            arrays.per_axis(call, "stride"),
            [(p, p) for p in arrays.per_axis(call, "padding")],
            rhs_dilation=arrays.per_axis(call, "dilation"),
            dimension_numbers=(array, kernel, array),
            feature_group_count=call["groups"],
        )

    return value


def _flax(call: dict, last: bool):
    from flax import linen

    layer = linen.Conv(
        call["w"][0],
        call["w"][2:],
        arrays.per_axis(call, "stride"),
        [(p, p) for p in arrays.per_axis(call, "padding")],
        kernel_dilation=arrays.per_axis(call, "dilation"),
        feature_group_count=call["groups"],
        use_bias=False,
        dtype=call["dtype"],
    )
    return lambda x, w: layer.apply({"params": {"kernel": w}}, x)


def _equinox(call: dict, last: bool):
    import equinox

    if last:
        raise ValueError("its layers have channels first")
    keys = {key: arrays.per_axis(call, key) for key in ("stride", "padding", "dilation")}
    keys["groups"] = call["groups"]
    sizes = len(call["x"]) - 2, call["x"][1], call["w"][0], tuple(call["w"][2:])
    layer = equinox.nn.Conv(*sizes, **keys, use_bias=False, key=jax.random.key(0))
    return lambda x, w: jax.vmap(equinox.tree_at(lambda layer: layer.weight, layer, w))(x)


def _recurrence(name: str, call: dict) -> tuple:
    x, *params, g = (jnp.asarray(a).astype(call["dtype"]) for a in arrays.recurrence(call))
    if name in ("plain", "hoisted"):
        value = _hoisted if name == "hoisted" else _plain
        if call["cell"] != "gated":
            value = _scan_of(call["cell"], name == "hoisted")
    else:
        params, value = {"flax": _flax_rnn, "flax_gru": _flax_gru, "equinox_gru": _equinox_gru}[name](call)
    if call["map"] == "h":
        return value, (params, x), {}
    _, pull = jax.vjp(value, params, x)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pull))
    return (lambda params, x, g: jax.vjp(value, params, x)[1](g)), (params, x, g), {"kept": kept}


def _plain(params, x):
    """c = σ(W_c x + W_h h), h ← c h + (1 − c) W_x x, all of it inside the scan."""
    w_c, w_h, w_x = params

    def step(h, x):
        c = jax.nn.sigmoid(x @ w_c.T + h @ w_h.T)
        h = c * h + (1 - c) * (x @ w_x.T)
        return h, h

    return lax.scan(step, jnp.zeros((x.shape[1], w_h.shape[0]), x.dtype), x)[1]


def _hoisted(params, x):
    """The same with W_c x and W_x x made before the scan."""
    w_c, w_h, w_x = params

    def step(h, projected):
        a, v = projected
        c = jax.nn.sigmoid(a + h @ w_h.T)
        h = c * h + (1 - c) * v
        return h, h

    return lax.scan(step, jnp.zeros((x.shape[1], w_h.shape[0]), x.dtype), (x @ w_c.T, x @ w_x.T))[1]


def _scan_of(cell: str, hoisted: bool):
    """A GRU or an LSTM, the projections of x before the scan or inside it."""

    def gru(h, p, q):
        (r, z), (q_r, q_z) = (jnp.split(a[..., : -h.shape[-1]], 2, -1) for a in (p, q))
        r, z = jax.nn.sigmoid(r + q_r), jax.nn.sigmoid(z + q_z)
        n = jnp.tanh(p[..., -h.shape[-1] :] + r * q[..., -h.shape[-1] :])
        return (1 - z) * n + z * h

    def lstm(c, p, q):
        i, f, g, o = jnp.split(p + q, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return c, jax.nn.sigmoid(o) * jnp.tanh(c)

    def value(params, x):
        w_ih, w_hh, b_ih, b_hh = params
        zero = jnp.zeros((x.shape[1], w_hh.shape[1]), x.dtype)

        def project(x):
            return x @ w_ih.T + b_ih

        def step(carry, p):
            p = p if hoisted else project(p)
            if cell == "gru":
                h = gru(carry, p, carry @ w_hh.T + b_hh)
                return h, h
            c, h = lstm(carry[1], p, carry[0] @ w_hh.T + b_hh)
            return (h, c), h

        return lax.scan(step, zero if cell == "gru" else (zero, zero), project(x) if hoisted else x)[1]

    return value


def _flax_rnn(call: dict):
    """flax's nnx.RNN around its GRUCell or its OptimizedLSTMCell."""
    from flax import nnx

    cell = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}[call["cell"]]
    layer = nnx.RNN(cell(call["n"], call["m"], rngs=nnx.Rngs(0)), time_major=True)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    zero = jnp.zeros((call["batch"], call["m"]), call["dtype"])
    start = zero if call["cell"] == "gru" else (zero, zero)  # without one it is drawn, from a count within the layer
    return params, lambda params, x: nnx.merge(graph, params, rest)(x, initial_carry=start)


def _flax_gru(call: dict):
    from flax import linen

    cell = linen.GRUCell(call["m"])
    zero = jnp.zeros((call["batch"], call["m"]), call["dtype"])
    params = cell.init(jax.random.key(0), zero, jnp.zeros((call["batch"], call["n"]), call["dtype"]))
    return params, lambda params, x: lax.scan(lambda h, x: cell.apply(params, h, x), zero, x)[1]


def _equinox_gru(call: dict):
    import equinox

    cell = equinox.nn.GRUCell(call["n"], call["m"], key=jax.random.key(0))
    params, rest = equinox.partition(cell, equinox.is_array)
    zero = jnp.zeros((call["batch"], call["m"]), call["dtype"])

    def value(params, x):
        step = jax.vmap(equinox.combine(params, rest))

        def body(h, x):
            h = step(x, h)
            return h, h

        return lax.scan(body, zero, x)[1]

    return params, value
