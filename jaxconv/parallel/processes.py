"""Several processes: each brings its share of a batch, and a share that does not fit is named before anything hangs.

A program of several processes runs only where all of them run the same one. A process with other shapes would compile
another, and the collectives of the two would wait for each other or mix up their bytes.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxconv.sizes.arguments import integer, wrong_kind, wrong_value

BYTES = 4096  # of a description that processes compare; what is longer is compared up to there


def global_batch(tree: Any, *, mesh: Mesh, axis_name: Any, axis: int = 0, check: bool = True) -> Any:
    """The shares of all processes as arrays that lie over the devices of all.

        x = (x of process 0, x of process 1, …), one after the other on `axis`, which is split over `axis_name`

    Every process calls it, with shares of one shape. That is checked first, by an exchange of a few KiB which cannot
    itself go wrong: a process whose share is another raises, and so do all others, with both shapes named.

    Args:
        tree: this process's share, arrays of numpy or jax in any tree.
        mesh: the devices of all processes.
        axis_name: the mesh axis, or a tuple of them, that the batch is split over.
        axis: the axis of every array that is the batch.
        check: whether to compare the shares; without it a mismatch is left to the collectives.

    Returns:
        The same tree of `jax.Array`s, processes times as long on `axis`.

    Raises:
        TypeError: a leaf is no array.
        ValueError: the shares of two processes differ in structure, shape or dtype, or do not divide over the devices.

    Source: the sharded arrays of ``jax.make_array_from_process_local_data``.

    >>> import jax
    >>> import numpy as np
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], "data")
    >>> global_batch({"x": np.ones((4, 3))}, mesh=mesh, axis_name="data")["x"].shape
    (4, 3)
    """
    function = "global_batch"
    axis = integer(function, "axis", axis, least=0)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for path, leaf in leaves:
        if not isinstance(leaf, (jax.Array, np.ndarray)):
            wrong_kind(function, "`tree` must hold arrays", f"{_name(path)} of type {type(leaf).__name__}")
    if check and jax.process_count() > 1:
        _compare(function, ", ".join(f"{_name(path)} {leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves))
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    pieces = int(np.prod([mesh.shape[name] for name in names]))
    for path, leaf in leaves:
        if leaf.ndim <= axis or leaf.shape[axis] * jax.process_count() % pieces:
            rule = f"the shares of {jax.process_count()} processes must divide over {pieces} devices on axis {axis}"
            wrong_value(function, rule, f"{_name(path)} of shape {leaf.shape}")
    sharding = NamedSharding(mesh, PartitionSpec(*(None,) * axis, axis_name))
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree)


def _name(path: Any) -> str:
    return f"x{jax.tree_util.keystr(path)}"


def _compare(function: str, description: str) -> None:
    everyones = _from_every_process(description)
    for process, theirs in enumerate(everyones):
        if theirs != everyones[0]:
            rule = "every process must bring a share of one shape and dtype"
            wrong_value(function, rule, f"{everyones[0]} on process 0, {theirs} on process {process}")


def _from_every_process(text: str) -> list[str]:
    """The texts of all processes, cut to `BYTES`: one small gather, of one shape whatever the texts."""
    first: dict[int, Any] = {}
    for device in jax.devices():
        first.setdefault(device.process_index, device)
    mesh = Mesh([first[process] for process in sorted(first)], "process")
    row = np.frombuffer(text.encode()[:BYTES].ljust(BYTES, b"\0"), np.uint8)
    split = NamedSharding(mesh, PartitionSpec("process"))
    rows = jax.make_array_from_process_local_data(split, row[None])
    gathered = jax.jit(lambda rows: rows, out_shardings=NamedSharding(mesh, PartitionSpec()))(rows)
    return [bytes(each).rstrip(b"\0").decode(errors="replace") for each in np.asarray(gathered)]
