"""What the outputs of a stack read, on one axis, in exact integers: the algebra below `receptive_field`.

A layer lets its output p read r(p) and repeats: output p + b reads what output p reads, a further. A stack repeats too:
output p + P reads A further. See `receptive` for the formulas. Letters: k kernel size, s stride, d dilation,
lo padding before. Imports no jax.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import gcd
from typing import Any, NamedTuple

from jaxconv.sizes.arithmetic import window_size

Hull = tuple[int, int]  # first and last position


class AxisLayer(NamedTuple):
    """One axis of a layer: its output p + b reads what output p reads, a further."""

    transposed: bool
    k: int
    s: int
    lo: int
    d: int

    @property
    def repeats(self) -> tuple[int, int]:
        """(b, a)"""
        return (self.s, 1) if self.transposed else (1, self.s)

    def reads(self, p: int) -> range:
        """r(p), ascending."""
        transposed, k, s, lo, d = self
        if not transposed:
            return range(s * p - lo, s * p - lo + window_size(k, d), d)
        g = gcd(s, d)
        if (p + lo) % g:
            return range(0)
        every = s // g  # taps this far apart meet the inputs of one output, which lie d/g apart
        q = (p + lo) // g * pow(d // g, -1, every) % every
        last, count = (p + lo - d * q) // s, len(range(q, k, every))
        return range(last - d // g * (count - 1), last + 1, d // g)


class Reads(NamedTuple):
    """One axis of a stack: the hulls of its first P outputs, and the advance A from output p to output p + P."""

    advance: int
    hulls: tuple[Hull | None, ...]

    @classmethod
    def shortest(cls, advance: int, hulls: Sequence[Hull | None]) -> Reads:
        """The same reads with the smallest P."""
        count, g = len(hulls), gcd(advance, len(hulls))
        shorter = (cls(advance * q // g, tuple(hulls[: count * q // g])) for q in range(1, g + 1) if g % q == 0)
        return next(reads for reads in shorter if all(reads.hull(p) == hull for p, hull in enumerate(hulls)))

    def hull(self, p: int) -> Hull | None:
        turns, phase = divmod(p, len(self.hulls))
        hull, shift = self.hulls[phase], turns * self.advance
        return hull and (hull[0] + shift, hull[1] + shift)

    def under(self, layer: AxisLayer) -> Reads:
        """The reads of the stack with `layer` on top."""
        (b, a), count = layer.repeats, len(self.hulls)
        hulls = []
        for p in range(b * count // gcd(count, a)):
            r = layer.reads(p)
            period = count // gcd(count, r.step)
            hulls.append(hull_of(self.hull(j) for j in {*r[:period], *r[-period:]}))
        return Reads.shortest(self.advance * a // gcd(count, a), hulls)

    def numbers(self) -> tuple[Any, Any, Any]:
        """(size, stride, start): integers where P = 1, else fractions."""
        stride = Fraction(self.advance, len(self.hulls)) if len(self.hulls) > 1 else self.advance
        start = min(hull[0] - p * stride for p, hull in enumerate(self.hulls) if hull)
        stop = max(hull[1] - p * stride for p, hull in enumerate(self.hulls) if hull) + 1
        return stop - start, stride, start


def hull_of(hulls: Iterable[Hull | None]) -> Hull | None:
    some = [hull for hull in hulls if hull]
    return (min(first for first, _ in some), max(last for _, last in some)) if some else None
