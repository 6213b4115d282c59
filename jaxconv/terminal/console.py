"""What every command shows in a terminal: tables, a progress bar, numbers, and what they depend on."""

from __future__ import annotations

import json
import os
import platform as machine
import sys
from collections import Counter
from importlib.metadata import version
from typing import Any, TextIO, cast

import jax
import numpy as np
import rich.console
import rich.table
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import jaxconv
from jaxconv.terminal.output import Legible, legible


def versions() -> dict[str, str]:
    """What a figure depends on."""
    kinds = Counter(device.device_kind for device in jax.devices())
    return {
        "jaxconv": jaxconv.__version__,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "python": machine.python_version(),
        "machine": f"{machine.machine()}, {os.cpu_count()} cores",
        "system": machine.platform(),
        "devices": ", ".join(f"{count} × {kind}" for kind, count in kinds.items()),
    }


def json_text(**outcome: Any) -> str:
    """An outcome as JSON, the versions first; what is not finite as text, a complex number as a pair."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(each) for each in value]
        if isinstance(value, complex):
            return [plain(value.real), plain(value.imag)]
        if value is None or isinstance(value, (str, bool, int)):
            return value
        number = float(value)
        return number if np.isfinite(number) else str(number)

    outcome = {"versions": versions(), **plain(outcome)}
    return json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class Console(rich.console.Console):
    """Standard output. Piped output keeps whole lines: nothing is cut to a width that is not there.

    Text is shown as it stands: to rich's markup the indices in `x[c, 2r + k]` are a tag, and vanish.
    """

    def __init__(self) -> None:
        wide = None if getattr(sys.stdout, "isatty", bool)() else 160
        super().__init__(file=cast(TextIO, Legible()), width=wide, highlight=False, markup=False, emoji=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """As of rich; text is `legible` before it is laid out."""
        super().print(*(legible(each) if isinstance(each, str) else each for each in objects), **options)


class Table(rich.table.Table):
    """As rich's; text is `legible` before it is laid out."""

    def __init__(self, title: str, caption: str | None = None) -> None:
        super().__init__(title=legible(title), caption=caption and legible(caption))

    def add_column(self, header: Any = "", *rest: Any, **options: Any) -> None:
        super().add_column(legible(header), *rest, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*map(legible, cells), **options)


def progress(console: rich.console.Console) -> Progress:
    """A live display: a bar, how many are done, the time, and what is being done."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        # Without a terminal there is nothing to redraw: the table at the end says it all.
        disable=not console.is_terminal,
    )


def number(value: float | None) -> str:
    """Two decimals while they say something: "0.88", "8.7e+07"."""
    return "" if value is None else f"{value:.2f}" if abs(value) < 1000 else f"{value:.1e}"
