"""`jaxconv tune`, from its options to its records."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxconv.algorithms.choose import estimates
from jaxconv.algorithms.measured import records, wisdom
from jaxconv.algorithms.measured.records import Record
from jaxconv.algorithms.problem import Problem
from jaxconv.bench import tune_layers
from jaxconv.bench.processes import PeerError
from jaxconv.bench.show import geometric_mean
from jaxconv.bench.tune import Child, candidates, expected, tune
from jaxconv.terminal.console import Console, Table, number, progress
from jaxconv.terminal.output import complain, shown, unwritable

COMMAND = tune_layers.COMMAND


class Enough(Exception):
    """The time of --limit is over."""


def command(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run it; the exit status. `stop_if_told` raises when ctrl-C was pressed."""
    place = options.output or wisdom.file()
    if place is None:
        complain(f"{COMMAND}: there is no home folder to keep wisdom in; give --output, or set {wisdom.VARIABLE}")
        return 2
    try:
        if options.forget:
            return _forget(place)
        known = records.read(place)
        if options.show:
            return _show(table(list(known.values()), str(place)) if known else _nothing(place))
        named = _asked(options)
        wanted = named if options.again else {each: names for each, names in named.items() if each not in known}
        if options.dry_run:
            return _show(plan(wanted, len(named) - len(wanted)))
        place.parent.mkdir(parents=True, exist_ok=True)
    except records.RecordsError as error:
        advice = "name another file" if options.output else f"{COMMAND} --forget deletes it"
        complain(f"{COMMAND}: {error}; {advice}")
        return 2
    except (ValueError, TypeError, OSError) as error:
        complain(str(error) if str(error).startswith(COMMAND) else f"{COMMAND}: {error}")
        return 2
    if fault := unwritable(place):
        complain(f"{COMMAND}: records must go to a file that can be written; {fault}")
        return 2
    return run(wanted, place, options.limit, stop_if_told, len(named) - len(wanted))


def _asked(options: argparse.Namespace) -> dict[Problem, list[str]]:
    """The problems to measure: of a function, of a file, or the public ones."""
    if options.function is not None:
        return tune_layers.of_function(options.function, options.args)
    return tune_layers.public() if options.file is None else tune_layers.read(options.file)


def run(
    named: Mapping[Problem, list[str]],
    place: Path,
    limit: float | None,
    stop_if_told: Callable[[], None],
    skipped: int = 0,
) -> int:
    """Measure problems, each with the names of its layers, and keep every record in the file at `place` at once."""
    end = math.inf if limit is None else time.monotonic() + limit
    made: list[Record] = []
    status, why = 0, ""

    def heeded() -> None:
        stop_if_told()
        if time.monotonic() > end:
            raise Enough

    def keep(record: Record) -> None:
        record.names = named[record.problem]
        records.add(place, [record])

    child, console = Child(heeded=heeded), Console()
    try:
        with progress(console) as display:
            bar = display.add_task("", total=len(named))

            def tell(problem: Problem, left: float) -> None:
                about = f"{title(problem, named[problem])}; about {duration(min(left, end - time.monotonic()))} left"
                display.update(bar, description=about)

            for record in tune(list(named), keep, child, tell):
                made.append(record)
                display.advance(bar)
    except Enough:
        why = f"--limit is reached: {len(named) - len(made)} of {len(named)} problems are left for another time. "
    except KeyboardInterrupt:
        status, why = 130, f"Stopped: {len(named) - len(made)} of {len(named)} problems are left. "
    except (PeerError, OSError, records.RecordsError) as error:
        complain(f"{COMMAND}: {error}")
        status = 2
    finally:
        child.close()
    return _outcome(made, place, why, skipped, status)


def _outcome(made: list[Record], place: Path, why: str, skipped: int, status: int) -> int:
    """Show what came of a run, which is looked up from here on."""
    before = f"{skipped} known already; --again measures them anew. " if skipped else ""
    if not made:
        return _show(f"{why}{before}0 measured.", status)
    wisdom.reload()
    off = "" if place != wisdom.file() or wisdom.is_on() else f" {wisdom.VARIABLE} is off: nothing looks there."
    return _show(table(made, f"{why}{before}{len(made)} measured, kept in {place}.{off}"), status)


def _show(what: Table | str, status: int = 0) -> int:
    return shown(COMMAND, status, lambda: Console().print(what, soft_wrap=isinstance(what, str)))


def _forget(place: Path) -> int:
    there = place.exists()
    place.unlink(missing_ok=True)
    wisdom.reload()
    return _show(f"{place} is deleted." if there else _nothing(place))


def _nothing(place: Path) -> str:
    return f"There is no wisdom of this machine: no file {place}."


# ------------------------------------------------------------------------------------------------- in words


def title(problem: Problem, names: Sequence[str]) -> str:
    """A problem in a few words."""
    g = problem.geometry
    image = "×".join(map(str, g.input_size))
    sizes = f"{problem.batch}×{problem.channels * g.groups}×{image}"
    return f"{names[0] if names else sizes} {problem.which} {g.layout} {problem.dtype}"


def duration(seconds: float) -> str:
    """To one digit or two: "40 s", "3 min", "1.5 h"."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _columns(heading: str, caption: str, *rest: str) -> Table:
    made = Table(title=heading, caption=caption)
    for each in ("layer", "map", "layout", "dtype"):
        made.add_column(each)
    for each in rest:
        made.add_column(each, justify="right")
    return made


def _cells(problem: Problem, names: Sequence[str]) -> tuple[str, ...]:
    words = title(problem, names).split()
    return " ".join(words[:-3]), *words[-3:]


def plan(named: Mapping[Problem, list[str]], skipped: int) -> Table:
    """What would be measured, and how long that takes."""
    together = duration(sum(map(expected, named)))
    caption = f"{len(named)} problems, about {together} on this machine alone; {skipped} are known already."
    made = _columns("jaxconv tune --dry-run", caption, "about", "candidates")
    for problem, names in named.items():
        made.add_row(*_cells(problem, names), duration(expected(problem)), ", ".join(candidates(problem)))
    return made


def table(found: Sequence[Record], caption: str) -> Table:
    """The fastest of each problem, the next one, and what would be taken without wisdom, in milliseconds."""
    gains = []
    made = _columns("jaxconv tune", "", "fastest", "ms", "next", "ms", "estimate takes", "ms", "failed")
    for record in found:
        ranked = sorted(record.seconds, key=lambda name: record.seconds[name])[:2]
        cells = [cell for name in ranked for cell in (name, number(1e3 * record.seconds[name]))]
        guesses = estimates(record.problem)
        guess = min(guesses, key=lambda name: guesses[name])
        if guess in record.seconds:
            gains.append(record.seconds[guess] / record.seconds[ranked[0]])
            taken = [guess, number(1e3 * record.seconds[guess])]
        else:
            taken = [guess, "–"]
        failed = "; ".join(f"{name}: {why}" for name, why in record.failed.items())
        made.add_row(*_cells(record.problem, record.names), *cells, *[""] * (4 - len(cells)), *taken, failed)
    mean = geometric_mean(gains)
    made.caption = caption + (
        "" if mean is None else f"\nWithout wisdom these calls take {number(mean)} times as long, in geometric mean."
    )
    return made
