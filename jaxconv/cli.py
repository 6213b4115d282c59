"""The command `jaxconv`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxconv.terminal.output import Legible, OutputError, complain, shown, unwritable, written
from jaxconv.terminal.sigint import sigint_guard

if TYPE_CHECKING:
    from jaxconv.verify.run import Row


class _Parser(argparse.ArgumentParser):
    """Its help is output like any other."""

    def print_help(self, file: Any = None) -> None:
        if file is not None:
            super().print_help(file)
        elif status := shown(self.prog, 0, lambda: Legible().write(self.format_help())):
            self.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `jaxconv`; returns the exit status.

    0 all right, 1 something disagrees, 2 a wrong call or a file that cannot be written, 130 interrupted.
    """
    parser = _Parser(prog="jaxconv", description="Hand-written gradients for JAX, checked.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="compare every hand-written gradient with jax.grad and float64",
        description="Work the nine exercises, go through a table of convolutions and recurrences, and train on "
        "handwritten digits, on every platform that JAX sees here. Exit status 1 if any gradient disagrees.",
    )
    verify.add_argument("--quick", action="store_true", help="a part of the tables and shorter trainings")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the outcome as JSON, whole or not at all")
    verify.add_argument("--html", type=Path, metavar="FILE", help="write it as a page for a browser, likewise")
    size = commands.add_parser(
        "size",
        help="sizes, cost and receptive field of a layer or a chain of layers",
        description=_SIZE,
        epilog=_SIZE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size.add_argument("input", help="channels and sizes, like 3x224x224; or MODULE:FUNCTION, of JAX; or MODEL.onnx")
    size.add_argument("layers", nargs="*", metavar="LAYER", help='a layer in words, like "64 7x7 s2 p3"')
    size.add_argument("--kernel", help="one layer by options instead of words: 3, or 3x5")
    size.add_argument("--filters", help="filters of that layer; without it, pooling")
    for name in ("stride", "padding", "dilation", "groups"):
        size.add_argument(f"--{name}", help="of that layer")
    size.add_argument("--args", metavar="MODULE:MAKE", help="a function that returns the arguments of MODULE:FUNCTION")
    size.add_argument(
        "--input", dest="inputs", action="append", default=[], metavar="NAME=SHAPE",
        help="the shape of an input of MODEL.onnx that leaves dimensions open, like x=1x3x224x224",
    )  # fmt: skip
    _add_bench(commands)
    _add_tune(commands)
    _add_check(commands)
    _add_explore(commands)
    options = parser.parse_args(arguments)
    options.given = list(sys.argv[1:] if arguments is None else arguments)
    run = {"size": _size, "bench": _bench, "tune": _tune, "check": _check, "verify": _verify, "explore": _explore}[
        options.command
    ]
    try:
        return run(options)
    except OutputError as error:  # while it shows how far it has come
        complain(f"jaxconv {options.command}: the output could not be written: {error}")
        return 2
    except KeyboardInterrupt:  # under `sigint_guard`
        return 130


def _lacks(command: str, extras: dict[str, str]) -> bool:
    """Whether a package is missing, which is then said with the extra that brings it: `extras` is package → extra."""
    missing = [name for name in extras if importlib.util.find_spec(name) is None]
    if missing:
        wanted = ",".join(sorted({extras[name] for name in missing}))
        complain(f"jaxconv {command}: needs {', '.join(missing)}: pip install 'jaxconv[{wanted}]'")
    return bool(missing)


def _all_writable(command: str, paths: dict[str, Path]) -> bool:
    """Whether every file can be written, as far as can be told before the run; else what is wrong is said."""
    for name, path in paths.items():
        if fault := unwritable(path):
            complain(f"jaxconv {command}: --{name} must name a file in a folder that exists; {fault}")
            return False
    if len({path.resolve() for path in paths.values()}) < len(paths):
        both = " and ".join(f"--{name}" for name in paths)
        complain(f"jaxconv {command}: {both} must name two files; got {next(iter(paths.values()))} for both")
        return False
    return True


def _given(options: argparse.Namespace, *names: str) -> dict[str, Path]:
    return {name: path for name in names if (path := getattr(options, name)) is not None}


def _add_bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser(
        "bench",
        help="times beside jax.grad of lax, PyTorch, ONNX Runtime, flax and equinox",
        description="The value and both gradients of fifteen convolutions, or, after the word gated, gru or lstm, of "
        "eleven recurrences, after the word nets a training step of eight nets, each beside other frameworks' in "
        "interleaved pairs. Every other framework runs in a process of its own.",
    )
    bench.add_argument("names", nargs="*", metavar="NAME", help="workloads; gated, gru or lstm: the recurrences; nets: "
                       "whole nets; without: all convolutions")  # fmt: skip
    bench.add_argument("--against", metavar="A,B", help="lax, torch, onnxruntime, flax, equinox; for gated: plain, "
                       "hoisted, flax_gru, equinox_gru, torch_gru, torch_cell, onnxruntime_gru; for gru and "
                       "lstm: plain, hoisted, flax, torch, onnxruntime; for nets: lax, torch")  # fmt: skip
    bench.add_argument("--python", metavar="PATH", help="the interpreter that has the other frameworks")
    bench.add_argument("--file", type=Path, metavar="FILE", help="own convolutions: a JSON list of objects")
    bench.add_argument("--layout", choices=("channels_first", "channels_last"),
                       help="of convolutions, channels_first if not said; of nets, the faster one")  # fmt: skip
    bench.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32")
    bench.add_argument("--lowering", default="auto", metavar="NAME", help="the algorithm; auto: the fastest")
    bench.add_argument("--limit", type=float, default=30.0, metavar="S", help="seconds that a peer's call may take")
    bench.add_argument("--accelerate", action="store_true",
                       help="of nets: beside lax's, compiled under jaxconv.accelerate()")  # fmt: skip
    bench.add_argument("--quick", action="store_true", help="three pairs instead of seven")
    for name in ("json", "markdown"):
        bench.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write it as {name}, whole or not at all")


def _bench(options: argparse.Namespace) -> int:
    if _lacks("bench", {"rich": "cli"}) or not _all_writable("bench", _given(options, "json", "markdown")):
        return 2
    if not options.limit > 0:
        complain(f"jaxconv bench: --limit must be positive; got {options.limit:g}")
        return 2
    with sigint_guard() as stop_if_told:
        if options.dtype == "float64":
            import jax

            jax.config.update("jax_enable_x64", True)
        from jaxconv.bench.command import bench

        return bench(options, stop_if_told)


def _add_tune(commands: argparse._SubParsersAction) -> None:
    tune = commands.add_parser(
        "tune",
        help="measure which algorithm is fastest here, for later calls to look up",
        description="Measure every algorithm that can serve a convolution, its value and both gradients, and keep the "
        "times in the user's cache folder, where conv looks them up. Without a function or --file: the fifteen "
        "convolutions of jaxconv bench. What is known already is skipped. Ctrl-C keeps what was measured.",
    )
    tune.add_argument("function", nargs="?", metavar="MODULE:FUNCTION", help="the convolutions of a JAX function")
    tune.add_argument("--args", metavar="MODULE:MAKE", help="a function that returns its arguments")
    tune.add_argument("--file", type=Path, metavar="FILE", help="own convolutions: a JSON list of objects")
    tune.add_argument("--limit", type=float, metavar="S", help="stop after so many seconds, and keep what is measured")
    tune.add_argument("--again", action="store_true", help="measure what is known, too")
    tune.add_argument("--output", type=Path, metavar="FILE", help="keep the times in this file instead")
    does = tune.add_mutually_exclusive_group()
    does.add_argument("--dry-run", action="store_true", help="list what would be measured, and how long it takes")
    does.add_argument("--show", action="store_true", help="list what is known of this machine")
    does.add_argument("--forget", action="store_true", help="delete what is known of this machine")


def _tune(options: argparse.Namespace) -> int:
    if _lacks("tune", {"rich": "cli"}):
        return 2
    if options.limit is not None and not options.limit > 0:
        complain(f"jaxconv tune: --limit must be positive; got {options.limit:g}")
        return 2
    if options.forget and options.output is not None:
        complain(f"jaxconv tune: --forget is of the cache folder; leave out --output {options.output}")
        return 2
    with sigint_guard() as stop_if_told:
        from jaxconv.bench.tune_command import command

        return command(options, stop_if_told)


def _add_check(commands: argparse._SubParsersAction) -> None:
    check = commands.add_parser(
        "check",
        help="is a function's custom gradient right, and if not, where",
        description="Check the custom gradient of a function against float64. Exit status 0 right, 1 wrong or not "
        "judged, 2 a bad call. Names are written package.module:name; modules are found from the current folder, as "
        "with python -m.",
    )
    check.add_argument("function", nargs="?", metavar="MODULE:FUNCTION", help="the function with the rule")
    check.add_argument("--args", metavar="MODULE:MAKE", help="a function that returns its arguments")
    check.add_argument("--all", metavar="PACKAGE", help="every custom rule of a package; --args names a module whose "
                       "ARGUMENTS is a dict of arguments by the name of a function")  # fmt: skip
    check.add_argument("--reference", metavar="MODULE:FUNCTION", help="the same function without the rule")
    check.add_argument("--directions", type=int, default=8, metavar="N", help="random cotangents (8)")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    check.add_argument("--no-transforms", action="store_true", help="leave out jit, vmap and the other transforms")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, whole or not at all")
    check.set_defaults(lacking=check.error)


def _check(options: argparse.Namespace) -> int:
    if not (options.all or (options.function and options.args)):
        options.lacking("needs MODULE:FUNCTION and --args MODULE:MAKE, or --all PACKAGE")
    if _lacks("check", {"rich": "check"}) or not _all_writable("check", _given(options, "json")):
        return 2
    with sigint_guard() as stop_if_told:
        from jaxconv.check.faces.command import check

        return check(options, stop_if_told)


def _add_explore(commands: argparse._SubParsersAction) -> None:
    explore = commands.add_parser(
        "explore",
        help="a page to see and touch: which output reads which input, forward and in both gradients",
        description="Write one page for a browser, which needs no server and no network, and open it where there is a "
        "display. Without options it starts with an example; everything can be changed in the page.",
    )
    explore.add_argument("--output", type=Path, metavar="FILE", help="write it here, and open nothing")
    explore.add_argument("--size", help="input size, one or two axes: 9, or 10x11")
    for name, what in {"kernel": "kernel size: 3, or 3x5", "stride": "stride", "dilation": "dilation"}.items():
        explore.add_argument(f"--{name}", help=what)
    explore.add_argument("--padding", help="1, 1:2 (before, after), 1x2 (per axis), or by name: SAME")
    explore.add_argument("--groups", help="so many groups of one channel each")
    explore.add_argument("--transposed", action="store_true", help="a transposed convolution of that size")


def _explore(options: argparse.Namespace) -> int:
    if not _all_writable("explore", _given(options, "output")):
        return 2
    from jaxconv.explore.command import explore

    try:
        return explore(options)
    except ValueError as error:
        complain(str(error))
        return 2


_SIZE = """Each layer's output size with the numbers put into the formula, its cost and its receptive field.

a layer in words:
  64 7x7 s2 p3      a convolution: 64 filters, kernel 7 x 7 (or k7), stride 2, padding 3
  pool 3x3 s2 p1    pooling; with ceil, the size is rounded up and no window begins in the padding behind
  pool global       pooling of all there is: one output
  up 32 4x4 s2 p1   a transposed convolution; o1 is its output padding
  upsample s2       every input repeated twice along each axis; with linear, interpolated
  also d2 (dilation), g4 (groups), p1:2 (1 before, 2 behind), pSAME, s2x1 (per axis)

of a JAX function every convolution that it runs, and of an ONNX model each Conv, ConvTranspose and pooling:
  jaxconv size package.module:function --args package.module:make
  jaxconv size model.onnx --input x=1x3x224x224

Multiply-adds are those of one example that meet an input. Taps on padding are counted apart, in parentheses: most
other tools count them in. Of pooling the inputs read are counted."""
_SIZE_EXAMPLES = """examples:
  jaxconv size 3x224x224 "64 7x7 s2 p3" "pool 3x3 s2 p1"
  jaxconv size 3x10x11 --kernel 3 --filters 8 --stride 2"""


def _size(options: argparse.Namespace) -> int:
    if options.input.endswith(".onnx"):
        return _size_of_model(options)
    if ":" in options.input:
        return _size_of_function(options)
    from jaxconv.sizes.layer_words import read_layer, read_shape
    from jaxconv.sizes.layers_in_words import lines

    words = {"kernel": "k", "stride": "s", "padding": "p", "dilation": "d", "groups": "g"}
    given = [f"{letter}{value}" for name, letter in words.items() if (value := getattr(options, name)) is not None]
    texts = list(options.layers)
    if given or options.filters is not None:
        texts.append(" ".join(["pool" if options.filters is None else options.filters, *given]))
    try:
        if not texts:
            raise ValueError("jaxconv size: at least one layer must be given; got none.")
        shape = read_shape(options.input)
        layers = [read_layer(text, len(shape) - 1) for text in texts]
        text = "".join(f"{line}\n" for line in lines(shape, layers))
    except ValueError as error:
        complain(str(error))
        return 2
    return shown("jaxconv size", 0, lambda: Legible().write(text))


def _size_of_function(options: argparse.Namespace) -> int:
    from jaxconv.explanation.size_command import size_of_function

    return size_of_function(options.input, options.args)


def _size_of_model(options: argparse.Namespace) -> int:
    if _lacks("size", {"onnx": "onnx"}):
        return 2
    from jaxconv.sizes.onnx_model import lines

    try:
        text = "".join(f"{line}\n" for line in lines(Path(options.input), options.inputs))
    except (ValueError, OSError) as error:
        complain(str(error) if isinstance(error, ValueError) else f"jaxconv size: {error}")
        return 2
    return shown("jaxconv size", 0, lambda: Legible().write(text))


def _verify(options: argparse.Namespace) -> int:
    given = _given(options, "json", "html")
    if _lacks("verify", {"rich": "cli", "optax": "demo", "sklearn": "demo"}) or not _all_writable("verify", given):
        return 2
    rows: list[Row] = []
    planned: int | None = None
    interrupted = False
    try:
        with sigint_guard() as stop_if_told:
            from jaxconv.terminal.console import Console, progress
            from jaxconv.verify import page, report, run

            console = Console()
            work = run.tasks(options.quick)
            planned = len(work)
            with progress(console) as display:
                bar = display.add_task("", total=sum(task.steps for task in work))
                for task in work:
                    stop_if_told()
                    display.update(bar, description=f"{task.part}: {task.name} ({task.platform})")
                    for row in task.work():
                        stop_if_told()  # before the row is believed: it may be what became of the ctrl-C
                        display.advance(bar)
                        if row is not None:
                            rows.append(row)
    except KeyboardInterrupt:
        if planned is None:  # nothing is there yet that could be shown
            return 130
        interrupted = True
    files = {
        name: (path, partial({"json": report.as_json, "html": page.as_html}[name], rows, planned))
        for name, path in given.items()
    }
    complete = written("jaxconv verify", files)
    status = 1 if not all(row.passed for row in rows) else 130 if interrupted else 0 if complete else 2

    def show() -> None:
        console.print(report.table(rows, console.width))
        console.print(report.sentence(rows, planned), soft_wrap=True)

    return shown("jaxconv verify", status, show)
