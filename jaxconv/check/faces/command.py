"""`jaxconv check`: `check_vjp` from the shell."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from jaxconv.check.core import check_vjp
from jaxconv.check.faces.report import VjpReport, cause, cells
from jaxconv.terminal.console import Console, Table, json_text, progress
from jaxconv.terminal.console import number as rounded
from jaxconv.terminal.output import complain, shown, written


class BadCall(Exception):
    """What was named on the command line cannot be used; the text says why."""


def check(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run `jaxconv check`; returns the exit status: 0 right, 1 wrong, 2 a bad call. `stop_if_told` raises when ctrl-C
    was pressed.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as with python -m
    try:
        f = found("function", options.function)
        reference = None if options.reference is None else found("--reference", options.reference)
        args = _arguments(options.args)
        report = _checked(f, args, reference, options, stop_if_told)
        stop_if_told()  # what failed because of it is no fault of the rule
    except BadCall as error:
        complain(f"jaxconv check: {error}")
        return 2
    files = {} if options.json is None else {"json": (options.json, lambda: as_json(report))}
    status = 0 if written("jaxconv check", files) else 2
    return shown("jaxconv check", status if report.passed else 1, lambda: show(report))


def found(what: str, name: str) -> Any:
    """The callable that ``package.module:attribute`` names."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise BadCall(f"{what} must be written package.module:name; got {name!r}")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise BadCall(f"{what}: there is no module {error.name!r}, here or installed; got {name!r}") from error
        raise BadCall(f"{what}: the module {module_name!r} could not be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise BadCall(f"{what}: the module {module_name!r} could not be imported: {_said(error)}") from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            raise BadCall(f"{what}: the module {module_name!r} has no attribute {attribute!r}") from error
        except (Exception, SystemExit) as error:
            raise BadCall(f"{what}: {name!r} could not be had: {_said(error)}") from error
    if not callable(value):
        raise BadCall(f"{what}: {name!r} must be callable; got {type(value).__name__}")
    return value


def _arguments(name: str) -> tuple:
    make = found("--args", name)
    try:
        args = make()
    except (Exception, SystemExit) as error:
        raise BadCall(f"--args: {name}() raised {_said(error)}") from error
    if type(args) not in (tuple, list):
        raise BadCall(f"--args: {name}() must return a tuple of the arguments; got {type(args).__name__}")
    return tuple(args)


def _checked(
    f: Any, args: tuple, reference: Any, options: argparse.Namespace, stop_if_told: Callable[[], None]
) -> VjpReport:
    given = {options.function: f} if reference is None else {options.function: f, options.reference: reference}
    for name, function in given.items():
        try:
            function(*args)
        except (Exception, SystemExit) as error:
            raise BadCall(f"{name} does not take the arguments of {options.args}: {_said(error)}") from error
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
        raise BadCall(f"{options.function} could not be checked: {_said(error)}") from error


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


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
    style = "green" if report.passed else "bold red"
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
        table.add_row(*map(told.get, columns), style=None if row.passed else "bold red")
    return table


def as_json(report: VjpReport) -> str:
    """The report as JSON: versions, verdict, every row without its arrays; what is not finite as text."""

    def flat(row: Any) -> dict[str, Any]:
        names = (field.name for field in fields(row))
        return {name: getattr(row, name) for name in names if not name.endswith("_array")}

    return json_text(
        function=report.name,
        passed=report.passed,
        seconds=report.seconds,
        faults=report.faults,
        rows=[flat(row) for row in report.rows],
        transforms=[flat(row) for row in report.transforms],
    )
