"""Run by test_sharding.py in a process with eight devices: counts the collectives, compares with one device.

Prints one JSON object, {case: {"all-reduce": …, "all-gather": …, "collective-permute": …, "units": …}}.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from many_devices import collectives

from jaxconv import conv
from jaxconv.rounding import units

KINDS = {
    "dense": (16, 16, {"padding": 1}),
    "strided": (16, 16, {"padding": 1, "stride": 2}),
    "dilated": (16, 16, {"padding": 2, "dilation": 2}),
    "grouped": (16, 16, {"padding": 1, "groups": 4}),
    "depthwise": (16, 16, {"padding": 1, "groups": 16}),
}
COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all")


def pull_back(x, w, g, options):
    """(y, dx, dw)"""
    y, pull = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
    return y, *pull(g)


def distance(results, x, w, g, options):
    """From float64, in units of the error model; the largest of the three."""
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(each), jnp.float64) for each in (x, w, g)]
        squares = pull_back(*(each**2 for each in wide), options)
        exact = pull_back(*wide, options)
    last = options["layout"] == "channels_last"
    per_group = w.shape[-2 if last else 1]
    out = w.shape[-1 if last else 0]
    taps = w.size // (out * per_group)
    lengths = taps * per_group, taps * out // options.get("groups", 1), g.size // out
    return max(
        float(units(np.asarray(r), np.asarray(e), np.asarray(s), n, np.float32).max())
        for r, e, s, n in zip(results, exact, squares, lengths, strict=True)
    )


def spec(layout, batch=None, channel=None, rows=None, columns=None):
    return P(batch, rows, columns, channel) if layout == "channels_last" else P(batch, channel, rows, columns)


def one(kind, layout, mesh, places, *, batch=16, size=32, uneven=False):
    channels, out, options = KINDS[kind]
    options = {**options, "layout": layout}
    last = layout == "channels_last"
    random = np.random.default_rng(0)
    per_group = channels // options.get("groups", 1)
    x = random.standard_normal((batch, size, size, channels) if last else (batch, channels, size, size), np.float32)
    w = random.standard_normal((3, 3, per_group, out) if last else (out, per_group, 3, 3), np.float32)
    g = random.standard_normal(jax.eval_shape(lambda x, w: conv(x, w, **options), x, w).shape, np.float32)
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
    return {**{kind: found.get(kind, 0) for kind in COLLECTIVES}, "units": distance(compiled(*put), x, w, g, options)}


def lax_alone():
    """Largest error of lax's own convolution with batch, rows and output channels over 2x2x2; whole numbers."""
    mesh = jax.make_mesh((2, 2, 2), ("a", "b", "c"), axis_types=(jax.sharding.AxisType.Auto,) * 3)
    random = np.random.default_rng(0)
    x, w, g = (random.integers(-2, 3, s).astype("f") for s in ((16, 16, 32, 32), (16, 16, 3, 3), (16, 16, 32, 32)))

    def f(x, w, g):
        y, pull = jax.vjp(lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), [(1, 1)] * 2), x, w)
        return y, *pull(g)

    into, kernel, out_of = (NamedSharding(mesh, P(*axes)) for axes in (("a", None, "b"), ("c",), ("a", "c", "b")))
    sharded = jax.jit(f, in_shardings=(into, kernel, out_of), out_shardings=(out_of, into, kernel))
    pairs = zip(jax.jit(f)(x, w, g), sharded(x, w, g), strict=True)
    return max(float(abs(np.asarray(one) - np.asarray(many)).max()) for one, many in pairs)


CASES = (  # name, mesh, which array axis lies across which of them
    ("8 batch", (8,), {"batch": "a"}),
    ("8 space", (8,), {"rows": "a"}),
    ("8 channels", (8,), {"channel": "a"}),
    ("8 uneven", (8,), {"rows": "a"}),
    ("4x2 batch-space", (4, 2), {"batch": "a", "rows": "b"}),
    ("2x2x2 all", (2, 2, 2), {"batch": "a", "rows": "b", "columns": "c"}),
    ("2x2x2 out", (2, 2, 2), {"batch": "a", "rows": "b", "channel": "c"}),
)


def main(kinds, layouts):
    results = {}
    for name, shape, places in CASES:
        axes = tuple("abc"[: len(shape)])
        mesh = jax.make_mesh(shape, axes, axis_types=(jax.sharding.AxisType.Auto,) * len(axes))
        uneven = "uneven" in name
        how = {"batch": 3, "size": 27, "uneven": True} if uneven else {}
        for kind in kinds:
            for layout in layouts:
                results[f"{name} {kind} {layout}"] = one(kind, layout, mesh, places, **how)
    results["lax alone"] = lax_alone()
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2].split(","))
