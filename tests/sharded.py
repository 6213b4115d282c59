"""Run by test_sharding.py in a process with eight devices: counts the collectives, compares with one device.

Prints one JSON object, {case: {"all-reduce": …, "all-gather": …, "collective-permute": …, "units": …}}.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxconv import conv, conv_input_vjp, conv_weight_vjp
from jaxconv.rounding import units

KINDS = {
    "dense": (16, 16, {"padding": 1}),
    "strided": (16, 16, {"padding": 1, "stride": 2}),
    "dilated": (16, 16, {"padding": 2, "dilation": 2}),
    "grouped": (16, 16, {"padding": 1, "groups": 4}),
    "depthwise": (16, 16, {"padding": 1, "groups": 16}),
}
MESHES = {"8": ((8,), "a"), "4x2": ((4, 2), "ab"), "2x2x2": ((2, 2, 2), "abc")}
COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all")


def pull_back(x, w, g, options):
    """(y, dx, dw)"""
    y, pull = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
    return y, *pull(g)


def counted(text):
    return {name: len(re.findall(rf"= \S+ {name}(?:-start)?\(|= \(.*\) {name}(?:-start)?\(", text)) for name in COLLECTIVES}


def distance(results, x, w, g, options):
    """From float64, in units of the error model; the largest of the three."""
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(each), jnp.float64) for each in (x, w, g)]
        squares = pull_back(*(each**2 for each in wide), options)
        exact = pull_back(*wide, options)
    last = options["layout"] == "channels_last"
    per_group = w.shape[-2 if last else 1]
    taps = w.size // (w.shape[-1 if last else 0] * per_group)
    lengths = taps * per_group, taps * g.shape[-1 if last else 1] // options.get("groups", 1), g.size // g.shape[-1 if last else 1]
    return max(
        float(units(np.asarray(r), np.asarray(e), np.asarray(s), n, np.float32).max())
        for r, e, s, n in zip(results, exact, squares, lengths, strict=True)
    )


def spec(layout, batch=None, channel=None, rows=None, columns=None):
    return P(batch, rows, columns, channel) if layout == "channels_last" else P(batch, channel, rows, columns)


def one(kind, layout, mesh, places, *, batch=16, size=32):
    channels, out, options = KINDS[kind]
    options = {**options, "layout": layout}
    last = layout == "channels_last"
    random = np.random.default_rng(0)
    per_group = channels // options.get("groups", 1)
    x = random.standard_normal((batch, size, size, channels) if last else (batch, channels, size, size), np.float32)
    w = random.standard_normal((3, 3, per_group, out) if last else (out, per_group, 3, 3), np.float32)
    g = random.standard_normal(jax.eval_shape(lambda x, w: conv(x, w, **options), x, w).shape, np.float32)
    into, out_of = (NamedSharding(mesh, spec(layout, **{k: v for k, v in places.items() if k != drop})) for drop in ("channel", ""))
    if "channel" in places:
        name = places["channel"]
        kernel = NamedSharding(mesh, P(None, None, None, name) if last else P(name))
    else:
        kernel = NamedSharding(mesh, P())
    program = jax.jit(
        lambda x, w, g: pull_back(x, w, g, options),
        in_shardings=(into, kernel, out_of),
        out_shardings=(out_of, into, kernel),
    )
    compiled = program.lower(x, w, g).compile()
    put = [jax.device_put(a, s) for a, s in zip((x, w, g), (into, kernel, out_of), strict=True)]
    results = compiled(*put)
    return {**counted(compiled.as_text()), "units": distance(results, x, w, g, options)}


def main(kinds, layouts):
    results = {}
    for name, (shape, axes) in MESHES.items():
        mesh = jax.make_mesh(shape, tuple(axes), axis_types=(jax.sharding.AxisType.Auto,) * len(axes))
        cases = {"8": {"batch": {"batch": "a"}, "space": {"rows": "a"}, "channels": {"channel": "a"}}}.get(
            name, {"batch-space": {"batch": "a", "rows": "b"}} if name == "4x2" else {"all": {"batch": "a", "rows": "b", "columns": "c"}}
        )
        for how, places in cases.items():
            for kind in kinds:
                for layout in layouts:
                    size = {"8 uneven": 27}.get(f"{name} {how}", 32)
                    results[f"{name} {how} {kind} {layout}"] = one(kind, layout, mesh, places, size=size)
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2].split(","))
