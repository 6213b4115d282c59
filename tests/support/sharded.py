"""Run by test_sharding.py in a process with eight devices: counts the collectives, compares with one device.

Prints one JSON object, {case: {"all-reduce": …, "all-gather": …, "collective-permute": …, "units": …}}.
"""

import json
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import conv
from jaxconv.accuracy.error_model import units
from many_devices import collectives

# As conftest.py does for the modules marked so, of which pytest does not run this one.
jax.config.update("jax_disable_most_optimizations", True)

KINDS = {
    "dense": (16, 16, {"padding": 1}),
    "strided": (16, 16, {"padding": 1, "stride": 2}),
    "dilated": (16, 16, {"padding": 2, "dilation": 2}),
    "grouped": (16, 16, {"padding": 1, "groups": 4}),
    "depthwise": (16, 16, {"padding": 1, "groups": 16}),
    "wide": (8, 24, {"padding": 4, "dilation": 2, "groups": 2, "kernel": 5}),
}
COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all")


def pull_back(x, w, g, options):
    """(y, dx, dw)"""
    y, pull = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
    return y, *pull(g)


@cache
def drawn(kind, layout, batch, size):
    """Options, (x, w, g), and for each result its exact value, Σ terms² and L: shared by all meshes."""
    channels, out, options = KINDS[kind]
    options = {**options, "layout": layout}
    k, last, per_group = options.pop("kernel", 3), layout == "channels_last", channels // options.get("groups", 1)
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, size, size, channels) if last else (batch, channels, size, size), np.float32)
    w = random.standard_normal((k, k, per_group, out) if last else (out, per_group, k, k), np.float32)
    g = random.standard_normal(jax.eval_shape(lambda x, w: conv(x, w, **options), x, w).shape, np.float32)
    with jax.enable_x64(True):
        plain = jax.jit(lambda *a: pull_back(*a, {**options, "lowering": "reference", "derivative": "jax"}))
        wide = [jnp.asarray(each, jnp.float64) for each in (x, w, g)]
        exact, squares = plain(*wide), plain(*(each**2 for each in wide))
    lengths = k * k * per_group, k * k * out // options.get("groups", 1), g.size // out
    return options, (x, w, g), list(zip(map(np.asarray, exact), map(np.asarray, squares), lengths, strict=True))


def distance(results, right):
    """From float64, in units of the error model; the largest of the three."""
    pairs = zip(results, right, strict=True)
    return max(float(units(np.asarray(r), *each, np.float32).max()) for r, each in pairs)


def spec(layout, batch=None, channel=None, rows=None, columns=None):
    return P(batch, rows, columns, channel) if layout == "channels_last" else P(batch, channel, rows, columns)


def one(kind, layout, mesh, places, *, batch=8, size=32, uneven=False):
    options, (x, w, g), right = drawn(kind, layout, batch, size)
    last = layout == "channels_last"
    into = NamedSharding(mesh, spec(layout, **{k: v for k, v in places.items() if k != "channel"}))
    out_of = NamedSharding(mesh, spec(layout, **places))
    if "channel" in places:
        name = places["channel"]
        kernel = NamedSharding(mesh, P(None, None, None, name) if last else P(name))
    else:
        kernel = NamedSharding(mesh, P())
    shardings = into, kernel, out_of
    if uneven:  # which arguments of a jitted function cannot be, its intermediate values can

        def constrained(x, w, g):
            x, w, g = (jax.lax.with_sharding_constraint(a, s) for a, s in zip((x, w, g), shardings, strict=True))
            y, dx, dw = pull_back(x, w, g, options)
            return jax.lax.with_sharding_constraint(y, out_of), jax.lax.with_sharding_constraint(dx, into), dw

        program = jax.jit(constrained)
    else:
        results = (out_of, into, kernel)
        program = jax.jit(lambda *a: pull_back(*a, options), in_shardings=shardings, out_shardings=results)
    compiled = program.lower(x, w, g).compile()
    put = (x, w, g) if uneven else [jax.device_put(a, s) for a, s in zip((x, w, g), shardings, strict=True)]
    found = collectives(compiled)
    return {**{kind: found.get(kind, 0) for kind in COLLECTIVES}, "units": distance(compiled(*put), right)}


CASES = (  # name, mesh, which array axis lies across which of them
    ("8 batch", (8,), {"batch": "a"}),
    ("8 space", (8,), {"rows": "a"}),
    ("8 channels", (8,), {"channel": "a"}),
    ("8 uneven", (8,), {"rows": "a"}),
    ("4x2 batch-space", (4, 2), {"batch": "a", "rows": "b"}),
    ("4x2 out-rows", (4, 2), {"channel": "a", "rows": "b"}),
    ("2x2x2 all", (2, 2, 2), {"batch": "a", "rows": "b", "columns": "c"}),
    ("2x2x2 uneven", (2, 2, 2), {"batch": "a", "rows": "b", "columns": "c"}),
    ("2x2x2 out", (2, 2, 2), {"batch": "a", "rows": "b", "channel": "c"}),
)


def main(kinds, layouts, counted):
    results = {}
    for at, (name, shape, places) in enumerate(CASES):
        axes = tuple("abc"[: len(shape)])
        mesh = jax.make_mesh(shape, axes, axis_types=(jax.sharding.AxisType.Auto,) * len(axes))
        uneven = "uneven" in name
        how = {"batch": 3, "size": 27, "uneven": True} if uneven else {}
        for k, kind in enumerate(kinds):
            # Collectives are counted in every layout; numbers alone are asked of every other kind, in one of them.
            in_turn = [layouts[(at + k // 2) % len(layouts)]] if (at + k) % 2 == 0 else []
            for layout in layouts if name in counted else in_turn:
                results[f"{name} {kind} {layout}"] = one(kind, layout, mesh, places, **how)
    print(json.dumps(results))


if __name__ == "__main__":
    main(*(each.split(",") for each in sys.argv[1:]))
