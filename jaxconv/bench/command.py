"""`jaxconv bench`, from its options to its files."""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxconv.bench import measure, run, show
from jaxconv.bench.nets import run as of_net
from jaxconv.bench.nets import show as show_nets
from jaxconv.bench.nets.catalogue import NETS
from jaxconv.bench.processes import Peer, PeerError, started
from jaxconv.bench.workloads import CONVOLUTIONS, RECURRENCES, Recurrence, Workload, read
from jaxconv.sizes.arithmetic import Layout
from jaxconv.terminal.console import Console, progress
from jaxconv.terminal.output import complain, shown, written


def chosen(names: list[str], file: Path | None) -> tuple[Workload | Recurrence, ...]:
    """The workloads of that name; ValueError names those there are."""
    if cell := cell_of(names):
        there: tuple[Workload | Recurrence, ...] = tuple(replace(one, cell=cell) for one in RECURRENCES)
        names = names[1:]
        if file is not None:
            raise ValueError(f"jaxconv bench: --file holds convolutions; leave it out with {cell}")
    else:
        there = CONVOLUTIONS if file is None else read(file)
    for name in names:
        if name not in (one.name for one in there):
            listed = ", ".join(one.name for one in there)
            raise ValueError(
                f"jaxconv bench: a workload must be one of {listed}, or gated, gru or lstm first; got {name}"
            )
    return tuple(one for one in there if not names or one.name in names)


def cell_of(names: list[str]) -> str | None:
    """The recurrence that the first word names, None where it names none."""
    return names[0] if names[:1] and names[0] in run.CELL_PEERS else None


class Plan(NamedTuple):
    """What is to be run.

    Attributes:
        peers: names that --against may hold; as many as `default` of them without it.
        default: how many.
        jobs: labels of what is measured one after the other, and each measurement.
        show: the module that has `table`, `markdown` and `as_json` of the entries.
        within: contestants of this process.
    """

    peers: Sequence[str]
    default: int
    jobs: Sequence[tuple[str, Callable[[list[Any]], Any]]]
    show: Any
    within: Sequence[of_net.Accelerated] = ()


def of_layers(options: argparse.Namespace) -> Plan:
    """Every map of the convolutions or recurrences asked for. ValueError names what does not fit."""
    if options.accelerate:
        raise ValueError("jaxconv bench: --accelerate is for nets; leave it out without that word")
    cell = cell_of(options.names)
    work = chosen(options.names, options.file)
    layout: Layout = options.layout or "channels_first"
    settings = run.Options(layout, options.dtype, options.lowering, 3 if options.quick else measure.PAIRS)
    if cell and (options.layout or settings != run.Options(layout, pairs=settings.pairs)):
        raise ValueError(
            f"jaxconv bench: --layout, --dtype and --lowering are for convolutions; leave them out with {cell}"
        )
    product = functools.cache(run.product)
    jobs = [
        (f"{one.name} {which}", lambda peers, one=one, which=which: run.entry(one, which, peers, settings, product()))
        for one in work
        for which in (run.CELL_MAPS if cell else run.MAPS)
    ]
    return Plan(run.CELL_PEERS[cell], 2, jobs, show) if cell else Plan(run.PEERS, 1, jobs, show)


def of_nets(options: argparse.Namespace) -> Plan:
    """A training step of the nets asked for. ValueError names what does not fit."""
    names = options.names[1:] or list(NETS)
    for name in names:
        if name not in NETS:
            raise ValueError(f"jaxconv bench: a net must be one of {', '.join(NETS)}; got {name}")
    if options.file is not None or options.dtype != "float32" or options.lowering != "auto":
        raise ValueError("jaxconv bench: --file, --dtype and --lowering are for convolutions; leave them out with nets")
    layouts = of_net.LAYOUTS if options.layout is None else (options.layout,)
    pairs = 3 if options.quick else measure.PAIRS
    jobs = [(name, lambda peers, name=name: of_net.entry(NETS[name](), peers, layouts, pairs)) for name in names]
    return Plan(of_net.PEERS, 1, jobs, show_nets, [of_net.Accelerated()] if options.accelerate else [])


def peers(plan: Plan, against: str | None, python: str | None, limit: float) -> list[Peer]:
    """A process for each framework asked for. ValueError for an unknown name, PeerError for one that is not there."""
    names = plan.peers[: plan.default] if against is None else [name for name in against.split(",") if name]
    for name in names:
        if name not in plan.peers:
            raise ValueError(f"jaxconv bench: --against must name some of {', '.join(plan.peers)}; got {name}")
    return started(names, run.OF_JAX, python, limit)


def bench(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run it; the exit status. `stop_if_told` raises when ctrl-C was pressed."""
    against: list[Peer] = []
    entries: list[Any] = []
    console = Console()
    try:
        plan = (of_nets if options.names[:1] == ["nets"] else of_layers)(options)
        against = peers(plan, options.against, options.python, options.limit)
        with progress(console) as display:
            bar = display.add_task("", total=len(plan.jobs))
            for label, measured in plan.jobs:
                display.update(bar, description=label)
                stop_if_told()
                try:
                    entries.append(measured([*plan.within, *against]))
                except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
                    said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
                    raise ValueError(f"jaxconv bench: {label} cannot be run here: {said}") from error
                display.advance(bar)
    except (ValueError, OSError, PeerError) as error:
        complain(str(error) if str(error).startswith("jaxconv") else f"jaxconv bench: {error}")
        return 2
    except KeyboardInterrupt:
        complain(f"jaxconv bench: stopped after {len(entries)} entries; nothing is written")
        return 130
    finally:
        for peer in against:
            peer.close()
    names = [*(each.name for each in plan.within), *(peer.name for peer in against)]
    for entry, (label, _) in zip(entries, plan.jobs, strict=True):
        for facts in entry.facts.values():
            if "error" in facts:
                complain(f"jaxconv bench: {label}: {facts['error']}")
    return told(options, plan.show, entries, names, console)


def told(options: argparse.Namespace, show: Any, entries: list[Any], names: list[str], console: Console) -> int:
    """Write the files asked for and show the table; the exit status."""
    given = [
        word if before != "--python" else "PATH"
        for before, word in zip(["", *options.given], options.given, strict=False)
    ]
    command = shlex.join(["jaxconv", *given])
    texts = {"json": show.as_json, "markdown": show.markdown}
    files = {key: (path, partial(text, entries, names, command)) for key, text in texts.items()
             if (path := getattr(options, key)) is not None}  # fmt: skip
    status = 0 if written("jaxconv bench", files) else 2
    return shown("jaxconv bench", status, lambda: console.print(show.table(entries, names)))
