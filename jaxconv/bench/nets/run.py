"""One net after the other: all contestants agree, then each takes its faster layout, then they are timed in pairs."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jax import Array

from jaxconv.accuracy.error_model import C, unit_roundoff
from jaxconv.bench import measure
from jaxconv.bench.nets.graph import Graph
from jaxconv.bench.processes import Peer, PeerError, here
from jaxconv.convolution.api import conv
from jaxconv.lax.accelerated import accelerate
from jaxconv.sizes.arithmetic import Layout

PEERS = ("lax", "torch")
LAYOUTS: tuple[Layout, ...] = ("channels_first", "channels_last")  # the faster one is mostly the last, and stays built
PAUSE = 0.05  # seconds: PyTorch's threads spin for some 0.03 after a call
CALLS = 3  # that tell the faster layout


@dataclass
class Entry:
    """A training step of one net.

    Attributes:
        name: of the net.
        flops: of a step, about three times its forward pass.
        layout: ours, the faster one.
        seconds: the median time of a step; with peers, the median over their medians.
        compile, temporaries: seconds; bytes while it runs.
        ratios: peer → `measure.Ratio`, above 1 where ours is faster.
        facts: peer → its layout, compile seconds and temporaries, how far its loss and gradients are from ours beside
            what the error model lets through, or why there is no ratio.
    """

    name: str
    flops: int
    layout: str = ""
    seconds: float = 0.0
    compile: float = 0.0
    temporaries: int | None = None
    ratios: dict[str, measure.Ratio] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


class Ours:
    """`jaxconv.conv` in this process, built and run as a peer is."""

    _run: measure.Run

    def build(self, call: dict[str, Any]) -> dict[str, Any]:
        """Compile the step; what is known of it."""
        step, facts = here("nets_jax").built(call, convolution)
        self._run = measure.timed(step)
        return facts

    def run(self, number: int) -> float:
        """Seconds that so many steps took."""
        return self._run(number)


class Accelerated(Ours):
    """The same step written with lax alone and compiled under `jaxconv.accelerate()`, in this process, too."""

    name = "accelerate"
    versions: ClassVar[dict[str, str]] = {}
    limit = math.inf

    def build(self, call: dict[str, Any]) -> dict[str, Any]:
        """Compile the step; what is known of it."""
        of_jax = here("nets_jax")
        with accelerate():
            step, facts = of_jax.built(call, of_jax.convolution)
        self._run = measure.timed(step)
        return facts


def convolution(node: dict[str, Any], x: Array, w: Array, b: Array, layout: Layout) -> Array:
    """A node of the graph, as a user writes it."""
    return conv(x, w, b, stride=node["stride"], padding=node["padding"], groups=node["groups"], layout=layout)


def entry(
    graph: Graph, peers: Sequence[Peer | Accelerated], layouts: Sequence[Layout] = LAYOUTS, pairs: int = measure.PAIRS
) -> Entry:
    """Build the net for every contestant, compare their losses and gradients, and time it beside every peer."""
    call, ours = graph.call(), Ours()
    made = Entry(graph.name, 6 * graph.multiply_adds())
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder, "ours.npy")
        facts = fastest(ours, {**call, "save": str(mine)}, layouts)
        made.layout, made.compile, made.temporaries = facts["layout"], facts["compile"], facts["temporaries"]
        for peer in peers:
            theirs = Path(folder, f"{peer.name}.npy")
            try:
                made.facts[peer.name] = {**peer.versions, **fastest(peer, {**call, "save": str(theirs)}, layouts)}
                made.facts[peer.name] |= agreement(graph, np.load(mine), np.load(theirs))
                made.ratios[peer.name] = measure.side_by_side(ours.run, peer.run, pairs, PAUSE)
            except TimeoutError:
                made.ratios[peer.name] = measure.at_least(ours.run, peer.limit, pairs)
            except (PeerError, Disagree) as error:
                made.facts[peer.name] = {"error": str(error)}
    seconds = [ratio.ours for ratio in made.ratios.values()] or [measure.alone(ours.run, pairs)]
    made.seconds = statistics.median(seconds)
    return made


def fastest(contestant: Ours | Peer, call: dict[str, Any], layouts: Sequence[Layout]) -> dict[str, Any]:
    """Build the call in the layout in which it takes least time; what is known of it. TimeoutError if none ends."""
    times: dict[Layout, float] = {}
    facts: dict[str, Any] = {}
    for layout in layouts:
        try:
            facts[layout] = contestant.build({**call, "layout": layout})
            contestant.run(1)
            times[layout] = min(contestant.run(1) for _ in range(CALLS))
        except TimeoutError:
            continue
    if not times:
        raise TimeoutError
    best = min(times, key=times.__getitem__)
    if best != layouts[-1]:
        facts[best] = contestant.build({**call, "layout": best})
    return {**facts[best], "layout": best}


# ---------------------------------------------------------------------------------------------------- agreement


class Disagree(ValueError):
    """Two contestants do not compute the same."""


def bounds(graph: Graph) -> tuple[float, float]:
    """How far the loss, and the gradients of one array, may be from each other beside their size.

    Forward and back an error of u·√L for every node adds up like a random walk: ε = C·u·√(2·nodes·L), L the products in
    the longest sum, a dw's. That is the loss's. Of the relu's inputs a part of size ε is so near to 0 that its sign
    differs, and with it whole elements of the gradient: in the root of the sum of squares √ε.
    """
    spaces = [graph.shapes[node["of"][0]][1:] for node in graph.nodes if node["op"] == "conv"]
    longest = graph.batch * max(int(np.prod(space)) for space in spaces)
    error = C * unit_roundoff(np.float32) * float(np.sqrt(2 * len(graph.nodes) * longest))
    return error, float(np.sqrt(error))


def agreement(graph: Graph, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """|a − b| over |a|, of the loss and of the gradient of the node where it is largest.

    Raises:
        Disagree: more than `bounds`, or not finite; names the node.
    """
    loss = float(abs(a[0] - b[0]) / abs(a[0]))
    most = bounds(graph)
    if not loss <= most[0]:
        raise Disagree(f"its loss {b[0]:g} is not ours, {a[0]:g}: apart by more than {most[0]:.1e} of it")
    place, worst = 1, 0.0
    for number, node in enumerate(graph.nodes, 1):
        for shape in (node["w"], node["w"][:1]) if "w" in node else ():
            part = slice(place, place := place + int(np.prod(shape)))
            apart = float(np.linalg.norm(a[part] - b[part]) / np.linalg.norm(a[part]))
            if not apart <= most[1]:
                what = f"node {number}, {node['op']} {tuple(node['w'])}"
                raise Disagree(f"its gradient of {what} is not ours: apart by {apart:.1e} of it, {most[1]:.1e} may be")
            worst = max(worst, apart)
    return {"loss_apart": loss, "gradients_apart": worst, "may_be_apart": most[1]}
