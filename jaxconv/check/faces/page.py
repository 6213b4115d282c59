"""A report as HTML for a notebook: verdict, faults, one table for the inputs and one for the transforms, heat maps.

Nothing from outside is needed and no script runs; its style holds inside its own box only.
"""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

import numpy as np

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat
from jaxconv.check.faces.report import TransformRow, VjpReport, VjpRow, cells, place
from jaxconv.terminal import picture

BOX = "jaxconv-check"
MOST_PICTURES = 4
KINDS = {"right": "right", "WRONG": "wrong"}


def html(report: VjpReport) -> str:
    """The report as a fragment, all text escaped."""
    word = report.outcome
    kind = KINDS.get(word, "unknown")
    sentence = f"check_vjp of {report.name}: {len(report.rows)} inputs, {report.seconds:.2f} s"
    faults = "".join(f'<li class="wrong">{escape(fault)}</li>' for fault in report.faults)
    return (
        f'<div class="{BOX}"><style>{_style()}</style>'
        f'<div class="verdict {kind}" role="status"><strong>{word}</strong><span>{escape(sentence)}</span></div>'
        f"{'<ul>' * bool(faults)}{faults}{'</ul>' * bool(faults)}"
        f"{_inputs(report)}{_pictures(report)}{_transforms(report.transforms)}</div>"
    )


def _style() -> str:
    """The style of the page of `jaxconv verify`, every selector of it inside the box.

    >>> ".jaxconv-check td.wrong" in _style(), ":root" in _style(), "body {" in _style()
    (True, False, False)
    """
    css = files("jaxconv.terminal").joinpath("page.css").read_text(encoding="utf-8")

    def inside(found: re.Match[str]) -> str:
        selectors = (each.strip() for each in found[2].split(","))
        own = (f".{BOX}" if each in (":root", "body") else f".{BOX} {each}" for each in selectors)
        return f"{found[1]}{', '.join(own)} {{"

    return re.sub(r"^(\s*)([^@\s{}][^{}]*?) \{", inside, css, flags=re.MULTILINE)


def _inputs(report: VjpReport) -> str:
    if not report.rows:
        return ""
    lines = [cells(row) for row in report.rows]
    shown = [name for name in lines[0] if not name or any(line[name] for line in lines)]
    heads = "".join(f'<th scope="col">{name or "outcome"}</th>' for name in shown)
    body = ""
    for row, line in zip(report.rows, lines, strict=True):
        kind = "right" if row.passed else "unknown" if row.refused else "wrong"
        entries = (f'<td class="{"" if name else kind}">{escape(line[name])}</td>' for name in shown)
        body += f"<tr>{''.join(entries)}</tr>"
    return _table("inputs", heads, body)


def _pictures(report: VjpReport) -> str:
    """The distances of the wrong inputs, worst first; where none is wrong, of the worst of the right ones."""
    drawn = sorted((row for row in report.rows if heat_of(row) is not None), key=lambda row: -_largest(row))
    drawn = [row for row in drawn if not row.passed][:MOST_PICTURES] or drawn[:1]
    if not drawn:
        return ""
    figures = ""
    for row in drawn:
        heat = heat_of(row)
        assert heat is not None
        caption = f"<strong>{escape(place(row))}</strong> is the worst. {escape(heat.reading)}"
        figures += f"<figure><figcaption>{caption}</figcaption>{picture.heat_map(heat)}</figure>"
    note = f"Shades: distance from what is right, in units of the error model; right is at most {C:g}."
    return f'{picture.PATTERNS}<p class="note">{note}</p>{picture.legend()}{figures}'


def heat_of(row: VjpRow) -> Heat | None:
    """The distances of a row as a picture in which C is what is just right; None where there are none."""
    if row.units_array is None or not np.size(row.units_array):
        return None
    return Heat.of(row.input, np.asarray(row.units_array, np.float64) * (C / row.limit))


def _largest(row: VjpRow) -> float:
    return np.inf if np.isnan(row.units) else float(row.units)


def _transforms(rows: tuple[TransformRow, ...]) -> str:
    if not rows:
        return ""
    body = "".join(
        f'<tr><td class="{"right" if row.passed else "wrong"}">{"ok" if row.passed else "WRONG"}</td>'
        f"<td>{escape(row.name)}</td><td>{escape(row.detail)}</td></tr>"
        for row in rows
    )
    return _table("transforms", "".join(f'<th scope="col">{name}</th>' for name in ("outcome", "under", "")), body)


def _table(label: str, heads: str, body: str) -> str:
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
