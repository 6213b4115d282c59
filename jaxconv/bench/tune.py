"""Which algorithm is fastest for a problem, measured: every candidate, interleaved, in a process that may die.

`measure` is of one problem; `tune` goes through many and keeps each outcome as soon as it is there.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from jaxconv.algorithms.choose import ALGORITHMS, estimates, unsupported
from jaxconv.algorithms.measured.records import Record
from jaxconv.algorithms.problem import Problem
from jaxconv.bench.measure import repeats
from jaxconv.bench.processes import Peer, PeerDied, PeerError

PATIENCE = 60.0  # seconds that compiling a candidate and calling it once, or a sample of its calls, may take
FAR = 5.0  # times the best's: a candidate that takes longer is not measured again
ROUNDS = 7  # samples of a candidate at least, and three times as many at most
LONG = 2.0  # seconds: rounds that take longer are three
SHORT = 0.4  # seconds of rounds that a problem is worth, if seven are done sooner
WAKE = 0.02  # seconds: shorter calls follow others that do not count, for threads to wake up and caches to fill
EACH = 0.4  # seconds to compile a candidate and compare its value, about


def nothing() -> None:
    """What is asked between two steps by default."""


class Child(Peer):
    """The process that measures; started anew when it is needed and not there."""

    def __init__(self, patience: float = PATIENCE, heeded: Callable[[], None] = nothing, code: str | None = None):
        """`heeded` is called before each step, and stops the work by raising; `code` is run in place of the module."""
        super().__init__("tune", sys.executable, patience)
        self.command = [sys.executable, *(["-m", "jaxconv.bench.tune_child"] if code is None else ["-c", code])]
        # What is measured here must not depend on what was, nor be kept for a program to find.
        self.environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAXCONV_WISDOM": "off",
            "JAX_ENABLE_COMPILATION_CACHE": "false",
        }
        self.heeded = heeded

    def ready(self) -> None:
        """Start the process where it is not there; PeerError where it cannot be started."""
        if self._process is None:
            self.start()

    def begin(self, problem: Problem) -> float:
        """From here on candidates are of this problem; 0."""
        self.heeded()
        self._ask({"problem": Record(problem, {}).as_json()})
        return 0.0

    def make(self, name: str) -> float | str:
        """Compile a candidate and call it once: the seconds of that call, or what is wrong with its value."""
        self.heeded()
        answer = self._ask({"make": name})
        return answer.get("wrong") or float(answer["seconds"])

    def time(self, name: str, number: int, warm: int = 0) -> float:
        """Seconds of one call, the mean of `number` after `warm` that do not count."""
        self.heeded()
        return float(self._ask({"run": name, "number": number, "warm": warm})["seconds"]) / number


class _Lost(Exception):
    """A candidate that took the process with it; without a name all of them."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


def candidates(problem: Problem) -> list[str]:
    """The algorithms that can serve, the reference first, which the others are compared with."""
    able = [name for name in ALGORITHMS if unsupported(name, problem) is None]
    return sorted(able, key=lambda name: name != "reference")


def measure(problem: Problem, child: Child, names: Sequence[str] | None = None) -> Record:
    """The median time of a call, in seconds, of every candidate that ends, and is right.

    One that dies, hangs or makes a wrong value is named with the reason; where the process is gone with it, the others
    begin once more in a new one.

    Raises:
        PeerError: no process can be started.
    """
    left = list(candidates(problem) if names is None else names)
    record = Record(problem, {})
    while left:
        child.ready()
        try:
            record.seconds = _rounds(child, _made(child, problem, left, record.failed))
            break
        except _Lost as lost:
            gone = [lost.name] if lost.name else tuple(left)  # without a name: the inputs do not fit, for one
            record.failed.update(dict.fromkeys(gone, lost.why))
            left = [name for name in left if name not in gone]
    return record


def _held(name: str, limit: float, step: Callable[[], float | str]) -> float | str:
    """step(), or what is wrong; _Lost where the process is gone."""
    try:
        return step()
    except TimeoutError:
        raise _Lost(name, f"it did not end within {limit:g} s") from None
    except PeerDied as error:
        raise _Lost(name, str(error).partition(": ")[2]) from None
    except PeerError as error:
        return str(error).partition(": ")[2]


def _made(child: Child, problem: Problem, names: list[str], failed: dict[str, str]) -> dict[str, float]:
    """Seconds of each candidate's first call; those that are wrong go from `names` to `failed`."""
    begun = _held("", child.limit, lambda: child.begin(problem))
    if isinstance(begun, str):
        raise _Lost("", begun)
    first = {}
    for name in tuple(names):
        made = _held(name, child.limit, lambda name=name: child.make(name))  # type: ignore[misc]
        if isinstance(made, str):
            failed[name] = made
            names.remove(name)
        else:
            first[name] = made
    return first


def _rounds(child: Child, first: dict[str, float]) -> dict[str, float]:
    """Median seconds of a call, of interleaved samples; those far from the best have one call's."""

    def sample(name: str, number: int, warm: int) -> float:
        made = _held(name, child.limit, lambda: child.time(name, number, warm))
        if isinstance(made, str):
            raise _Lost(name, made)
        return made

    seconds = dict(first)
    least = min(first.values(), default=0.0)
    for name in first:
        if first[name] < 1.0 or first[name] < FAR * least:  # the first call of all is often slow
            seconds[name] = sample(name, 1, 0)
    least = min(seconds.values(), default=0.0)
    near = [name for name in seconds if seconds[name] <= FAR * least]
    counts = {name: repeats(seconds[name]) for name in near}
    warm = {name: max(counts[name] // 4, int(seconds[name] < WAKE)) for name in near}
    together = sum(seconds[name] * (counts[name] + warm[name]) for name in near)
    rounds = 3 if together > LONG else min(max(ROUNDS, int(SHORT / max(together, 1e-9))), 3 * ROUNDS)
    samples: dict[str, list[float]] = {name: [] for name in near}
    for turn in range(rounds):
        for name in near if turn % 2 else reversed(near):
            samples[name].append(sample(name, counts[name], warm[name]))
    return {**seconds, **{name: statistics.median(each) for name, each in samples.items()}}


def expected(problem: Problem) -> float:
    """Seconds that `measure` takes, about."""
    guesses = estimates(problem)
    least = min(guesses.values())
    near = sum(each * repeats(each) for each in guesses.values() if each <= FAR * least)
    return SHORT + EACH * len(candidates(problem)) + 2 * sum(guesses.values()) + ROUNDS * near


def tune(
    problems: Sequence[Problem],
    keep: Callable[[Record], None],
    child: Child,
    tell: Callable[[Problem, float], None] = lambda problem, left: None,
) -> Iterable[Record]:
    """Measure one after the other; `keep` has each record before it is yielded.

    `tell` is called before each, with the seconds that all that are left will take: what `expected` says of them, as
    far as it was right so far.
    """
    guesses = [expected(problem) for problem in problems]
    begin = time.monotonic()
    for number, problem in enumerate(problems):
        done, spent = sum(guesses[:number]), time.monotonic() - begin
        tell(problem, sum(guesses[number:]) * (spent / done if done else 1.0))
        record = measure(problem, child)
        keep(record)
        yield record
