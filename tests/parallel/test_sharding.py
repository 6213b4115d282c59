"""Under jit with a sharding for each array, on eight devices: what is communicated, and that the numbers are right.

The devices are those of a process of its own, since a process has as many as it began with.
"""

import json
from functools import cache

import pytest

from jaxconv.accuracy.error_model import C
from many_devices import on_eight_devices

COUNTED = ("8 batch", "8 space")  # meshes whose collectives are counted
KINDS, LAYOUTS = ("dense", "strided", "dilated", "grouped", "depthwise", "wide"), ("channels_first", "channels_last")


@cache
def results() -> dict:
    run = on_eight_devices(["tests/support/sharded.py", *map(",".join, (KINDS, LAYOUTS, COUNTED))], seconds=600)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_batch_over_devices_costs_one_all_reduce(kind, layout):
    found = results()[f"8 batch {kind} {layout}"]
    assert (found["all-reduce"], found["all-gather"], found["collective-permute"], found["all-to-all"]) == (1, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_space_over_devices_exchanges_halos_only(kind, layout):
    found = results()[f"8 space {kind} {layout}"]
    assert (found["all-gather"], found["all-to-all"]) == (0, 0)
    assert 0 < found["collective-permute"] <= 8


MESHES = (*COUNTED, "8 channels", "8 uneven", "4x2 batch-space", "4x2 out-rows")


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [*MESHES, "2x2x2 all", "2x2x2 uneven", "2x2x2 out"])
def test_numbers_are_those_of_one_device(mesh):
    """Also where output channels and rows lie over two mesh axes, where lax's own form is wrong."""
    found = {name: each["units"] for name, each in results().items() if name.startswith(mesh)}
    assert len(found) == (len(KINDS) * len(LAYOUTS) if mesh in COUNTED else len(KINDS) // 2)
    assert max(found.values()) <= C, found
