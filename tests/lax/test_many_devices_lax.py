"""Convolutions of lax whose arrays lie over eight devices, with `accelerate` and through the drop-in."""

import json

import pytest

from many_devices import on_eight_devices


@pytest.mark.slow
def test_sharded_arrays():
    run = on_eight_devices(["tests/lax/calls_on_devices.py"], seconds=900)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found) == 2 * 3 * 3 + 2
    for name, each in found.items():
        assert each["off"] < 1e-5, (name, each)
        if "explicit" in name:  # lax's own, whose result JAX knows how to lay
            assert (each["taken"], set(each["why"])) == (0, {"explicit sharding"}), (name, each)
        else:
            assert (each["taken"], each["left"]) == (3, 0), (name, each)
        if "accelerate batch " in name and "channels" not in name:
            assert (each.get("all-gather", 0), each["all-reduce"]) == (0, 1), (name, each)
