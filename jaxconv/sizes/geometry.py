"""Geometry: every option of a convolution but its numbers, validated once and normalised per axis.

Hashable, so that it is a static argument of jitted functions and a key of the lowering table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from jaxconv.sizes.arguments import Size, integer, is_sequence, one_of, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import LAYOUTS, Layout, Padding, axis_output, read_windows


@dataclass(frozen=True)
class Geometry:
    """The windows of one convolution: which positions of the input each output reads.

        output p reads the inputs s·p + d·q − lo for the taps q = 0 … k − 1, on each spatial axis

    Attributes:
        input_size: n; this and the next four are tuples with one entry per spatial axis.
        kernel_size: k.
        stride: s.
        padding: (lo, hi).
        dilation: d.
        groups: the channels fall into this many groups that do not see each other.
        layout: "channels_first" or "channels_last".

    Made by `Geometry.of`, which validates; the constructor takes what it is given.

    >>> Geometry.of("conv", (5,), (3,), stride=2).output_size
    (2,)
    """

    input_size: tuple[Size, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    layout: Layout = "channels_first"

    @classmethod
    def of(
        cls,
        function: str,
        input_size: Size | Sequence[Size],
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: Layout = "channels_first",
    ) -> Geometry:
        """Read and check the options of a convolution.

        Args:
            function: the name that every error carries.
            input_size: n, one per spatial axis; an integer where there is one axis.
            kernel_size: k, likewise.
            stride, padding, dilation, groups, layout: as in `conv`.

        Returns:
            A Geometry, each option per axis, padding as (lo, hi).

        Raises:
            TypeError: an option has the wrong kind.
            ValueError: a number is out of range, or a window is wider than the padded input.
        """
        if not isinstance(function, str):
            rule = '`function` must be the name that errors carry, as in Geometry.of("conv", (5,), (3,))'
            wrong_kind("Geometry.of", rule, f"function={function!r}")
        one_of(function, "layout", layout, LAYOUTS)
        sizes, taps = (v if is_sequence(v) else (v,) for v in (input_size, kernel_size))
        groups = integer(function, "groups", groups, least=1)
        n = tuple(integer(function, f"input_size[{i}]", v, least=1, symbolic=True) for i, v in enumerate(sizes))
        k = tuple(integer(function, f"kernel_size[{i}]", v, least=1) for i, v in enumerate(taps))
        if len(n) != len(k):
            wrong_value(function, "`input_size` and `kernel_size` must have the same number of axes", f"{n} and {k}")
        s, pads, d, _ = read_windows(function, n, k, stride, padding, dilation)
        return cls(n, k, s, pads, d, groups, layout)

    @property
    def per_axis(self) -> Iterator[tuple[Size, int, int, tuple[int, int], int]]:
        """n, k, s, (lo, hi) and d of each spatial axis."""
        return zip(self.input_size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)

    @property
    def output_size(self) -> tuple[Size, ...]:
        """m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1, per axis."""
        return tuple(axis_output(n, k, s, lo, hi, d) for n, k, s, (lo, hi), d in self.per_axis)

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_size)

    @property
    def channels_first(self) -> bool:
        """Whether channels stand before the spatial axes."""
        return self.layout == "channels_first"

    @property
    def taps(self) -> int:
        """Positions of the kernel, ∏ k."""
        return prod(self.kernel_size)
