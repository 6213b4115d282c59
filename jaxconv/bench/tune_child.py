"""One problem and its candidates, in a process of its own: `python -m jaxconv.bench.tune_child`, over lines of JSON.

→ {"problem": …}                          as a record holds it          ← {}
→ {"make": algorithm}                     compile, call once, compare   ← {"seconds": of that call} or {"wrong": …}
→ {"run": algorithm, "number": n, "warm": k}                            ← {"seconds": of the n calls after k others}

What goes wrong without ending the process answers {"error": …}.

Every value is compared with the first algorithm's, the reference: of standard normal inputs Σ terms² is about L, so

    |value − first| ≤ 2 · C · u · √L · (|first| + √L)

where both are right, for each is within half of that (see `accuracy.error_model`).
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._jax.dtypes import accumulator
from jaxconv.accuracy.error_model import C, unit_roundoff
from jaxconv.algorithms.choose import ALGORITHMS
from jaxconv.algorithms.measured.records import Record
from jaxconv.algorithms.problem import Problem


def shapes(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the two arrays that the map takes."""
    g = problem.geometry
    channels, filters = problem.channels * g.groups, problem.filters * g.groups
    if g.channels_first:
        x, y = (problem.batch, channels, *g.input_size), (problem.batch, filters, *g.output_size)
        w: tuple[int, ...] = (filters, problem.channels, *g.kernel_size)
    else:
        x, y = (problem.batch, *g.input_size, channels), (problem.batch, *g.output_size, filters)
        w = (*g.kernel_size, problem.channels, filters)
    return {"conv": (x, w), "conv_input_vjp": (y, w), "conv_weight_vjp": (x, y)}[problem.which]


def length(problem: Problem) -> int:
    """L, the products in one sum of the map."""
    g = problem.geometry
    if problem.which == "conv_weight_vjp":
        return problem.batch * math.prod(g.output_size)
    return g.taps * (problem.channels if problem.which == "conv" else problem.filters)


class Trial:
    """The inputs of one problem, and the compiled candidates."""

    def __init__(self, problem: Problem) -> None:
        jax.clear_caches()
        jax.config.update("jax_enable_x64", problem.dtype in ("float64", "complex128"))
        draw, self.problem = np.random.default_rng(0).standard_normal, problem
        parts = 1, 1j
        self.inputs = [
            jnp.asarray(sum(part * draw(shape, np.float32) for part in parts[: 1 + ("complex" in problem.dtype)]))
            .astype(problem.dtype)
            .block_until_ready()
            for shape in shapes(problem)
        ]
        self.calls: dict[str, Callable[[], Any]] = {}
        self.first: np.ndarray | None = None

    def make(self, name: str) -> dict[str, Any]:
        """Compile it, call it once, and compare what it makes."""
        run, geometry = getattr(ALGORITHMS[name], self.problem.which), self.problem.geometry
        compiled = jax.jit(lambda a, b: run(a, b, geometry, None)).lower(*self.inputs).compile()
        self.calls[name] = lambda: jax.block_until_ready(compiled(*self.inputs))
        start = time.perf_counter()
        result = self.calls[name]()
        seconds = time.perf_counter() - start
        value = np.asarray(result).astype(accumulator(self.problem.dtype))
        if self.first is None:
            self.first = value
        wrong = self.wrong(value)
        return {"wrong": wrong} if wrong else {"seconds": seconds}

    def wrong(self, value: np.ndarray) -> str | None:
        """What is wrong with a value, if anything."""
        assert self.first is not None
        if value.shape != self.first.shape:
            return f"its shape is {value.shape}, the reference's {self.first.shape}"
        root = math.sqrt(length(self.problem))
        unit = unit_roundoff(self.problem.dtype) * root
        distance = np.max(np.abs(value - self.first) / (np.abs(self.first) + root)) / unit
        return (
            None if distance <= 2 * C else f"its value is {distance:.3g} units off the reference's, {2 * C:g} allowed"
        )

    def run(self, name: str, number: int, warm: int) -> dict[str, Any]:
        """Seconds of so many calls."""
        call = self.calls[name]
        for _ in range(warm):
            call()
        start = time.perf_counter()
        for _ in range(number):
            call()
        return {"seconds": time.perf_counter() - start}


def answered(trial: Trial | None, message: dict[str, Any]) -> tuple[Trial | None, dict[str, Any]]:
    """The trial from here on, and the answer."""
    try:
        if "problem" in message:
            return Trial(Record.from_json(message["problem"]).problem), {}
        assert trial is not None
        if "make" in message:
            return trial, trial.make(message["make"])
        return trial, trial.run(message["run"], message["number"], message["warm"])
    except Exception as error:
        return trial, {"error": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    """Serve until the input ends."""
    # What a library prints must not come between the answers.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        trial: Trial | None = None
        answers.write("{}\n")
        for line in sys.stdin:
            trial, answer = answered(trial, json.loads(line))
            answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
