"""The rule on arguments that lie over several devices: the first axis split, then the last, compiled and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def splits(shapes: Sequence[tuple[int, ...]], devices: int) -> list[tuple[int, int]]:
    """Which axis to split, 0 or −1, over how many devices: over as many as divide it in any of the arrays."""
    found = []
    for axis in (0, -1) if any(len(shape) > 1 for shape in shapes) else (0,):
        sizes = [shape[axis] for shape in shapes if shape]
        count = next((k for k in range(devices, 1, -1) if any(n and n % k == 0 for n in sizes)), 0)
        if count:
            found.append((axis, count))
    return found


def placed(values: Sequence[Any], axis: int, mesh: Mesh) -> list[Any]:
    """Every array whose axis the devices divide is split along it; the others lie whole on each."""

    def place(x: Any) -> Any:
        split = x.ndim and x.shape[axis] and x.shape[axis] % mesh.size == 0
        names: list[Any] = [None] * x.ndim
        if split:
            names[axis] = mesh.axis_names[0]
        return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*names)))

    return [place(x) for x in values]


def sharded(
    call: Any, xs: list[Any], data: Any, g: list[Any], compiled: Callable[..., Any], plain: Callable[..., Any]
) -> Iterator[tuple[str, list[Any]]]:
    """(how, gradients) for every way of splitting; nothing where no axis can be split."""
    for axis, count in splits([np.shape(x) for x in xs], len(jax.devices())):
        mesh = Mesh(np.array(jax.devices()[:count]), ("devices",))
        where = f"the {'first' if axis == 0 else 'last'} axis over {count} devices"
        whole = jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
        given = placed(xs, axis, mesh), whole, placed(g, axis, mesh)
        yield f"{where}, under jit", compiled(call, *given)
        if axis == 0:  # what looks at one device's piece does so outside jit only
            yield where, plain(call, *given)
