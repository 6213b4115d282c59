"""What the tests on eight devices share: meshes, collectives counted in a compiled program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv.parallel.collectives import collectives as sent

ROOT = Path(__file__).resolve().parents[2]


def on_eight_devices(arguments: list[str], seconds: float = 300) -> subprocess.CompletedProcess:
    """Run this interpreter with the arguments on eight CPU devices: JAX counts them once, when it starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    places = [str(ROOT), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, places))
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, cwd=ROOT)


def mesh_of(*sizes: int, kind: AxisType = AxisType.Auto) -> Mesh:
    """A mesh of eight devices or fewer with the axes i, j, k."""
    names = tuple("ijk"[: len(sizes)])
    devices = np.array(jax.devices()[: int(np.prod(sizes))]).reshape(sizes)
    return Mesh(devices, names, axis_types=(kind,) * len(sizes))


def put(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    return jax.device_put(tree, NamedSharding(mesh, spec))


def collectives(compiled: Any) -> dict[str, int]:
    """How many of each kind stand in a compiled program, those that do not occur left out."""
    return dict(Counter(each.kind for each in sent(compiled)))
