"""What a person sees of `jaxconv verify`, and what a program reads: a table, a closing sentence, a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from jaxconv.accuracy.error_model import C
from jaxconv.terminal.console import Table, json_text, number, versions
from jaxconv.verify.run import PARTS, Row


def ratio(row: Row) -> float | None:
    """How many times as long as the hand-written gradients JAX's take."""
    return row.jax_ms / row.hand_ms if row.jax_ms and row.hand_ms else None


class Column(NamedTuple):
    """A column of the tables: its heading, its text, the number it sorts by where it has one, its kind."""

    heading: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None
    kind: str = "short"


def _number(heading: str, value: Callable[[Row], float | None]) -> Column:
    return Column(heading, lambda row: number(value(row)), value, "number")


COLUMNS = (
    Column("", lambda row: "ok" if row.passed else "WRONG"),
    Column("part", lambda row: row.part),
    Column("on", lambda row: row.platform),
    Column("check", lambda row: row.name, kind="long"),
    _number("units", lambda row: row.units),
    _number("from jax.grad", lambda row: row.apart),
    Column("worst at", lambda row: row.where),
    _number("hand ms", lambda row: row.hand_ms),
    _number("jax ms", lambda row: row.jax_ms),
    _number("jax / hand", ratio),
)
NARROW = ("", "on", "check", "units", "worst at")  # what a narrow terminal has room for
SHOWN: dict[str, dict[str, Any]] = {  # how a terminal shows a column, by its heading, else by its kind
    "check": {"min_width": 24, "overflow": "fold"},
    "units": {"justify": "right", "no_wrap": True},
    "worst at": {"overflow": "fold"},
    "number": {"justify": "right"},
    "short": {"no_wrap": True},
}


def table(rows: Iterable[Row], width: int = 160) -> Table:
    """One line per check: how far from exact, where, and, where there is room, the time beside `jax.grad`'s."""
    of = versions()
    shown = Table(
        title="jaxconv verify",
        caption=f"units of the error model; right is at most {C:g}. Times of single cases: LLVM at level 0 on a CPU.\n"
        f"jaxconv {of['jaxconv']}, jax {of['jax']}, jaxlib {of['jaxlib']}, numpy {of['numpy']}, "
        f"Python {of['python']}, {of['machine']}",
    )
    roomy = width >= 140
    columns = [column for column in COLUMNS if roomy or column.heading in NARROW]
    for column in columns:
        shown.add_column(column.heading, **SHOWN.get(column.heading, SHOWN.get(column.kind, {})))
    for row in rows:
        cells = {column.heading: column.text(row) for column in columns}
        cells["check"] = "\n".join(filter(None, [row.name if roomy else f"{row.part} {row.name}", row.detail]))
        shown.add_row(*cells.values(), style=None if row.passed else "bold red")
    return shown


MOST_NAMES = 8  # of checks that disagree, in one sentence


def sentence(rows: list[Row], planned: int | None, *, names: bool = True) -> str:
    """The outcome in one sentence; `planned` is None where a run was stopped before its checks were counted."""
    wrong = [row for row in rows if not row.passed]
    parts = {part: sum(row.part == part for row in rows) for part in PARTS}
    counts = ", ".join(f"{count} {part}{'s' * (count > 1)}" for part, count in parts.items() if count)
    rounded = [row for row in rows if row.units is not None]
    worst = max(rounded, key=lambda row: row.units or 0.0, default=None)
    of_all = "" if planned is None else f" of {planned}"
    so_far = "" if len(rows) == planned else f" Stopped after {len(rows)}{of_all} checks."
    if wrong:
        listed = [f"{row.part} {row.name!r} on {row.platform}" for row in wrong[:MOST_NAMES]]
        listed += [f"and {len(wrong) - MOST_NAMES} more"] * (len(wrong) > MOST_NAMES)
        disagree = "check disagrees" if len(rows) == 1 else "checks disagree"
        return f"{len(wrong)} of {len(rows)} {disagree}{': ' * names}{'; '.join(listed * names)}.{so_far}"
    if not rows:
        return f"Nothing was checked.{so_far}"
    margin = f"; the worst is {worst.units:.2f} of {C:g} units, {worst.name!r}" if worst else ""
    return f"All {len(rows)} checks agree ({counts}){margin}.{so_far}"


def as_json(rows: list[Row], planned: int | None) -> str:
    """The outcome as JSON: versions, C, whether the run is complete and passed, and every row."""
    found = [asdict(replace(row, heat=None)) for row in rows]
    for row in found:
        del row["heat"]  # a picture, for the page
    return json_text(
        platforms=sorted({row.platform for row in rows}),
        constant=C,
        complete=len(rows) == planned,
        passed=len(rows) == planned and all(row.passed for row in rows),
        summary=sentence(rows, planned),
        rows=found,
    )
