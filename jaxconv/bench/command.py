"""`jaxconv bench`, from its options to its files."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from jaxconv.bench import run, show
from jaxconv.bench.processes import Peer, PeerError, Same
from jaxconv.bench.workloads import CONVOLUTIONS, RECURRENCES, Recurrence, Workload, read
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


def peers(against: str | None, cell: str | None, python: str | None, limit: float) -> list[Peer]:
    """A process for each framework asked for. ValueError for an unknown name, PeerError for one that is not there."""
    known = run.CELL_PEERS[cell] if cell else run.PEERS
    names = list(known[:2] if cell else known[:1]) if against is None else [n for n in against.split(",") if n]
    for name in names:
        if name not in known:
            raise ValueError(f"jaxconv bench: --against must name some of {', '.join(known)}; got {name}")
    interpreters = {name: sys.executable if python is None or name in run.OF_JAX else python for name in names}
    made = [(Same if name in run.OF_JAX else Peer)(name, interpreters[name], limit) for name in names]
    try:
        for peer in made:
            peer.start()
    except PeerError:
        for peer in made:
            peer.close()
        raise
    return made


def bench(options: argparse.Namespace, stop_if_told: Callable[[], None] = lambda: None) -> int:
    """Run it; the exit status. `stop_if_told` raises when ctrl-C was pressed."""
    against: list[Peer] = []
    entries: list[run.Entry] = []
    cell = cell_of(options.names)
    console = Console()
    try:
        work = chosen(options.names, options.file)
        settings = run.Options(options.layout, options.dtype, options.lowering, 3 if options.quick else 7)
        if cell and settings != run.Options(pairs=settings.pairs):
            raise ValueError(
                f"jaxconv bench: --layout, --dtype and --lowering are for convolutions; leave them out with {cell}"
            )
        against = peers(options.against, cell, options.python, options.limit)
        names = [peer.name for peer in against]
        with progress(console) as display:
            maps = run.CELL_MAPS if cell else run.MAPS
            bar = display.add_task("the matrix product", total=len(work) * len(maps))
            product = run.product()
            for one in work:
                for which in maps:
                    display.update(bar, description=f"{one.name} {which}")
                    stop_if_told()
                    try:
                        entries.append(run.entry(one, which, against, settings, product))
                    except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
                        said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
                        raise ValueError(f"jaxconv bench: {one.name} {which} cannot be run here: {said}") from error
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
    for entry in entries:
        for facts in entry.facts.values():
            if "error" in facts:
                complain(f"jaxconv bench: {entry.name} {entry.map}: {facts['error']}")
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
