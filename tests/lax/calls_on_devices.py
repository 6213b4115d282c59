"""Run by test_many_devices_lax.py in a process with eight devices: convolutions of lax whose arrays are sharded.

Prints one JSON object, {"way mesh kind": {"off": …, "taken": …, "left": …, and the collectives}}.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxconv
from many_devices import collectives, mesh_of, put

jax.config.update("jax_disable_most_optimizations", True)

NUMBERS = ("NHWC", "HWIO", "NHWC")
KINDS = {"dense": (16, 1), "strided": (16, 2), "grouped": (4, 1)}  # channels of a group, stride
MESHES = {
    "batch": ((8,), P("i"), P()),
    "batch and channels": ((4, 2), P("i"), P(None, None, None, "j")),
    "explicit": ((8,), P("i"), P()),
}


def gradients(convolve, per_group, stride):
    def loss(x, w):
        groups = 16 // per_group
        y = convolve(x, w, (stride,) * 2, "SAME", dimension_numbers=NUMBERS, feature_group_count=groups)
        return jnp.sum(jnp.sin(y))

    return jax.grad(loss, (0, 1))


def run(way, name, kind):
    sizes, of_x, of_w = MESHES[name]
    per_group, stride = KINDS[kind]
    random = np.random.default_rng(0)
    x = random.standard_normal((8, 8, 8, 16), np.float32)
    w = random.standard_normal((3, 3, per_group, 16), np.float32)
    right = gradients(lax.conv_general_dilated, per_group, stride)(x, w)
    mesh = mesh_of(*sizes, kind=AxisType.Explicit if name == "explicit" else AxisType.Auto)
    convolve = jaxconv.conv_general_dilated if way == "drop-in" else lax.conv_general_dilated
    with jax.set_mesh(mesh), jaxconv.accelerate() as handle:
        arrays = put(x, mesh, of_x), put(w, mesh, of_w)
        compiled = jax.jit(gradients(convolve, per_group, stride)).lower(*arrays).compile()
        got = compiled(*arrays)
    report = handle.report()
    off = max(float(jnp.abs(np.asarray(a) - b).max() / jnp.abs(b).max()) for a, b in zip(got, right, strict=True))
    taken, left = (sum(row.times for row in rows) for rows in report)
    return {"off": off, "taken": taken, "left": left, "why": [row.why for row in report.left], **collectives(compiled)}


def manual(way):
    """Inside jax.shard_map, the gradient of w summed over the shards."""
    convolve = jaxconv.conv_general_dilated if way == "drop-in" else lax.conv_general_dilated
    x, w = jnp.sin(jnp.arange(8 * 8 * 8 * 4.0)).reshape(8, 8, 8, 4), jnp.ones((3, 3, 1, 4))

    def loss(convolve):
        return lambda x, w: jnp.sum(
            convolve(x, w, (2, 2), "SAME", dimension_numbers=NUMBERS, feature_group_count=4) ** 2
        )

    f = jax.shard_map(
        lambda x, w: lax.psum(loss(convolve)(x, w), "i"), mesh=mesh_of(8), in_specs=(P("i"), P()), out_specs=P()
    )
    right = jax.grad(loss(lax.conv_general_dilated), (0, 1))(x, w)
    with jaxconv.accelerate() as handle:
        got = jax.jit(jax.grad(f, (0, 1)))(x, w)
    off = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(got, right, strict=True))
    taken, left = (sum(row.times for row in rows) for rows in handle.report())
    return {"off": off, "taken": taken, "left": left}


if __name__ == "__main__":
    ways = "accelerate", "drop-in"
    found = {f"{way} {mesh} {kind}": run(way, mesh, kind) for way in ways for mesh in MESHES for kind in KINDS}
    print(json.dumps(found | {f"{way} shard_map": manual(way) for way in ways}))
