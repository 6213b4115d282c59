"""What `verify` goes through: a table of convolutions and a table of recurrences, each with a readable name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]
LAST = "channels_last"


@dataclass(frozen=True)
class ConvCase:
    """One convolution: shapes, options as in `conv`, dtype. `quick`: also part of the quick run."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    options: Options = field(default_factory=dict)
    dtype: str = "float32"
    quick: bool = False


@dataclass(frozen=True)
class GatedCase:
    """One recurrence: T steps, batch axes, n input and m state features, options as in `gated_scan`."""

    name: str
    steps: int
    batch: tuple[int, ...]
    n: int
    m: int
    bias: bool = True
    h0: bool = True
    w_h: bool = True
    scale: float = 1.0  # of the weights
    options: Options = field(default_factory=dict)
    dtype: str = "float32"
    quick: bool = False


def _conv(
    name: str, x: tuple[int, ...], w: tuple[int, ...], dtype: str = "float32", quick: bool = False, **o: Any
) -> ConvCase:
    return ConvCase(name, x, w, o, dtype, quick)


UNEQUAL: Options = {"stride": (1, 3), "padding": [(0, 1), (3, 2)], "dilation": (3, 1)}
CONV_CASES = (
    # one spatial axis
    _conv("1-D exercise 3", (1, 2, 5), (1, 2, 3), stride=2, quick=True),
    _conv("1-D no batch", (2, 9), (3, 2, 3)),
    _conv("1-D three batch axes", (2, 1, 3, 2, 9), (3, 2, 3), padding=1),
    _conv("1-D one position", (2, 3, 1), (4, 3, 1)),
    _conv("1-D batch 0", (0, 3, 9), (4, 3, 3), quick=True),
    _conv("1-D kernel as wide as the input", (2, 3, 7), (4, 3, 7)),
    _conv("1-D stride over the kernel", (2, 3, 16), (4, 3, 2), stride=5, quick=True),
    _conv("1-D remainder that no window reads", (2, 3, 12), (4, 3, 3), stride=4),
    _conv("1-D dilated, even kernel", (2, 3, 17), (4, 3, 4), dilation=3),
    _conv("1-D strided and dilated", (2, 3, 23), (4, 3, 3), stride=3, dilation=2),
    _conv("1-D negative padding", (2, 3, 14), (4, 3, 3), padding=[(-2, -1)], quick=True),
    _conv("1-D negative before, wide behind", (2, 3, 14), (4, 3, 3), stride=2, padding=[(-3, 5)]),
    _conv("1-D padding over the kernel", (2, 3, 4), (4, 3, 2), padding=5),
    _conv("1-D window over the input", (2, 3, 3), (4, 3, 3), dilation=3, padding=3),
    _conv("1-D SAME, stride 2", (2, 3, 10), (4, 3, 3), stride=2, padding="SAME"),
    _conv("1-D SAME_LOWER, even kernel", (2, 3, 10), (4, 3, 4), padding="SAME_LOWER"),
    _conv("1-D CAUSAL, dilated", (2, 3, 12), (4, 3, 3), dilation=2, padding="CAUSAL"),
    _conv("1-D FULL", (2, 3, 6), (4, 3, 4), padding="FULL"),
    _conv("1-D groups", (2, 6, 12), (4, 3, 3), groups=2),
    _conv("1-D depthwise, stride 2", (2, 6, 15), (6, 1, 4), groups=6, stride=2, padding=1),
    _conv("1-D channels last", (2, 12, 3), (3, 3, 4), layout=LAST, padding=1),
    _conv("1-D channels last, groups, dilated", (2, 15, 4), (3, 2, 6), layout=LAST, groups=2, dilation=2),
    _conv("1-D long sum", (16, 8, 1024), (8, 8, 9), padding=4),
    _conv("1-D bfloat16", (2, 8, 33), (8, 8, 5), "bfloat16", padding=2, quick=True),
    _conv("1-D float16, stride 3", (2, 8, 33), (8, 8, 5), "float16", stride=3),
    # two spatial axes
    _conv("2-D exercise 1", (1, 1, 10, 11), (1, 1, 3, 3), stride=2),
    _conv("2-D 3 × 3", (2, 4, 9, 9), (5, 4, 3, 3), padding=1, quick=True),
    _conv("2-D 3 × 3, no batch", (4, 9, 9), (5, 4, 3, 3), padding=1),
    _conv("2-D 1 × 1", (2, 6, 7, 7), (8, 6, 1, 1)),
    _conv("2-D 1 × 1, stride 2", (2, 6, 8, 8), (8, 6, 1, 1), stride=2, quick=True),
    _conv("2-D 3 × 3, stride 2", (2, 4, 12, 12), (6, 4, 3, 3), stride=2, padding=1),
    _conv("2-D 7 × 7 stem", (2, 3, 30, 30), (8, 3, 7, 7), stride=2, padding=3),
    _conv("2-D patches", (2, 3, 16, 16), (8, 3, 4, 4), stride=4),
    _conv("2-D patches with a remainder", (2, 3, 18, 17), (8, 3, 4, 4), stride=4),
    _conv("2-D dilated", (2, 4, 13, 13), (5, 4, 3, 3), padding=2, dilation=2),
    _conv("2-D unequal everything", (2, 3, 11, 14), (4, 3, 2, 5), quick=True, **UNEQUAL),
    _conv("2-D negative padding", (2, 3, 10, 11), (4, 3, 3, 3), padding=(-1, 1)),
    _conv("2-D SAME, stride 3", (2, 3, 10, 11), (4, 3, 4, 4), stride=3, padding="SAME"),
    _conv("2-D SAME_LOWER, stride 2", (2, 3, 9, 10), (4, 3, 3, 2), stride=2, padding="SAME_LOWER"),
    _conv("2-D FULL, dilated", (2, 3, 6, 5), (4, 3, 2, 3), dilation=(2, 1), padding="FULL"),
    _conv("2-D groups", (2, 8, 9, 9), (12, 2, 3, 3), groups=4, padding=1, quick=True),
    _conv("2-D groups, stride 2, dilated", (2, 4, 13, 12), (6, 2, 3, 3), groups=2, stride=2, dilation=2, padding=1),
    _conv("2-D depthwise", (2, 8, 10, 10), (8, 1, 3, 3), groups=8, padding=1, quick=True),
    _conv("2-D depthwise 7 × 7", (2, 6, 14, 14), (6, 1, 7, 7), groups=6, padding=3),
    _conv("2-D channels last", (2, 9, 9, 4), (3, 3, 4, 5), layout=LAST, padding=1, quick=True),
    _conv("2-D channels last, stride 2", (2, 11, 12, 4), (3, 2, 4, 5), layout=LAST, stride=2, padding="SAME"),
    _conv("2-D channels last, groups", (2, 9, 9, 8), (3, 3, 4, 6), layout=LAST, groups=2),
    _conv("2-D channels last, depthwise", (2, 9, 9, 6), (3, 3, 1, 6), layout=LAST, groups=6, padding=1),
    _conv("2-D channels last, two batch axes", (2, 3, 8, 8, 3), (2, 2, 3, 4), layout=LAST, stride=2),
    _conv("2-D batch of 32", (32, 3, 8, 8), (4, 3, 3, 3), padding=1),
    _conv("2-D bfloat16", (2, 8, 12, 12), (8, 8, 3, 3), "bfloat16", padding=1),
    _conv("2-D bfloat16, channels last, groups", (2, 12, 12, 8), (3, 3, 4, 8), "bfloat16", layout=LAST, groups=2),
    _conv("2-D float16, depthwise", (2, 8, 12, 12), (8, 1, 3, 3), "float16", groups=8),
    _conv("2-D float64", (2, 4, 9, 9), (5, 4, 3, 3), "float64", stride=2, padding=1),
    _conv("2-D float64, groups, channels last", (2, 9, 9, 4), (3, 3, 2, 6), "float64", groups=2, layout=LAST),
    # three spatial axes
    _conv("3-D 3 × 3 × 3", (2, 3, 6, 7, 6), (4, 3, 3, 3, 3), padding=1, quick=True),
    _conv("3-D stride 2", (2, 3, 8, 8, 7), (4, 3, 2, 3, 2), stride=2, padding=(0, 1, 1)),
    _conv("3-D unequal, dilated", (1, 2, 7, 9, 8), (3, 2, 3, 2, 3), stride=(1, 2, 1), dilation=(2, 1, 3)),
    _conv("3-D groups", (2, 4, 6, 6, 6), (4, 2, 3, 3, 3), groups=2),
    _conv("3-D depthwise", (2, 4, 6, 6, 6), (4, 1, 3, 3, 3), groups=4, padding=1),
    _conv("3-D channels last", (2, 6, 6, 6, 3), (3, 3, 3, 3, 4), layout=LAST, padding="SAME"),
    _conv("3-D no batch, negative padding", (3, 7, 7, 7), (2, 3, 2, 2, 2), padding=[(-1, 0), (0, -1), (1, -1)]),
    _conv("3-D bfloat16", (1, 4, 6, 6, 6), (4, 4, 3, 3, 3), "bfloat16", padding=1),
)

EVERY_THIRD: Options = {"residuals": 3, "lengths": (7, 0, 3, 1), "reverse": True}
GATED_CASES = (
    GatedCase("one step", 1, (2,), 3, 4),
    GatedCase("no step", 0, (2,), 3, 4, quick=True),
    GatedCase("two steps", 2, (2,), 3, 4),
    GatedCase("no batch", 9, (), 3, 4, quick=True),
    GatedCase("two batch axes", 9, (2, 3), 3, 4),
    GatedCase("batch 0", 9, (0,), 3, 4),
    GatedCase("one feature, one state", 12, (2,), 1, 1),
    GatedCase("many features, one state", 12, (2,), 16, 1),
    GatedCase("no biases", 10, (4,), 5, 6, bias=False, quick=True),
    GatedCase("no h0", 10, (4,), 5, 6, h0=False),
    GatedCase("unrolled by 3, which does not divide T", 7, (4,), 5, 6, options={"unroll": 3}),
    GatedCase("lengths, one of them 0", 7, (4,), 5, 6, options={"lengths": (7, 0, 3, 1)}),
    GatedCase("reverse", 7, (4,), 5, 6, options={"reverse": True, "unroll": 2}),
    GatedCase("time on the second axis", 7, (4,), 5, 6, options={"time_axis": 1}),
    GatedCase("states, gates and candidates saved", 7, (4,), 5, 6, options={"residuals": "save"}),
    GatedCase("every third state of 7, lengths, reverse", 7, (4,), 5, 6, options=EVERY_THIRD, quick=True),
    GatedCase("no recurrent weights", 7, (4,), 5, 6, w_h=False),
    GatedCase("no recurrent weights, every second state", 7, (4,), 5, 6, w_h=False, options={"residuals": 2}),
    GatedCase("small weights", 20, (4,), 5, 6, scale=0.1),
    GatedCase("large weights, saturated gates", 20, (4,), 5, 6, scale=4.0),
    GatedCase("digits' rows", 8, (32,), 8, 48),
    GatedCase("60 steps", 60, (4,), 8, 12),
    GatedCase("wide", 16, (8,), 64, 64),
    GatedCase("200 steps", 200, (2,), 4, 8),
    GatedCase("bfloat16", 12, (4,), 8, 8, dtype="bfloat16", quick=True),
    GatedCase("float16", 12, (4,), 8, 8, dtype="float16"),
    GatedCase("float64", 12, (4,), 8, 8, dtype="float64"),
)
