"""A run of `jaxconv bench` as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from jaxconv.bench.measure import Ratio
from jaxconv.bench.run import SIZE, Entry
from jaxconv.terminal.console import Table, number, versions


def geometric_mean(values: Iterable[float]) -> float | None:
    """exp(mean(log)), or None of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def table(entries: Sequence[Entry], peers: Sequence[str]) -> Table:
    """One line per map of a workload."""
    gated = any(entry.inputs for entry in entries)
    shown = Table(title="jaxconv bench", caption=note(entries))
    shown.add_column("workload", no_wrap=True)
    for heading in ("map", "ms", "of peak", *(f"× {peer}" for peer in peers), "compile s", "temporaries MB"):
        shown.add_column(heading, justify="right")
    if gated:
        shown.add_column("kept / inputs", justify="right")
    for entry in entries:
        cells = [entry.name, entry.map, number(1e3 * entry.seconds), f"{entry.share:.0%}"]
        cells += [ratio(entry, peer) for peer in peers]
        cells += [beside(entry, "compile", 1.0, peers), beside(entry, "temporaries", 1e6, peers)]
        if gated:
            cells.append("" if not entry.kept or not entry.inputs else number(entry.kept / entry.inputs))
        shown.add_row(*cells)
    shown.add_section()
    for which in (None, *dict.fromkeys(entry.map for entry in entries)):
        means = [mean([e for e in entries if which in (None, e.map)], peer) for peer in peers]
        shown.add_row("geometric mean", which or "all", "", "", *means, "", "", *[""] * gated)
    return shown


class Measured(Protocol):
    """What an entry has for every peer: ratios, and facts."""

    ratios: dict[str, Ratio]
    facts: dict[str, dict[str, Any]]


def ratio(entry: Measured, peer: str) -> str:
    """The median [least, most], or a bound."""
    found = entry.ratios.get(peer)
    if found is None or not found.pairs:
        return _short(found)
    return f"{number(found.median)} [{number(found.least)}, {number(found.most)}]"


def _short(ratio: Ratio | None) -> str:
    return "–" if ratio is None else ("" if ratio.pairs else "> ") + number(ratio.median)


def beside(entry: Measured, key: str, unit: float, peers: Sequence[str]) -> str:
    """Ours / the first peer that has such a figure."""
    values = [getattr(entry, key), *(entry.facts.get(peer, {}).get(key) for peer in peers)]
    known = [value for value in values if value is not None][:2]
    return " / ".join(number(value / unit) for value in known)


def mean(entries: Iterable[Measured], peer: str) -> str:
    """Geometric, of the ratios there are; a bound where one of them is."""
    these = [each.ratios[peer] for each in entries if peer in each.ratios]
    found = geometric_mean(each.median for each in these)
    return "–" if found is None else ("" if all(each.pairs for each in these) else "> ") + number(found)


def peak(entries: Sequence[Entry]) -> float:
    """FLOP/s of the product that every entry stood beside, the median."""
    return statistics.median(2 * SIZE**3 / entry.peak.theirs for entry in entries if entry.peak)


def note(entries: Sequence[Entry]) -> str:
    """What the figures mean, and what they depend on."""
    of = versions()
    seen = {}
    for entry in entries:
        for facts in entry.facts.values():
            seen.update({k: v for k, v in facts.items() if k in ("torch", "onnxruntime", "flax", "equinox")})
    peers = "".join(f", {name} {value}" for name, value in seen.items())
    return (
        "A ratio is the peer's time over ours, the median of interleaved pairs [least, most]; above 1 ours is faster. "
        '">": the peer did not finish in its time, and the bound stands in the mean. '
        f"Of peak: beside a 2048³ matrix product in the same pairs, {peak(entries) / 1e9:.0f} GFLOP/s.\n"
        f"jaxconv {of['jaxconv']}, jax {of['jax']}, Python {of['python']}, {of['machine']}{peers}"
    )


def markdown(entries: Sequence[Entry], peers: Sequence[str], command: str) -> str:
    """One line per workload, its maps side by side."""
    maps = list(dict.fromkeys(entry.map for entry in entries))
    of = " · ".join(maps)
    lines = [f"| workload | ms: {of} | of peak | " + "".join(f"× {peer} | " for peer in peers).rstrip()]
    lines.append("|---" * (3 + len(peers)) + "|")
    for name in dict.fromkeys(entry.name for entry in entries):
        these = [entry for entry in entries if entry.name == name]
        cells = [
            " · ".join(number(1e3 * entry.seconds) for entry in these),
            " · ".join(f"{entry.share:.0%}" for entry in these),
            *(" · ".join(_short(entry.ratios.get(peer)) for entry in these) for peer in peers),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    groups = [[entry for entry in entries if entry.map == each] for each in maps]
    means = [" · ".join(mean(each, peer) for each in groups) + f"; all {mean(entries, peer)}" for peer in peers]
    lines.append("| **geometric mean** | | | " + " | ".join(means) + " |")
    return "\n".join([*lines, "", note(entries).replace("\n", " "), "", f"    {command}", ""])


def as_json(entries: Sequence[Entry], peers: Sequence[str], command: str) -> str:
    """Everything; `rows` suit `jaxconv.plot.bench`."""
    outcome: dict[str, Any] = {
        "command": command,
        "versions": versions(),
        "peak": peak(entries),
        "geometric_means": {
            peer: geometric_mean(e.ratios[peer].median for e in entries if peer in e.ratios) for peer in peers
        },
        "entries": [asdict(entry) for entry in entries],
        "rows": [
            {"name": entry.name, "map": entry.map, "peer": peer, "ratio": ratio.median, "bound": not ratio.pairs}
            for entry in entries
            for peer, ratio in entry.ratios.items()
        ],
    }
    return json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
