"""What a person sees of `jaxconv verify`, and what a program reads: a table, a closing sentence, a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from jaxconv.accuracy.error_model import C
from jaxconv.terminal.console import Table, number, versions
from jaxconv.verify.run import PARTS, Row


def ratio(row: Row) -> float | None:
    """How many times as long as the hand-written gradients JAX's take."""
    return row.jax_ms / row.hand_ms if row.jax_ms and row.hand_ms else None


def table(rows: Iterable[Row], width: int = 160) -> Table:
    """One line per check: how far from exact, where, and, where there is room, the time beside `jax.grad`'s."""
    of = versions()
    shown = Table(
        title="jaxconv verify",
        caption=f"units of the error model; right is at most {C:g}. Times of single cases: LLVM at level 0 on a CPU.\n"
        f"jaxconv {of['jaxconv']}, jax {of['jax']}, jaxlib {of['jaxlib']}, numpy {of['numpy']}, "
        f"Python {of['python']}, {of['machine']}",
    )
    wide = width >= 140
    for heading in ("", "part", "on") if wide else ("", "on"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("check", min_width=24, overflow="fold")
    shown.add_column("units", justify="right", no_wrap=True)
    if wide:
        shown.add_column("from jax.grad", justify="right")
    shown.add_column("worst at", overflow="fold")
    if wide:
        for heading in ("hand ms", "jax ms", "jax / hand"):
            shown.add_column(heading, justify="right")
    for row in rows:
        ok = "ok" if row.passed else "WRONG"
        detail = f"\n{row.detail}" if row.detail else ""
        times = (number(value) for value in (row.hand_ms, row.jax_ms, ratio(row)))
        if wide:
            cells = [
                ok,
                row.part,
                row.platform,
                row.name + detail,
                number(row.units),
                number(row.apart),
                row.where,
                *times,
            ]
        else:
            cells = [ok, row.platform, f"{row.part} {row.name}{detail}", number(row.units), row.where]
        shown.add_row(*cells, style=None if row.passed else "bold red")
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

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    outcome: dict[str, Any] = {
        "versions": versions(),
        "platforms": sorted({row.platform for row in rows}),
        "constant": C,
        "complete": len(rows) == planned,
        "passed": len(rows) == planned and all(row.passed for row in rows),
        "summary": sentence(rows, planned),
        "rows": [plain(asdict(replace(row, heat=None))) for row in rows],
    }
    for row in outcome["rows"]:
        del row["heat"]  # a picture, for the page
    return json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
