"""One table of gated recurrences: sizes, batches, absent arguments and extreme gates, with readable ids."""

import zlib
from dataclasses import dataclass

import numpy as np

WEIGHTS = ("w_c", "w_h", "w_x", "b_c", "b_x")


@dataclass(frozen=True)
class Case:
    """A recurrence to be tested; n inputs, m states, `absent` names the arguments that are left out."""

    id: str
    time: int = 7
    batch: tuple[int, ...] = ()
    n: int = 3
    m: int = 4
    absent: tuple[str, ...] = ()
    unroll: int = 1
    lengths: tuple | int | None = None
    reverse: bool = False
    time_axis: int = 0
    residuals: str | int = "recompute"
    recurrent: float = 1.0  # ‖W_h‖₂, about
    gate: float = 0.0  # added to b_c: where the gates sit
    spread: float = 1.0  # of W_c: how far the gates swing

    @property
    def run(self):
        """What the oracle must know of the options: lengths and direction change numbers, the others do not."""
        return {"lengths": None if self.lengths is None else np.int32(self.lengths), "reverse": self.reverse}

    def shapes(self):
        m, n = self.m, self.n
        every = {
            "w_c": (m, n),
            "w_h": (m, m),
            "w_x": (m, n),
            "b_c": (m,),
            "b_x": (m,),
            "x": (self.time, *self.batch, n),
            "h0": (*self.batch, m),
        }
        return {name: shape for name, shape in every.items() if name not in self.absent}

    def sums(self):
        """The longest sum of products that every output or gradient goes through, by name."""
        steps = self.time * int(np.prod(self.batch))
        state, back = max(self.n, self.m) + 1, 2 * self.m
        over_time = dict.fromkeys(WEIGHTS, max(steps, state, back))
        return {"h_last": state, "h": state, "x": max(state, back), "h0": max(state, back), **over_time}

    def draw(self, dtype=np.float32, seed=0):
        """Inputs, a direction and the two cotangents: float64 arrays of numbers that `dtype` holds exactly."""
        random = np.random.default_rng([zlib.crc32(self.id.encode()), seed])

        def normal(shape, scale=1.0, shift=0.0):
            return (shift + scale * random.standard_normal(shape)).astype(dtype).astype(np.float64)

        scale = {
            "w_c": self.spread / self.n**0.5,
            "w_x": self.n**-0.5,
            "w_h": self.recurrent / (2 * self.m**0.5),
            "b_c": 0.5,
            "b_x": 0.5,
        }
        a = {
            name: normal(shape, scale.get(name, 1.0), self.gate if name == "b_c" else 0.0)
            for name, shape in self.shapes().items()
        }
        direction = {name: normal(value.shape) for name, value in a.items()}
        g_last, y_bar = normal((*self.batch, self.m)), normal((self.time, *self.batch, self.m))
        return a, direction, g_last, y_bar


CASES = [
    Case("plain"),
    Case("time-0", time=0),
    Case("time-0-batch-unroll-3", time=0, batch=(2,), unroll=3),
    Case("time-0-zero-start", time=0, absent=("h0",)),
    Case("time-1", time=1),
    Case("time-1-batch", time=1, batch=(3,), absent=("h0",)),
    Case("time-2", time=2, batch=(2,)),
    Case("time-40", time=40),
    Case("time-40-batch-unroll-3", time=40, batch=(3,), unroll=3),
    Case("one-batch-axis", batch=(3,)),
    Case("two-batch-axes", batch=(2, 3)),
    Case("batch-0", batch=(0,)),
    Case("batch-1", batch=(1,)),
    Case("batch-0-and-time-0", time=0, batch=(2, 0)),
    Case("one-feature-one-state", n=1, m=1, batch=(2,)),
    Case("one-feature", n=1, m=5),
    Case("one-state", n=5, m=1, unroll=3),
    Case("many-features", n=11, m=2, batch=(2,)),
    Case("many-states", n=2, m=11, batch=(2,)),
    Case("no-biases", absent=("b_c", "b_x"), batch=(2,)),
    Case("gate-bias-only", absent=("b_x",)),
    Case("candidate-bias-only", absent=("b_c",)),
    Case("zero-start", absent=("h0",), batch=(2,)),
    Case("no-recurrent-weight", absent=("w_h",), batch=(2,)),
    Case("nothing-optional", absent=("w_h", "b_c", "b_x", "h0")),
    Case("unroll-8-of-7", unroll=8, batch=(2,)),
    Case("unroll-3-of-7", unroll=3),
    Case("large-recurrent-weight", recurrent=20.0, batch=(2,)),
    Case("gates-near-1", gate=9.0, batch=(2,)),
    Case("gates-near-0", gate=-9.0, batch=(2,)),
    Case("gates-at-both-ends", spread=30.0, batch=(2,)),
]

LENGTHS = {"batch": (4,), "lengths": (7, 0, 3, 1)}
OPTIONS = [
    Case("reverse", reverse=True, batch=(2,)),
    Case("lengths", **LENGTHS),
    Case("lengths-reverse", **LENGTHS, reverse=True),
    Case("lengths-two-batch-axes", batch=(2, 3), lengths=((2, 7, 0), (1, 6, 7)), reverse=True, residuals=2),
    Case("length-without-batch", lengths=5, reverse=True),
    Case("lengths-time-0", time=0, batch=(2,), lengths=(0, 0), residuals=3),
    Case("linear-reverse", absent=("w_h",), batch=(2,), reverse=True, unroll=3),
    Case("linear-lengths", absent=("w_h", "b_x"), **LENGTHS, residuals="save"),
    Case("linear-every-3", absent=("w_h",), **LENGTHS, reverse=True, residuals=3),
    Case("every-step", batch=(2,), residuals=1),
    Case("every-2-of-6", time=6, batch=(2,), residuals=2, unroll=2),
    Case("every-3-of-7", batch=(2,), residuals=3),
    Case("every-3-of-7-reverse", batch=(2,), reverse=True, residuals=3, unroll=2),
    Case("every-3-of-7-lengths", **LENGTHS, residuals=3),
    Case("every-100-of-7", batch=(2,), residuals=100, absent=("h0",)),
    Case("save", batch=(2,), residuals="save"),
    Case("save-lengths-reverse", **LENGTHS, reverse=True, residuals="save"),
    Case("time-second", batch=(2,), time_axis=1),
    Case("time-before-features", batch=(2, 3), time_axis=-2, reverse=True, lengths=((2, 7, 0), (1, 6, 7))),
]
EVERY = [*CASES, *OPTIONS]

BY_ID = {case.id: case for case in EVERY}


def pick(*ids):
    return [BY_ID[each] for each in ids]


SOME = pick("two-batch-axes", "no-recurrent-weight", "gate-bias-only", "many-features")
