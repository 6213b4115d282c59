"""The run of `jaxconv verify`: exercises, convolutions, recurrences, training; one `Row` for each, as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import jax

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat
from jaxconv.verify import digits
from jaxconv.verify.cases import CONV_CASES, GATED_CASES, ConvCase, GatedCase
from jaxconv.verify.exercises import EXERCISES
from jaxconv.verify.gradients import Comparison, compare

PARTS = ("exercise", "convolution", "recurrence", "training")


@dataclass(frozen=True)
class Row:
    """One line of the outcome.

    Attributes:
        part: one of PARTS.  name: what was checked.  platform: "cpu", "gpu", "tpu".
        passed: whether it agrees.
        units: worst distance from the exact result, in units of the error model; None where nothing is rounded.
        apart: distance from `jax.grad` in the same units.
        where: the worst element.
        hand_ms, jax_ms: median time with hand-written and with JAX's gradients.
        detail: what else is worth saying: an exercise's answer, an accuracy, an error.
        outputs: the worst distance of each output.
        heat: where the errors of the worst output sit.
    """

    part: str
    name: str
    platform: str
    passed: bool
    units: float | None = None
    apart: float | None = None
    where: str = ""
    hand_ms: float | None = None
    jax_ms: float | None = None
    detail: str = ""
    outputs: dict[str, float] = field(default_factory=dict)
    heat: Heat | None = field(default=None, compare=False, repr=False)


def platforms() -> dict[str, jax.Device]:
    """The first device of every platform that JAX sees here, the default one first."""
    found = {jax.devices()[0].platform: jax.devices()[0]}
    for name in ("gpu", "tpu", "cpu"):
        try:
            device = jax.devices(name)[0]
        except RuntimeError:  # JAX's word for a platform that is not there
            continue
        found.setdefault(device.platform, device)
    return found


@dataclass(frozen=True)
class Task:
    """A piece of work: `work` yields None for every step done, and the Row last."""

    part: str
    name: str
    platform: str
    steps: int
    work: Callable[[], Iterator[Row | None]]


def tasks(quick: bool = False) -> list[Task]:
    """All the work of a run, in order."""
    found = []
    for platform, device in platforms().items():
        everything = (*_exercises(platform), *_comparisons(platform, quick), *_trainings(platform, quick))
        found += [replace(task, work=_on(device, task)) for task in everything]
    return found


def _on(device: jax.Device, task: Task) -> Callable[[], Iterator[Row | None]]:
    """The work of a task on a device; what goes wrong in it is its outcome, and the run goes on.

    Every product at full precision: TF32 would be compared with float64 otherwise.
    """

    def work() -> Iterator[Row | None]:
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            try:
                yield from task.work()
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
                yield Row(task.part, task.name, task.platform, False, detail=detail)

    return work


def _exercises(platform: str) -> Iterator[Task]:
    for number, exercise in enumerate(EXERCISES, 1):

        def work(exercise: Callable = exercise, number: int = number) -> Iterator[Row | None]:
            answer = exercise()
            detail = f"{answer.formula}: {answer.found}"
            yield Row("exercise", f"{number}. {answer.title}", platform, True, detail=detail)

        yield Task("exercise", f"{number}. {exercise.__name__}", platform, 1, work)


def _comparisons(platform: str, quick: bool) -> Iterator[Task]:
    tables: tuple[tuple[str, tuple[ConvCase | GatedCase, ...]], ...] = (
        ("convolution", CONV_CASES),
        ("recurrence", GATED_CASES),
    )
    for part, table in tables:
        for case in table:
            if (quick and not case.quick) or (platform == "tpu" and case.dtype == "float64"):  # a TPU has none
                continue

            def work(part: str = part, case: ConvCase | GatedCase = case) -> Iterator[Row | None]:
                found = compare(case)
                yield Row(
                    part, case.name, platform, found.passed, found.units, found.apart, found.where, found.hand_ms,
                    found.jax_ms, "" if found.passed else _what_is_wrong(found), found.outputs, found.heat,
                )  # fmt: skip

            yield Task(part, case.name, platform, 1, work)


def _what_is_wrong(found: Comparison) -> str:
    """Which outputs are wrong, and which are not: that names the rule."""
    wrong = [f"{name} by {units:.3g} units" for name, units in found.outputs.items() if not units <= C]
    right = [name for name, units in found.outputs.items() if units <= C]
    if not wrong:
        return f"each is right, but they are {found.apart:.3g} units apart; right is at most {2 * C:g}"
    return f"wrong: {', '.join(wrong)}; right: {', '.join(right) or 'none'}"


def _trainings(platform: str, quick: bool) -> Iterator[Task]:
    data = digits.load()
    for model in digits.MODELS:
        epochs = model.quick_epochs if quick else model.epochs

        def work(model: digits.Model = model, epochs: int = epochs) -> Iterator[Row | None]:
            outcome: digits.Training | None = None
            for outcome in digits.train(model, data, epochs=epochs):
                if outcome is None:
                    yield None
            assert outcome is not None
            detail = (
                f"{outcome.accuracy_hand:.1%} of held-out digits by hand, {outcome.accuracy_jax:.1%} by jax.grad "
                f"(at least {outcome.least_accuracy:.0%})"
            )
            detail = "; ".join([*outcome.failures, detail])
            yield Row(
                "training", model.name, platform, outcome.passed, outcome.units, None, outcome.where, outcome.hand_ms,
                outcome.jax_ms, detail, {}, outcome.heat,
            )  # fmt: skip

        yield Task("training", model.name, platform, digits.steps(data, epochs) + 1, work)
