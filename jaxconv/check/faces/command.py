"""`jaxconv check`: `check_vjp` from the shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from jaxconv.check.core import check_vjp
from jaxconv.check.faces.report import VjpReport, cause, cells
from jaxconv.terminal.console import Console, Table, json_text, progress
from jaxconv.terminal.console import number as rounded
from jaxconv.terminal.named import BadCall, arguments, found, look_here, said
from jaxconv.terminal.output import complain, shown, written


def check(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run `jaxconv check`; returns the exit status: 0 right, 1 wrong or not judged, 2 a bad call. `stop_if_told` raises
    when ctrl-C was pressed.
    """
    look_here()
    if options.all:
        from jaxconv.check.faces.package import check_all

        return check_all(options, stop_if_told)
    try:
        f = found("function", options.function)
        reference = None if options.reference is None else found("--reference", options.reference)
        args = arguments(options.args)
        report = _checked(f, args, reference, options, stop_if_told)
        stop_if_told()  # what failed because of it is no fault of the rule
    except BadCall as error:
        complain(f"jaxconv check: {error}")
        return 2
    files = {} if options.json is None else {"json": (options.json, lambda: as_json(report))}
    status = 0 if written("jaxconv check", files) else 2
    return shown("jaxconv check", status if report.passed else 1, lambda: show(report))


def _checked(
    f: Any, args: tuple, reference: Any, options: argparse.Namespace, stop_if_told: Callable[[], None]
) -> VjpReport:
    given = {options.function: f} if reference is None else {options.function: f, options.reference: reference}
    for name, function in given.items():
        try:
            function(*args)
        except (Exception, SystemExit) as error:
            raise BadCall(f"{name} does not take the arguments of {options.args}: {said(error)}") from error
    transforms = not options.no_transforms
    how = {"reference": reference, "directions": options.directions, "seed": options.seed, "transforms": transforms}
    try:
        with progress(Console()) as display:
            bar = display.add_task(options.function, total=None)

            def tell(done: int, total: int, what: str) -> None:
                stop_if_told()
                display.update(bar, completed=done, total=total, description=what)

            return check_vjp(f, *args, **how, progress=tell)
    except (TypeError, ValueError) as error:
        stop_if_told()
        raise BadCall(f"{options.function} could not be checked: {said(error)}") from error


def show(report: VjpReport) -> None:
    """The report on the terminal; wrong is also said in words, for those who see no colour."""
    console = Console()
    for fault in report.faults:
        console.print(f"FAULT  {fault}", style="bold red", soft_wrap=True)
    if report.rows:
        console.print(_inputs(report))
    if report.transforms:
        table = Table(title="transforms")
        for heading in ("", "under", ""):
            table.add_column(heading, overflow="fold")
        for each in report.transforms:
            style = None if each.passed else "bold red"
            table.add_row("ok" if each.passed else "WRONG", each.name, each.detail, style=style)
        console.print(table)
    outcome = report.outcome
    style = {"right": "green", "WRONG": "bold red"}.get(outcome, "bold yellow")
    console.print(f"check_vjp of {report.name}: {outcome} ({report.seconds:.2f} s)", style=style, soft_wrap=True)


def _inputs(report: VjpReport) -> Table:
    table = Table(title=f"check_vjp of {report.name}")
    for heading in ("", "input", "verdict"):
        table.add_column(heading, overflow="fold")
    table.add_column("units", justify="right", no_wrap=True)
    for heading in ("worst at", "got", "right", "wrong"):
        table.add_column(heading, overflow="fold")
    for row in report.rows:
        more = [text for text in (row.pattern, cause(row)) if text and not row.passed]
        told = cells(row) | {"verdict": "\n".join([row.verdict, *more]), "units": rounded(row.units)}
        columns = "", "input", "verdict", "units", "worst at", "got", "right", "wrong"
        table.add_row(
            *map(told.get, columns), style=None if row.passed else "bold yellow" if row.refused else "bold red"
        )
    return table


def as_json(report: VjpReport) -> str:
    """The report as JSON: versions, verdict, every row without its arrays; what is not finite as text."""

    def flat(row: Any) -> dict[str, Any]:
        names = (field.name for field in fields(row))
        return {name: getattr(row, name) for name in names if not name.endswith("_array")}

    return json_text(
        function=report.name,
        passed=report.passed,
        outcome=report.outcome,
        seconds=report.seconds,
        faults=report.faults,
        rows=[flat(row) for row in report.rows],
        transforms=[flat(row) for row in report.transforms],
    )
