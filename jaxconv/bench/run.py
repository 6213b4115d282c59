"""Every workload, map and peer, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import GatedParams, GRUParams, LSTMParams, gated_scan, gru_scan, lstm_scan
from jaxconv.algorithms.choose import Lowering
from jaxconv.bench import measure
from jaxconv.bench.peers import arrays
from jaxconv.bench.processes import Peer, PeerError
from jaxconv.bench.workloads import Recurrence, Workload
from jaxconv.convolution.api import conv
from jaxconv.sizes.arithmetic import Layout

MAPS = ("y", "dx", "dw")
CELL_MAPS = ("h", "gradient")
PEERS = ("lax", "torch", "onnxruntime", "flax", "equinox")
CELL_PEERS = {  # of "gated" the others' GRUs do more: three gates
    "gated": ("plain", "hoisted", "flax_gru", "equinox_gru", "torch_gru", "torch_cell", "onnxruntime_gru"),
    "gru": ("plain", "hoisted", "flax", "torch", "onnxruntime"),
    "lstm": ("plain", "hoisted", "flax", "torch", "onnxruntime"),
}
CELLS: dict[str, tuple[Any, Any]] = {
    "gated": (gated_scan, GatedParams),
    "gru": (gru_scan, GRUParams),
    "lstm": (lstm_scan, LSTMParams),
}
OF_JAX = {"lax", "plain", "hoisted"}


@dataclass(frozen=True)
class Options:
    """What holds for a whole run.

    Attributes:
        layout, dtype, lowering: of the convolutions.
        pairs: of interleaved calls per ratio.
    """

    layout: Layout = "channels_first"
    dtype: str = "float32"
    lowering: Lowering = "auto"
    pairs: int = measure.PAIRS


@dataclass
class Entry:
    """One map of one workload.

    Attributes:
        name, map: which.
        seconds: the median time of a call; with peers, the median over their medians.
        flops: of a call, two per multiply-add.
        compile, temporaries, kept: seconds; bytes while it runs; bytes between forward and backward.
        inputs: bytes of parameters, x and h, beside which `kept` stands.
        peak: how many times as long a `product` takes, side by side.
        ratios: peer → `measure.Ratio`, above 1 where ours is faster.
        facts: peer → its compile seconds, temporaries and kept bytes, or why there is no ratio.
    """

    name: str
    map: str
    flops: int
    seconds: float = 0.0
    compile: float = 0.0
    temporaries: int | None = None
    kept: int | None = None
    inputs: int | None = None
    peak: measure.Ratio | None = None
    ratios: dict[str, measure.Ratio] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of the peak: operations per second over those of the product beside it."""
        assert self.peak is not None
        return self.flops / (2 * SIZE**3) * self.peak.median


SIZE = 2048  # of the matrices of `product`


def product() -> measure.Run:
    """A SIZE³ float32 matrix product, whose FLOP/s are the peak that a share is of."""
    a = jnp.ones((SIZE, SIZE), jnp.float32)
    return _timed(jax.jit(jnp.matmul).lower(a, a).compile(), (a, a))


def _timed(compiled: Any, inputs: tuple) -> measure.Run:
    return measure.timed(lambda: jax.block_until_ready(compiled(*inputs)))


def entry(one: Workload | Recurrence, which: str, peers: Sequence[Peer], options: Options, peak: measure.Run) -> Entry:
    """Measure one map of one workload beside the `product` that `peak` runs, and beside every peer."""
    call = {**asdict(one), "map": which, "layout": options.layout, "dtype": options.dtype, "name": one.name}
    if isinstance(one, Recurrence):
        function, inputs = _recurrence(which, call)
        made = Entry(one.name, which, 2 * one.multiply_adds(which == "gradient"))
        if which == "gradient":
            _, pull = jax.vjp(lambda params, x: CELLS[one.cell][0](params, x)[1], *inputs[:2])
            made.kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pull))
            made.inputs = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs))
    else:
        function, inputs = _convolution(one, which, call, options)
        made = Entry(one.name, which, 2 * one.multiply_adds())
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    made.compile = time.perf_counter() - begin
    if (analysis := compiled.memory_analysis()) is not None:
        made.temporaries = analysis.temp_size_in_bytes
    ours = _timed(compiled, inputs)
    made.peak = measure.side_by_side(ours, peak, options.pairs)
    for peer in peers:
        try:
            made.facts[peer.name] = {**peer.versions, **peer.build(call)}
            made.ratios[peer.name] = measure.side_by_side(ours, peer.run, options.pairs)
        except TimeoutError:
            made.ratios[peer.name] = measure.at_least(ours, peer.limit, options.pairs)
        except PeerError as error:
            made.facts[peer.name] = {"error": str(error)}
    made.seconds = float(np.median([ratio.ours for ratio in (made.peak, *made.ratios.values())]))
    return made


def _convolution(one: Workload, which: str, call: dict, options: Options) -> tuple:
    """The map as a user reaches it: through `conv` and its `jax.vjp`."""
    x, w, g = (jnp.asarray(a).astype(options.dtype) for a in arrays.convolution(call))
    if options.layout == "channels_last":
        x, g, w = jnp.moveaxis(x, 1, -1), jnp.moveaxis(g, 1, -1), jnp.moveaxis(w, (0, 1), (-1, -2))

    def value(x: jax.Array, w: jax.Array) -> jax.Array:
        keys = {key: call[key] for key in ("stride", "padding", "dilation", "groups")}
        return conv(x, w, **keys, layout=options.layout, lowering=options.lowering)

    if which == "y":
        return value, (x, w)
    if which == "dx":
        return (lambda x, w, g: jax.vjp(lambda x: value(x, w), x)[1](g)[0]), (x, w, g)
    return (lambda x, w, g: jax.vjp(lambda w: value(x, w), w)[1](g)[0]), (x, w, g)


def _recurrence(which: str, call: dict) -> tuple:
    scan, kind = CELLS[call["cell"]]
    x, *weights, g = (jnp.asarray(a) for a in arrays.recurrence(call))
    params = kind(*weights)

    def value(params: Any, x: jax.Array) -> jax.Array:
        h: jax.Array = scan(params, x)[1]
        return h

    if which == "h":
        return value, (params, x)
    return (lambda params, x, g: jax.vjp(value, params, x)[1](g)), (params, x, g)
