"""`jaxconv check --all PACKAGE`: every custom rule of a package, those checked for which arguments are given."""

from __future__ import annotations

import argparse
import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxconv.check.core import check_vjp
from jaxconv.check.faces.report import VjpReport
from jaxconv.check.rules import custom_rules, rule_of
from jaxconv.terminal.console import Console, Table, json_text
from jaxconv.terminal.named import BadCall, found, said
from jaxconv.terminal.output import complain, shown, written

NEEDS = "needs arguments"


@dataclass
class Line:
    """What is said of one function."""

    name: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0


def check_all(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run `jaxconv check --all`; returns the exit status: 0 right, 1 wrong or not judged, 2 a bad call."""
    try:
        if options.function or options.reference:
            raise BadCall("--all takes no function and no --reference: ARGUMENTS may hold references")
        given = given_arguments(options.args) if options.args else {}
        try:
            rules = custom_rules(options.all)
        except ValueError as error:
            raise BadCall(str(error)) from error
        lines = _lines(options, rules, given, stop_if_told)
    except BadCall as error:
        complain(f"jaxconv check: {error}")
        return 2
    counts = Counter(line.outcome for line in lines)
    files = {} if options.json is None else {"json": (options.json, lambda: _as_json(options.all, lines))}
    status = 0 if written("jaxconv check", files) else 2
    wrong = any(outcome not in ("right", NEEDS) for outcome in counts)
    return shown("jaxconv check", status or int(wrong), lambda: _show(options.all, lines, counts))


def given_arguments(module: str) -> dict[str, Any]:
    """The ARGUMENTS of a module: name of a function → a tuple, a function that returns one, or a dict with "args"
    and options of `check_vjp`.
    """
    try:
        given = importlib.import_module(module).ARGUMENTS
    except (Exception, SystemExit) as error:
        raise BadCall(f"--args: ARGUMENTS of the module {module!r} could not be had: {said(error)}") from error
    if not isinstance(given, Mapping):
        raise BadCall(f"--args: {module}.ARGUMENTS must be a dict; got {type(given).__name__}")
    return dict(given)


def _lines(
    options: argparse.Namespace, rules: dict[str, Any], given: dict[str, Any], stop_if_told: Callable[[], None]
) -> list[Line]:
    """One line for each rule, and for each other function that arguments are given for."""
    full = {name if ":" in name and name.startswith(options.all) else f"{options.all}.{name}": name for name in given}
    functions = {**rules, **{name: found("--args", name) for name in full if name not in rules}}
    same = {id(rule_of(f)): name for name, f in functions.items() if name in full}  # under another name
    lines = []
    for name, f in sorted(functions.items()):
        stop_if_told()
        if name in full:
            lines.append(_checked(name, f, given[full[name]], options))
        elif id(rule_of(f)) not in same:
            lines.append(Line(name, NEEDS, kind_of(f)))
    return lines


def kind_of(f: Any) -> str:
    return type(rule_of(f)).__name__


def _checked(name: str, f: Any, case: Any, options: argparse.Namespace) -> Line:
    try:
        case = case() if callable(case) else case
        more = dict(case) if isinstance(case, Mapping) else {"args": case}
        args = tuple(more.pop("args"))
        how = {"directions": options.directions, "seed": options.seed, "transforms": not options.no_transforms}
        report = check_vjp(f, *args, **{**how, **more})
    except (Exception, SystemExit) as error:
        return Line(name, "could not be checked", said(error))
    return Line(name, report.outcome, _detail(report), report.seconds)


def _detail(report: VjpReport) -> str:
    """The first that is wrong; where nothing is, how near the worst row is."""
    bad = [*report.faults, *(f"{row.input}: {row.verdict}" for row in report.rows if not row.passed)]
    bad += [f"under {each.name}: {each.detail}" for each in report.transforms if not each.passed]
    worst = max(report.rows, key=lambda row: row.units)
    return bad[0] if bad else f"{worst.input}: {worst.verdict}"


def _show(package: str, lines: list[Line], counts: Counter[str]) -> None:
    console, table = Console(), Table(title=f"custom rules of {package}")
    for heading in ("", "function", ""):
        table.add_column(heading, overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    styles = {"right": None, NEEDS: "dim"}
    for line in lines:
        seconds = f"{line.seconds:.1f}" if line.seconds else ""
        table.add_row(line.outcome, line.name, line.detail, seconds, style=styles.get(line.outcome, "bold red"))
    console.print(table)
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    console.print(f"{len(lines)} functions: {told or 'none has a custom rule'}", soft_wrap=True)


def _as_json(package: str, lines: list[Line]) -> str:
    return json_text(package=package, functions=[vars(line) for line in lines])
