"""The outcome of a run as one page of HTML that needs nothing else: no network, no fonts, no other file.

Everything that stands in it is escaped, and its only script is named by its digest, so that no text from outside runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from jaxconv.accuracy.error_model import C
from jaxconv.accuracy.heat import Heat
from jaxconv.terminal import picture
from jaxconv.terminal.console import number as rounded
from jaxconv.terminal.console import versions
from jaxconv.terminal.page import page
from jaxconv.verify import report
from jaxconv.verify.report import Column
from jaxconv.verify.run import PARTS, Row

MOST_PICTURES = 4  # of checks that disagree
HEADINGS = ("", "check", "units", "worst at", "from jax.grad", "hand ms", "jax ms", "jax / hand", "on")

_READING = (
    f"units: the worst distance from float64 in units of the error model, right is at most {C:g}. from jax.grad: the "
    f"distance from JAX's gradients, right is at most {2 * C:g}. second: a gradient of the gradients. Times are "
    "medians; those of convolutions and recurrences were compiled with LLVM at level 0 on a CPU, those of trainings as "
    "usual."
)


def as_html(rows: list[Row], planned: int | None) -> str:
    """The page: verdict, counts, machine; pictures of the worst; a table for each part."""
    numbered = list(enumerate(rows, 1))
    body = [_first_screen(numbered, planned), *_pictures(numbered), f'<p class="note">{escape(_READING)}</p>']
    body += [_table(part, [pair for pair in numbered if pair[1].part == part]) for part in PARTS]
    body.append("</main>")
    js = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    verdict = "agrees" if _passed(rows, planned) else "DISAGREES" if not all(r.passed for r in rows) else "incomplete"
    return page(f"jaxconv verify: {verdict}", "", "\n".join(body), js)


def _passed(rows: list[Row], planned: int | None) -> bool:
    return len(rows) == planned and all(row.passed for row in rows)


def _first_screen(numbered: list[tuple[int, Row]], planned: int | None) -> str:
    rows = [row for _, row in numbered]
    wrong = [(n, row) for n, row in numbered if not row.passed]
    kind, word = ("wrong", "WRONG") if wrong else ("right", "ok") if _passed(rows, planned) else ("wrong", "INCOMPLETE")
    links = "".join(
        f'<li><a href="#check-{n}">{escape(f"{row.part}: {row.name} ({row.platform})")}</a></li>' for n, row in wrong
    )
    failures = f'<ul class="wrong">{links}</ul>' if wrong else ""
    counts = ""
    for part in PARTS:
        of_part = [row for row in rows if row.part == part]
        passed = sum(row.passed for row in of_part)
        if of_part:
            colour = "right" if passed == len(of_part) else "wrong"
            counts += f'<li class="count {colour}">{escape(part)} <strong>{passed} of {len(of_part)}</strong></li>'
    facts = {**versions(), "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    machine = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return (
        "<header><h1>jaxconv verify</h1>"
        f'<div class="verdict {kind}" role="status"><strong>{word}</strong>'
        f"<span>{escape(report.sentence(rows, planned, names=False))}</span></div>"
        f'<ul class="counts">{counts}</ul>{failures}'
        f"<dl>{machine}</dl></header><main>"
    )


def _pictures(numbered: Iterable[tuple[int, Row]]) -> list[str]:
    """The wrong checks, worst first; where none is wrong, the worst of the right ones."""
    drawn = [(n, row, row.heat) for n, row in numbered if row.heat is not None]
    drawn.sort(key=lambda each: -(each[1].units or 0.0))
    shown = [each for each in drawn if not each[1].passed][:MOST_PICTURES] or drawn[:1]
    if not shown:
        return []
    return [
        picture.PATTERNS,
        "<section><h2>Where the worst error sits</h2>",
        f'<p class="note">Shades: distance from float64 in units of the error model; right is at most {C:g}.</p>',
        picture.legend(),
        *(_figure(*each) for each in shown),
        "</section>",
    ]


def _figure(number: int, row: Row, heat: Heat) -> str:
    outputs = "".join(
        f'<tr><td class="output">{escape(name)}</td><td class="number">{rounded(units)}</td>'
        f"<td>{picture.bar(units)}</td></tr>"
        for name, units in row.outputs.items()
    )
    caption = (
        f'<strong>{escape(row.part)}: <a href="#check-{number}">{escape(row.name)}</a></strong> on '
        f"{escape(row.platform)}, worst at <code>{escape(row.where)}</code>: {rounded(row.units)} units. "
        f"{escape(heat.reading)}"
    )
    table = f"<table><thead><tr><th>output</th><th>units</th><th></th></tr></thead><tbody>{outputs}</tbody></table>"
    drawing = f'<div class="side">{picture.heat_map(heat)}{table if outputs else ""}</div>'
    return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>"


def _table(part: str, numbered: list[tuple[int, Row]]) -> str:
    """One part's checks; columns that nothing stands in are left out."""
    if not numbered:
        return ""
    named = {column.heading: column for column in report.COLUMNS}
    columns = [named[heading] for heading in HEADINGS if any(named[heading].text(row) for _, row in numbered)]
    heads = "".join(f'<th class="{c.kind}" scope="col">{escape(c.heading) or "outcome"}</th>' for c in columns)
    lines = "".join(
        f'<tr id="check-{n}">{"".join(_cell(column, row) for column in columns)}</tr>\n' for n, row in numbered
    )
    return (
        f"<section><h2>{escape(part.capitalize())}s <small>({len(numbered)})</small></h2>"
        f'<div class="scroll" role="region" aria-label="{escape(part)}s" tabindex="0"><table class="sorts">'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{lines}</tbody></table></div></section>"
    )


def _cell(column: Column, row: Row) -> str:
    name = column.kind
    if not column.heading:
        name += " right" if row.passed else " wrong"
    value = column.value(row) if column.value else None
    number = "" if value is None else repr(float(value)) if math.isfinite(value) else "Infinity"
    sorts_by = f' data-value="{number}"' if number else ""
    detail = f"<small>{escape(row.detail)}</small>" if column.heading == "check" and row.detail else ""
    return f'<td class="{name}"{sorts_by}>{escape(column.text(row))}{detail}</td>'
