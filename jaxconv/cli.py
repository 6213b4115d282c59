"""The command `jaxconv`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

EXTRAS = {"rich": "cli", "optax": "demo", "sklearn": "demo"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `jaxconv`; returns the exit status: 0 all right, 1 something disagrees, 2 a wrong call, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="jaxconv", description="Hand-written gradients for JAX, checked.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="compare every hand-written gradient with jax.grad and float64",
        description="Work the nine exercises, go through a table of convolutions and recurrences, and train on "
        "handwritten digits, on every platform that JAX sees here. Exit status 1 if any gradient disagrees.",
    )
    verify.add_argument("--quick", action="store_true", help="a part of the tables and shorter trainings")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the outcome as JSON, whole or not at all")
    options = parser.parse_args(arguments)
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({EXTRAS[name] for name in missing}))
        print(
            f"jaxconv {options.command}: needs {', '.join(missing)}: pip install 'jaxconv[{extras}]'", file=sys.stderr
        )
        return 2
    return _verify(options)


def _verify(options: argparse.Namespace) -> int:
    if options.json is not None and not options.json.resolve().parent.is_dir():
        print(f"jaxconv verify: --json must name a file in a folder that exists; got {options.json}", file=sys.stderr)
        return 2
    try:
        from jaxconv import report
        from jaxconv.verify import run
    except KeyboardInterrupt:
        return 130

    console = report.console()
    rows: list[run.Row] = []
    interrupted = False
    planned = 0
    try:
        work = run.tasks(options.quick)
        planned = len(work)
        with report.progress(console) as progress:
            bar = progress.add_task("", total=sum(task.steps for task in work))
            for task in work:
                progress.update(bar, description=f"{task.part}: {task.name} ({task.platform})")
                for row in task.work():
                    progress.advance(bar)
                    if row is not None:
                        rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    console.print(report.table(rows))
    console.print(report.sentence(rows, planned), soft_wrap=True)
    if options.json is not None:
        report.write_whole(options.json, report.as_json(rows, planned))
    if not all(row.passed for row in rows):
        return 1
    return 130 if interrupted else 0
