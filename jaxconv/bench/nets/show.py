"""A run of `jaxconv bench nets` as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jaxconv.bench.nets.run import Entry
from jaxconv.bench.show import beside, geometric_mean, mean, ratio
from jaxconv.terminal.console import Table, number, versions


def table(entries: Sequence[Entry], peers: Sequence[str]) -> Table:
    """One line per net."""
    shown = Table(title="jaxconv bench nets", caption=note(entries, peers))
    shown.add_column("net", no_wrap=True)
    for heading in _headings(peers):
        shown.add_column(heading, justify="right")
    for entry in entries:
        shown.add_row(entry.name, *_cells(entry, peers))
    shown.add_section()
    shown.add_row("geometric mean", "", "", *(mean(entries, peer) for peer in peers), "", "", "")
    return shown


def markdown(entries: Sequence[Entry], peers: Sequence[str], command: str) -> str:
    """The same, to be put into a page."""
    lines = ["| net | " + " | ".join(_headings(peers)) + " |"]
    lines.append("|---" * (6 + len(peers)) + "|")
    lines += [f"| {entry.name} | " + " | ".join(_cells(entry, peers)) + " |" for entry in entries]
    lines.append("| **geometric mean** | | | " + " | ".join(mean(entries, peer) for peer in peers) + " | | | |")
    return "\n".join([*lines, "", note(entries, peers).replace("\n", " "), "", f"    {command}", ""])


def as_json(entries: Sequence[Entry], peers: Sequence[str], command: str) -> str:
    """Everything."""
    outcome: dict[str, Any] = {
        "command": command,
        "versions": versions(),
        "geometric_means": {
            peer: geometric_mean(e.ratios[peer].median for e in entries if peer in e.ratios) for peer in peers
        },
        "entries": [asdict(entry) for entry in entries],
    }
    return json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _headings(peers: Sequence[str]) -> list[str]:
    return ["ms", "GFLOP/s", *(f"× {peer}" for peer in peers), "channels", "compile s", "temporaries MB"]


def _cells(entry: Entry, peers: Sequence[str]) -> list[str]:
    layouts = [entry.layout, *(entry.facts.get(peer, {}).get("layout", "–") for peer in peers)]
    return [
        number(1e3 * entry.seconds),
        f"{entry.flops / entry.seconds / 1e9:.0f}",
        *(ratio(entry, peer) for peer in peers),
        " ".join(layout.removeprefix("channels_") for layout in layouts),
        beside(entry, "compile", 1.0, peers),
        beside(entry, "temporaries", 1e6, peers),
    ]


def note(entries: Sequence[Entry], peers: Sequence[str]) -> str:
    """What the figures mean, and what they depend on."""
    of = versions()
    torch = next((f"{facts['torch']}" for e in entries for facts in e.facts.values() if "torch" in facts), None)
    apart = [facts["gradients_apart"] for e in entries for facts in e.facts.values() if "gradients_apart" in facts]
    agree = f" Gradients are at most {max(apart):.0e} of their size apart." if apart else ""
    return (
        "One training step: loss, gradients, SGD. A ratio is the peer's time over ours, the median of interleaved "
        'pairs [least, most]; above 1 ours is faster; ">": the peer did not finish in its time. Channels first or '
        f"last, whichever is faster: of ours{''.join(f', of {peer}' for peer in peers)}.{agree}\n"
        f"jaxconv {of['jaxconv']}, jax {of['jax']}, Python {of['python']}, {of['machine']}"
        + ("" if torch is None else f", torch {torch}")
    )
