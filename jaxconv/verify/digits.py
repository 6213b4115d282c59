"""Training on real data: scikit-learn's 1797 handwritten digits, once with each kind of gradient.

A small convolutional net, and the gated recurrence that reads an image row by row. Both kinds start from the same
weights and see the same batches, so that their loss curves differ by rounding alone. How far rounding may carry them
apart is measured: three more runs with JAX's gradients, their weights perturbed by one unit roundoff at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxconv.accuracy.error_model import C, unit_roundoff
from jaxconv.accuracy.heat import Heat
from jaxconv.convolution.api import conv
from jaxconv.recurrence.gated import gated_scan
from jaxconv.recurrence.gated_cell import GatedParams

BATCH = 128
HELD_OUT = 360
PERTURBED_RUNS = 3


class Digits(NamedTuple):
    """Images (·, 8, 8) in [0, 1] and their labels, split once and for all."""

    x: np.ndarray
    y: np.ndarray
    held_out_x: np.ndarray
    held_out_y: np.ndarray


def load() -> Digits:
    """The digits, shuffled, the last 360 held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.images / 16).astype(np.float32)[order], data.target.astype(np.int32)[order]
    return Digits(x[:-HELD_OUT], y[:-HELD_OUT], x[-HELD_OUT:], y[-HELD_OUT:])


Params = dict[str, Any]
Logits = Callable[[Params, jax.Array, str], jax.Array]


@dataclass(frozen=True)
class Model:
    """A classifier of images (batch, 8, 8): `logits(params, images, derivative)` gives (batch, 10)."""

    name: str
    init: Callable[[np.random.Generator], Params]
    logits: Logits
    learning_rate: float
    epochs: int
    quick_epochs: int
    least_accuracy: float


def _scaled(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal with variance 2/(inputs of one output), K. He et al. 2015."""
    return (random.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)


def _zeros(size: int) -> np.ndarray:
    return np.zeros(size, np.float32)


def _conv_init(random: np.random.Generator) -> Params:
    return {
        "w1": _scaled(random, 16, 1, 3, 3),
        "b1": _zeros(16),
        "w2": _scaled(random, 32, 16, 3, 3),
        "b2": _zeros(32),
        "w3": _scaled(random, 10, 32 * 16),
        "b3": _zeros(10),
    }


def _conv_logits(params: Params, images: jax.Array, derivative: str) -> jax.Array:
    kind: Any = derivative
    h = jax.nn.relu(conv(images[:, None], params["w1"], params["b1"], padding="SAME", derivative=kind))
    h = jax.nn.relu(conv(h, params["w2"], params["b2"], stride=2, padding="SAME", derivative=kind))
    return h.reshape(h.shape[0], -1) @ params["w3"].T + params["b3"][None]


def _gated_init(random: np.random.Generator) -> Params:
    weights = _scaled(random, 64, 8), 0.3 * _scaled(random, 64, 64), _scaled(random, 64, 8), _zeros(64), _zeros(64)
    cell = GatedParams(*(jnp.asarray(weight, jnp.float32) for weight in weights))
    return {"cell": cell, "w": _scaled(random, 10, 64), "b": _zeros(10)}


def _gated_logits(params: Params, images: jax.Array, derivative: str) -> jax.Array:
    kind: Any = derivative
    rows = images.swapaxes(0, 1)  # the rows of an image are the steps in time
    h_last, _ = gated_scan(params["cell"], rows, derivative=kind)
    return h_last @ params["w"].T + params["b"][None]


MODELS = (
    Model("convolutional net", _conv_init, _conv_logits, 3e-3, 12, 8, 0.95),
    Model("gated recurrence", _gated_init, _gated_logits, 1e-2, 16, 10, 0.90),
)


class Curves(NamedTuple):
    """The loss after every step with each kind of gradient, and how far rounding may carry them apart."""

    hand: np.ndarray
    jax: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class Training:
    """What the training of one model gave.

    Attributes:
        curves: the two loss curves, and the spread.
        units: largest distance of the curves in units of the model; agreement is at most C.
        where: the step of that distance.
        accuracy_hand, accuracy_jax: on the held-out digits.
        hand_ms, jax_ms: median time of a step.
        heat: the distance of every step, one row per epoch.
    """

    curves: Curves
    units: float
    where: str
    accuracy_hand: float
    accuracy_jax: float
    least_accuracy: float
    hand_ms: float
    jax_ms: float
    heat: Heat

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if not self.units <= C:
            found.append(f"the two loss curves are further apart than rounding carries them ({C:g} units)")
        if min(self.accuracy_hand, self.accuracy_jax) < self.least_accuracy:
            found.append(f"fewer than {self.least_accuracy:.0%} of held-out digits are read")
        return found


def steps(digits: Digits, epochs: int) -> int:
    """Steps of one training, for a progress bar."""
    return epochs * (len(digits.x) // BATCH)


def _perturbed(random: np.random.Generator, tree: Any) -> Any:
    """Every element off by up to one unit roundoff."""
    u = unit_roundoff(np.float32)

    def off(leaf: Any) -> np.ndarray:
        return (np.asarray(leaf) * (1 + u * random.uniform(-1, 1, np.shape(leaf)))).astype(np.float32)

    return jax.tree.map(off, tree)


def _step_of(model: Model, derivative: str, optimiser: optax.GradientTransformation) -> Callable:
    def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = model.logits(params, x, derivative)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params: Params, state: Any, x: jax.Array, y: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(params, x, y)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the number of the step
            updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    return step


@dataclass
class _Run:
    """One training: its step function, its weights, its losses so far, and the milliseconds that each step took."""

    step: Callable
    params: Params
    state: Any
    noise: np.random.Generator | None
    losses: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def advance(self, x: np.ndarray, y: np.ndarray) -> None:
        if self.noise is not None:
            self.params = _perturbed(self.noise, self.params)
        began = time.perf_counter()
        self.params, self.state, value = self.step(self.params, self.state, x, y)
        self.losses.append(float(value))
        self.took.append((time.perf_counter() - began) * 1e3)


def train(model: Model, digits: Digits, *, epochs: int) -> Iterator[Training | None]:
    """Train one model in all runs side by side; yields None after each step, and the outcome at the end."""
    optimiser = optax.adam(model.learning_rate)
    steps = {kind: _step_of(model, kind, optimiser) for kind in ("hand", "jax")}
    params = model.init(np.random.default_rng(0))
    runs = [_Run(step, params, optimiser.init(params), None) for step in steps.values()]
    for seed in range(PERTURBED_RUNS):
        runs.append(_Run(steps["jax"], params, optimiser.init(params), np.random.default_rng(seed)))
    random = np.random.default_rng(1)
    for _ in range(epochs):
        order = random.permutation(len(digits.x))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[first : first + BATCH]
            for run in runs:
                run.advance(digits.x[batch], digits.y[batch])
            yield None
    hand, plain, *others = (np.array(run.losses) for run in runs)
    spread = np.maximum.accumulate(np.abs(np.array(others) - plain).max(0))
    distance = np.abs(hand - plain) / (unit_roundoff(np.float32) * np.abs(plain) + spread)
    yield Training(
        curves=Curves(hand, plain, spread),
        units=float(distance.max()) if np.isfinite(distance).all() else float("inf"),
        where=f"step {int(distance.argmax()) + 1} of {len(hand)}",
        accuracy_hand=_accuracy(model, runs[0].params, digits, "hand"),
        accuracy_jax=_accuracy(model, runs[1].params, digits, "jax"),
        least_accuracy=model.least_accuracy,
        hand_ms=median(runs[0].took),
        jax_ms=median(runs[1].took),
        heat=Heat.of("loss", np.nan_to_num(distance, nan=np.inf).reshape(epochs, -1)),
    )


def _accuracy(model: Model, params: Params, digits: Digits, derivative: str) -> float:
    logits = np.asarray(model.logits(params, jnp.asarray(digits.held_out_x), derivative))
    return float((logits.argmax(-1) == digits.held_out_y).mean())
