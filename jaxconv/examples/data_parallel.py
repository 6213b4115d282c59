"""Data-parallel training of a convolution and a recurrence, on one process or many: a program to start from.

    python -m jaxconv.examples.data_parallel                        on all devices of this process
    python -m jaxconv.examples.data_parallel --processes 2 --process 0 --coordinator 127.0.0.1:9911
    python -m jaxconv.examples.data_parallel --processes 2 --process 1 --coordinator 127.0.0.1:9911

The last two, at the same time, are one training on two processes; on several machines 127.0.0.1 is the first one's
address. Every process draws its own share of the batch, all hold the same parameters, and each step has one all-reduce.

A process that dies ends the others with an error: at once if its connections close, else after --timeout seconds
without a heartbeat. One that is missing at the start does so after --timeout seconds too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv import GatedParams, conv, gated_init, gated_scan, global_batch
from jaxconv.parallel.collectives import collectives, least_bytes
from jaxconv.terminal.output import write_whole

LENGTH, CHANNELS, FEATURES, STATE, CLASSES = 64, 4, 16, 32, 5
BATCH = 32  # examples of one device
RATE = 0.3


class Params(NamedTuple):
    """A kernel (out, in, 5) with its bias, the recurrence, and a matrix (classes, m)."""

    w: Array
    b: Array
    cell: GatedParams
    out: Array


def initial(seed: int) -> Params:
    """The same on every process, since the seed is."""
    for_w, for_cell, for_out = jax.random.split(jax.random.key(seed), 3)
    w = jax.random.normal(for_w, (FEATURES, CHANNELS, 5), jnp.float32) / (5 * CHANNELS) ** 0.5
    out = jax.random.normal(for_out, (CLASSES, STATE), jnp.float32) / STATE**0.5
    return Params(w, jnp.zeros(FEATURES, jnp.float32), gated_init(for_cell, FEATURES, STATE), out)


def loss(params: Params, x: Array, labels: Array) -> Array:
    """Mean of −log p(label) over a batch: signal → convolution → recurrence → classes."""
    seen = jax.nn.relu(conv(x, params.w, params.b, stride=2, padding="SAME"))  # (batch, features, time)
    last, _ = gated_scan(params.cell, jnp.moveaxis(seen, -1, 0))
    log_p = jax.nn.log_softmax(last @ params.out.T)
    return -jnp.mean(jnp.sum(log_p * jax.nn.one_hot(labels, CLASSES), -1))


@partial(jax.jit, static_argnames="mesh")
def step(params: Params, x: Array, labels: Array, *, mesh: Mesh) -> tuple[Params, Array, Params]:
    """One step of gradient descent; also the loss and the gradient, means over all devices.

    Within `jax.shard_map` a device sees its own share alone, so that the one sum over devices comes last. (Under jit
    alone the partitioner finds it, but where the recurrence is long it sums in every block of time.)
    """

    def mean(params: Params, x: Array, labels: Array) -> Array:
        return lax.pmean(loss(params, x, labels), "data")

    whole, split = PartitionSpec(), PartitionSpec("data")
    over_all = jax.shard_map(mean, mesh=mesh, in_specs=(whole, split, split), out_specs=whole)
    value, gradient = jax.value_and_grad(over_all)(params, x, labels)
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient), value, gradient


def examples(seed: int, step: int, first: int, count: int) -> dict[str, np.ndarray]:
    """`count` examples from the `first` on of the batch of a step: noise with a wave whose frequency is the label."""

    def one(number: int) -> tuple[np.ndarray, int]:
        random = np.random.default_rng((seed, step, number))
        label = int(random.integers(CLASSES))
        wave = np.sin(np.arange(LENGTH) * (label + 1) / 4 + random.uniform(0, 6))
        return (wave + random.normal(0, 0.5, (CHANNELS, LENGTH))).astype(np.float32), label

    x, labels = zip(*map(one, range(first, first + count)), strict=True)
    return {"x": np.stack(x), "labels": np.array(labels)}


def start(coordinator: str, processes: int, process: int, timeout: int) -> None:
    """Join the other processes; raises or ends the process where one of them is missing or dies, within `timeout`."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # what CPUs talk through; others have their own
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        initialization_timeout=timeout,
        heartbeat_timeout_seconds=timeout,
        shutdown_timeout_seconds=timeout,
    )


def train(steps: int, batch: int, seed: int = 0, keep: bool = False) -> dict[str, Any]:
    """Losses of every step, and the gradients where they are kept, as they come out on this process.

    Args:
        steps: of gradient descent.
        batch: examples of one step, on all devices of all processes together.
        seed: of parameters and data.
        keep: whether the gradients are wanted too.
    """
    mesh = Mesh(jax.devices(), "data")
    params = jax.device_put(initial(seed), NamedSharding(mesh, PartitionSpec()))
    share = batch // jax.process_count()
    losses, gradients = [], []
    for number in range(steps):
        mine = examples(seed, number, jax.process_index() * share, share)
        data = global_batch(mine, mesh=mesh, axis_name="data")
        params, value, gradient = step(params, data["x"], data["labels"], mesh=mesh)
        losses.append(float(value))
        if number % 20 == 0 or number == steps - 1:
            process = f"process {jax.process_index()} of {jax.process_count()}"
            print(f"{process}: step {number}, loss {value:.4f}", flush=True)
        if keep:
            gradients.append([np.asarray(leaf) for leaf in jax.tree.leaves(gradient)])
    return {"losses": losses, "gradients": gradients}


def scaling(
    counts: Sequence[int] = (1, 2, 4, 8), flops: float = 1e10, bandwidth: float = 1.25e9
) -> list[dict[str, float]]:
    """Weak scaling on paper, from the compiled step on so many devices with `BATCH` examples on each.

        limit = 2 (P − 1)/P · bytes of all gradients,   efficiency ≥ t₁/(t₁ + sent/bandwidth),  t₁ = operations/flops

    Args:
        counts: of devices, which must be there (the option jax_num_cpu_devices makes them of a CPU).
        flops: operations a second of one device.
        bandwidth: bytes a second out of one device; 1.25e9 is 10 Gbit/s.
    """
    rows = []
    for count in counts:
        mesh = Mesh(jax.devices()[:count], "data")
        params = jax.device_put(initial(0), NamedSharding(mesh, PartitionSpec()))
        data = jax.device_put(examples(0, 0, 0, BATCH * count), NamedSharding(mesh, PartitionSpec("data")))
        compiled = step.lower(params, data["x"], data["labels"], mesh=mesh).compile()
        found = collectives(compiled)
        operations = (compiled.cost_analysis() or {})["flops"]  # a loop's body counted once: time is more than t₁
        sent = least_bytes(found, count)
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        in_loops = sum(each.in_loop for each in found)
        row: dict[str, float] = {"devices": count, "collectives": len(found), "in_loops": in_loops}
        row |= {"operations": operations, "bytes_sent": sent, "limit": 2 * (count - 1) / count * held}
        rows.append(row | {"efficiency": 1 / (1 + sent / bandwidth * flops / operations)})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, help="how many there are")
    parser.add_argument("--process", type=int, default=0, help="which one this is, from 0")
    parser.add_argument("--coordinator", default="127.0.0.1:9911", help="address and port of process 0")
    parser.add_argument("--timeout", type=int, default=60, help="seconds until a silent process counts as dead")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, help=f"examples of a step on all devices ({BATCH} for each)")
    parser.add_argument("--scaling", action="store_true", help="print bytes a step against the limit, and stop")
    parser.add_argument("--save", type=Path, help="file for losses and gradients, JSON")
    given = parser.parse_args(arguments)
    if given.processes > 1:
        start(given.coordinator, given.processes, given.process, given.timeout)
    if given.scaling:
        for row in scaling([2**i for i in range(jax.device_count().bit_length())]):
            print("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        return
    result = train(given.steps, given.batch or BATCH * jax.device_count(), keep=given.save is not None)
    if given.save:
        gradients = [[leaf.tolist() for leaf in each] for each in result["gradients"]]
        write_whole(given.save, json.dumps({"losses": result["losses"], "gradients": gradients}))


if __name__ == "__main__":
    main()
