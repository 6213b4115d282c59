"""Two calls side by side: A B A B, so that what else the machine does hits both, and only their ratio is a claim."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PAIRS = 7
LONG = 2.0  # seconds: such a call is measured three times
WARM = 0.05  # seconds of calls before a sample that are not counted
SAMPLE = 0.005  # seconds that one sample takes at least; shorter calls are repeated within it

Run = Callable[[int], float]  # how many calls → seconds that they took together


@dataclass(frozen=True)
class Ratio:
    """How long one call takes beside another.

    Attributes:
        ours, theirs: median times of one call, seconds; `theirs` is the limit where it did not finish.
        median, least, most: of the ratios theirs / ours, pair by pair.
        pairs: how many there were; 0 where theirs did not finish, and the ratio is a lower bound.
    """

    ours: float
    theirs: float
    median: float
    least: float
    most: float
    pairs: int


def timed(call: Callable[[], Any]) -> Run:
    """The seconds of so many calls in this process, each of which waits for its result."""

    def run(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            call()
        return time.perf_counter() - start

    return run


def repeats(seconds: float, together: float = SAMPLE) -> int:
    """How many calls of that length take so long together: a sample."""
    return max(1, round(together / max(seconds, 1e-7)))


def alone(run: Run, pairs: int = PAIRS) -> float:
    """The median time of a call, in seconds, after two warm-ups."""
    run(1)
    number = repeats(run(1))
    return statistics.median(run(number) / number for _ in range(pairs))


def _sample(run: Run, number: int, seconds: float, pause: float) -> float:
    """Seconds of one call in the middle of many, as a loop makes them: what comes first is not counted.

    Threads of the framework that ran before still turn for a while, and what is its own has left the cache; its own
    threads were asleep, and take some ten short calls until each has a core to itself.
    """
    time.sleep(pause)
    if seconds < LONG:
        run(repeats(seconds, WARM))
    return run(number) / number


def side_by_side(ours: Run, theirs: Run, pairs: int = PAIRS, pause: float = 0.0) -> Ratio:
    """The ratio theirs / ours over interleaved pairs, after two warm-ups; TimeoutError where `theirs` raises it.

    `pause`: seconds between one and the other, in which the threads of the one come to rest.
    """
    first = ours(1), theirs(1)
    if max(first) < LONG:
        first = ours(1), theirs(1)
    else:
        pairs = min(pairs, 3)
    counts = [repeats(seconds) for seconds in first]
    samples = (ours, counts[0], first[0], pause), (theirs, counts[1], first[1], pause)
    times = [(_sample(*samples[0]), _sample(*samples[1])) for _ in range(pairs)]
    ratios = [b / a for a, b in times]
    return Ratio(
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        pairs,
    )


def at_least(ours: Run, limit: float, pairs: int = PAIRS) -> Ratio:
    """The lower bound of a ratio where the other call did not finish within `limit` seconds."""
    seconds = alone(ours, pairs)
    return Ratio(seconds, limit, limit / seconds, limit / seconds, limit / seconds, 0)
