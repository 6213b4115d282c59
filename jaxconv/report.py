"""What a person sees of a run, and what a program reads: progress, tables, a closing sentence, a JSON file."""

from __future__ import annotations

import json
import os
import platform as machine
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import jaxconv
from jaxconv.rounding import C
from jaxconv.verify.run import PARTS, Row


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then moved there."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def versions() -> dict[str, str]:
    """What a figure depends on."""
    return {
        "jaxconv": jaxconv.__version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "python": machine.python_version(),
        "machine": f"{machine.machine()}, {os.cpu_count()} cores",
    }


def progress(console: Console) -> Progress:
    """A live display: a bar, how many are done, the time, and what is being done."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        # Without a terminal there is nothing to redraw: the table at the end says it all.
        disable=not console.is_terminal,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(rows: Iterable[Row]) -> Table:
    """One line per check: how far from exact, where, and the time beside `jax.grad`'s."""
    shown = Table(
        title="jaxconv verify",
        caption=f"units of the error model; right is at most {C:g}. Times of single cases: LLVM at level 0 on a CPU.",
    )
    for heading in ("", "part", "check", "on"):
        shown.add_column(heading, no_wrap=heading != "check")
    for heading in ("units", "from jax.grad"):
        shown.add_column(heading, justify="right")
    shown.add_column("worst at")
    for heading in ("hand ms", "jax ms", "jax / hand"):
        shown.add_column(heading, justify="right")
    for row in rows:
        ratio = row.jax_ms / row.hand_ms if row.jax_ms and row.hand_ms else None
        name = f"{row.name}\n{row.detail}" if row.detail else row.name

        shown.add_row(
            "ok" if row.passed else "WRONG",
            row.part,
            name,
            row.platform,
            _number(row.units),
            _number(row.apart),
            row.where,
            _number(row.hand_ms),
            _number(row.jax_ms),
            _number(ratio),
            style=None if row.passed else "bold red",
        )
    return shown


def sentence(rows: list[Row], planned: int | None) -> str:
    """The outcome in one sentence; `planned` is None where a run was stopped before its checks were counted."""
    wrong = [row for row in rows if not row.passed]
    counts = ", ".join(f"{sum(r.part == p for r in rows)} {p}s" for p in PARTS if any(r.part == p for r in rows))
    rounded = [row for row in rows if row.units is not None]
    worst = max(rounded, key=lambda row: row.units or 0.0, default=None)
    of_all = "" if planned is None else f" of {planned}"
    so_far = "" if len(rows) == planned else f" Stopped after {len(rows)}{of_all} checks."
    if wrong:
        names = "; ".join(f"{row.part} {row.name!r} on {row.platform}" for row in wrong)
        return f"{len(wrong)} of {len(rows)} checks disagree: {names}.{so_far}"
    if not rows:
        return f"Nothing was checked.{so_far}"
    margin = f"; the worst is {worst.units:.2f} of {C:g} units, {worst.name!r}" if worst else ""
    return f"All {len(rows)} checks agree ({counts}){margin}.{so_far}"


def as_json(rows: list[Row], planned: int | None) -> str:
    """The outcome as JSON: versions, C, whether the run is complete and passed, and every row."""

    def plain(value: Any) -> Any:
        return value if not isinstance(value, float) or np.isfinite(value) else str(value)

    outcome = {
        "versions": versions(),
        "platforms": sorted({row.platform for row in rows}),
        "constant": C,
        "complete": len(rows) == planned,
        "passed": len(rows) == planned and all(row.passed for row in rows),
        "summary": sentence(rows, planned),
        "rows": [{key: plain(value) for key, value in asdict(row).items()} for row in rows],
    }
    return json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def console() -> Console:
    """Where results go. Piped output keeps whole lines: nothing is cut to a width that is not there."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)
