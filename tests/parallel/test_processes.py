"""Two processes on this machine, talking over loopback: they train as one, and a fault in one is an error in both."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import global_batch
from jaxconv.accuracy import error_model
from jaxconv.examples import data_parallel as example

ROOT = Path(__file__).resolve().parents[2]
STEPS, BATCH = 3, 8
PATIENCE = 120  # seconds for a process to come up on a busy machine; what is asserted of faults is shorter
SILENCE = 5  # seconds without a heartbeat until a process counts as dead


class Two:
    """Processes of the example; what each said is in a file, so that no pipe can fill up."""

    def __init__(self, folder: Path, arguments: Callable[[int], list[str]], count: int = 2) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, "XLA_FLAGS": ""}
        self.files = [folder / f"{i}.txt" for i in range(count)]
        self.runs = []
        for i, file in enumerate(self.files):
            joined = ["--processes", "2", "--process", str(i), "--coordinator", f"127.0.0.1:{port}"]
            command = [sys.executable, "-m", "jaxconv.examples.data_parallel", *joined, *arguments(i)]
            with file.open("w") as out:
                self.runs.append(subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder))

    def said(self, i: int) -> str:
        return self.files[i].read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until every process has said `text`."""
        end = time.monotonic() + PATIENCE
        while not all(text in self.said(i) for i in range(len(self.runs))):
            assert time.monotonic() < end, self.said(0) + self.said(1)
            assert all(run.poll() is None for run in self.runs), self.said(0) + self.said(1)
            time.sleep(0.05)


@contextmanager
def two(folder: Path, arguments: Callable[[int], list[str]], count: int = 2) -> Iterator[Two]:
    both = Two(folder, arguments, count)
    try:
        yield both
    finally:
        for run in both.runs:
            run.kill()  # a stopped one, too
            run.wait(30)


def exact(steps: int) -> tuple[list[np.ndarray], Any]:
    """The gradients of one process in float64, and their spread when parameters and data are perturbed by u."""
    with jax.enable_x64(True):
        data = [example.examples(0, number, 0, BATCH) for number in range(steps)]
        first = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.tree.map(np.asarray, example.initial(0)))

        alone = jax.sharding.Mesh(jax.devices()[:1], "data")

        def gradients(rounded: Any) -> tuple[np.ndarray, ...]:
            params, found = jax.tree.map(rounded, first), []
            for each in data:
                x = jnp.asarray(rounded(each["x"].astype(np.float64)))
                labels = jnp.asarray(each["labels"])
                params, _, gradient = example.step(jax.tree.map(jnp.asarray, params), x, labels, mesh=alone)
                params = jax.tree.map(lambda leaf: rounded(np.asarray(leaf)), params)
                found += [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
            return tuple(found)

        return list(gradients(lambda value: value)), error_model.spread(gradients, np.float32, seeds=8)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Every gradient of three steps, as both processes have it, and as one process has it."""
    saved = lambda i: str(tmp_path / f"{i}.json")  # noqa: E731
    with two(tmp_path, lambda i: ["--steps", str(STEPS), "--batch", str(BATCH), "--save", saved(i)]) as both:
        for i, run in enumerate(both.runs):
            assert run.wait(PATIENCE) == 0, both.said(i)
    results = [json.loads(Path(saved(i)).read_text())["gradients"] for i in range(2)]
    right, spread = exact(STEPS)
    for result in (*results, example.train(STEPS, BATCH, keep=True)["gradients"]):
        computed = [np.float32(leaf) for each in result for leaf in each]
        assert len(computed) == len(right) > 0
        for ours, value, scale in zip(computed, right, spread, strict=True):
            found = error_model.measured_units(ours, value, scale, BATCH * example.LENGTH // 2, np.float32)
            assert found.max() <= error_model.C


@pytest.mark.slow
@pytest.mark.parametrize(
    "victim", [pytest.param(0, marks=pytest.mark.slow, id="coordinator"), pytest.param(1, id="worker")]
)
def test_a_killed_process_ends_the_other(tmp_path: Path, victim: int) -> None:
    """With an error, and sooner than twice the stated time: once for its silence, once for the goodbye."""
    with two(tmp_path, lambda i: ["--steps", "1000000", "--timeout", str(SILENCE)]) as both:
        both.wait_for("step 0, loss")
        both.runs[victim].kill()
        assert both.runs[1 - victim].wait(2 * SILENCE + 10) != 0, both.said(1 - victim)


@pytest.mark.slow
def test_a_silent_process_ends_the_other(tmp_path: Path) -> None:
    """It neither dies nor answers: its missing heartbeats are noticed."""
    with two(tmp_path, lambda i: ["--steps", "1000000", "--timeout", str(SILENCE)]) as both:
        both.wait_for("step 0, loss")
        both.runs[1].send_signal(signal.SIGSTOP)
        assert both.runs[0].wait(2 * SILENCE + 10) != 0
        assert "stopped sending heartbeats" in both.said(0)


@pytest.mark.slow
def test_a_missing_process_ends_the_other(tmp_path: Path) -> None:
    with two(tmp_path, lambda i: ["--timeout", "2"], count=1) as alone:
        assert alone.runs[0].wait(PATIENCE) != 0
        assert "step 0" not in alone.said(0)


@pytest.mark.slow
def test_shares_that_differ_are_named(tmp_path: Path) -> None:
    """On both processes, before anything waits for anything."""
    with two(tmp_path, lambda i: ["--batch", str((i + 1) * BATCH), "--timeout", "20"]) as both:
        for i, run in enumerate(both.runs):
            assert run.wait(PATIENCE) != 0
            rule = "global_batch: every process must bring a share of one shape and dtype; got "
            assert f"{rule}x['labels'] int64[4], x['x'] float32[4, 4, 64] on process 0" in both.said(i)
            assert "x['labels'] int64[8], x['x'] float32[8, 4, 64] on process 1." in both.said(i)


# ------------------------------------------------------------------------------------------------- one process


def test_bad_shares() -> None:
    mesh = jax.sharding.Mesh(jax.devices()[:1], "data")
    with pytest.raises(TypeError, match=r"global_batch: `tree` must hold arrays; got x\['a'\] of type int"):
        global_batch({"a": 1}, mesh=mesh, axis_name="data")
    with pytest.raises(ValueError, match=r"must divide over 1 devices on axis 1; got x of shape \(3,\)"):
        global_batch(np.ones(3), mesh=mesh, axis_name="data", axis=1)


def test_the_axis_may_come_from_an_array() -> None:
    mesh = jax.sharding.Mesh(jax.devices()[:1], "data")
    for one in (1, np.int64(1), jax.numpy.int32(1)):
        assert global_batch(np.ones((2, 3)), mesh=mesh, axis_name="data", axis=one).sharding.spec[1] == "data"


@pytest.mark.slow
def test_scaling_on_paper_is_at_its_limit() -> None:
    """On one device nothing is sent."""
    (row,) = example.scaling([1])
    assert (row["bytes_sent"], row["limit"], row["efficiency"]) == (0, 0, 1)
    assert row["operations"] > 1e6
