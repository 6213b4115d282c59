"""The three maps of the one trilinear form, in float64 loops: what every number of the library is judged by.

    T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

Written from the formula alone. Nothing of jaxconv is imported, so no mistake can be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Index = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Which input position each tap of each output reads; one entry per spatial axis, letters as in the formula."""

    n: Index
    k: Index
    s: Index
    d: Index
    lo: Index
    hi: Index
    m: Index

    @classmethod
    def of(cls, n: Sequence[int], k: Sequence[int], stride: Any, padding: Any, dilation: Any) -> Windows:
        axes = len(k)
        s, d = _per_axis(stride, axes), _per_axis(dilation, axes)
        pads = [
            named_padding(padding, *axis) if isinstance(padding, str) else _pair(padding, i)
            for i, axis in enumerate(zip(n, k, s, d, strict=True))
        ]
        m = tuple(
            count_windows(n_, k_, s_, lo, hi, d_) for n_, k_, s_, d_, (lo, hi) in zip(n, k, s, d, pads, strict=True)
        )
        return cls(tuple(n), tuple(k), s, d, tuple(lo for lo, _ in pads), tuple(hi for _, hi in pads), m)

    def meetings(self) -> Iterator[tuple[Index, Index, Index]]:
        """Every output p, tap q and input position j = s·p + d·q − lo that meet; padding is zero and left out."""
        for p in np.ndindex(*self.m):
            for q in np.ndindex(*self.k):
                j = tuple(s * p_ + d * q_ - lo for s, p_, d, q_, lo in zip(self.s, p, self.d, q, self.lo, strict=True))
                if all(0 <= j_ < n for j_, n in zip(j, self.n, strict=True)):
                    yield p, q, j


def count_windows(n: int, k: int, s: int, lo: int, hi: int, d: int) -> int:
    """How many windows fit, by laying them one after another.

    >>> count_windows(5, 3, 2, 0, 0, 1)
    2
    """
    count, last = 0, d * (k - 1)
    while last < n + lo + hi:
        count, last = count + 1, last + s
    return count


def named_padding(name: str, n: int, k: int, s: int, d: int) -> tuple[int, int]:
    """(lo, hi) for a padding by name.

    >>> named_padding("SAME", 5, 4, 1, 1), named_padding("SAME_LOWER", 5, 4, 1, 1)
    ((1, 2), (2, 1))
    """
    reach = d * (k - 1)
    wanted = (n + s - 1) // s
    total = 0
    while count_windows(n, k, s, 0, total, d) < wanted:
        total += 1
    small, large = total // 2, total - total // 2
    return {
        "VALID": (0, 0),
        "SAME": (small, large),
        "SAME_LOWER": (large, small),
        "CAUSAL": (reach, 0),
        "FULL": (reach, reach),
    }[name]


def conv(
    x: Any,
    w: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "channels_first",
) -> np.ndarray:
    """y[b,o,p] = Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]

    >>> conv([[0, 1, 2, 3, 4]], [[[1, 10, 100]]], stride=2)
    array([[210., 432.]])
    """
    x, w, axes = _wide(x), _wide(w), np.ndim(w) - 2
    batch, x = _read_array(x, axes, groups, layout)
    w = _read_kernel(w, groups, layout)
    windows = Windows.of(x.shape[3:], w.shape[3:], stride, padding, dilation)
    y = np.zeros((*x.shape[:2], w.shape[1], *windows.m), np.result_type(x, w))
    for p, q, j in windows.meetings():
        y[..., *p] += np.einsum("goi,bgi->bgo", w[..., *q], x[..., *j])
    return _write_array(y, batch, layout)


def conv_input_vjp(
    g: Any,
    w: Any,
    *,
    input_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "channels_first",
) -> np.ndarray:
    """dx[b,i,j] = Σ_{o,p,q: s·p + d·q − lo = j} w[o,i,q] · g[b,o,p]

    >>> conv_input_vjp([[1, 10]], [[[1, 2, 3]]], input_size=5, stride=2)
    array([[ 1.,  2., 13., 20., 30.]])
    """
    g, w, axes = _wide(g), _wide(w), np.ndim(w) - 2
    batch, g = _read_array(g, axes, groups, layout)
    w = _read_kernel(w, groups, layout)
    n = _per_axis(input_size, axes)
    dx = np.zeros((*g.shape[:2], w.shape[2], *n), np.result_type(g, w))
    for p, q, j in Windows.of(n, w.shape[3:], stride, padding, dilation).meetings():
        dx[..., *j] += np.einsum("goi,bgo->bgi", w[..., *q], g[..., *p])
    return _write_array(dx, batch, layout)


def conv_weight_vjp(
    x: Any,
    g: Any,
    *,
    kernel_size: Sequence[int],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "channels_first",
) -> np.ndarray:
    """dw[o,i,q] = Σ_{b,p} g[b,o,p] · x[b, i, s·p + d·q − lo]

    >>> conv_weight_vjp([[0, 1, 2, 3, 4]], [[1, 10]], kernel_size=(3,), stride=2)
    array([[[20., 31., 42.]]])
    """
    x, g, axes = _wide(x), _wide(g), len(kernel_size)
    _, x = _read_array(x, axes, groups, layout)
    _, g = _read_array(g, axes, groups, layout)
    dw = np.zeros((groups, g.shape[2], x.shape[2], *kernel_size), np.result_type(x, g))
    for p, q, j in Windows.of(x.shape[3:], kernel_size, stride, padding, dilation).meetings():
        dw[..., *q] += np.einsum("bgo,bgi->goi", g[..., *p], x[..., *j])
    return _write_kernel(dw, layout)


class Exact(NamedTuple):
    """A result, and what its rounding errors are measured by: three contractions of one form."""

    value: np.ndarray
    squares: np.ndarray  # Σ terms²
    counts: np.ndarray  # number of terms

    def __add__(self, other: Exact) -> Exact:  # type: ignore[override]
        return Exact(*(a + b for a, b in zip(self, other, strict=True)))

    def mapped(self, linear: Callable[[np.ndarray], np.ndarray]) -> Exact:
        """Of `linear` of the value, for a linear map that only moves, copies and adds elements."""
        return Exact(*map(linear, self))

    @property
    def length(self) -> int:
        """L, the terms of the longest sum."""
        return int(self.counts.max(initial=0))


def exact(product: Callable[..., np.ndarray], *factors: Any, **options: Any) -> Exact:
    """`product` of the factors, with Σ terms² and the number of terms: the same product of |factors|² and of ones.

    >>> exact(conv, [[3, 4]], [[[2, 1]]])
    Exact(value=array([[10.]]), squares=array([[52.]]), counts=array([[2.]]))
    """
    wide = [_wide(f) for f in factors]
    return Exact(
        product(*wide, **options),
        product(*(np.abs(f) ** 2 for f in wide), **options),
        product(*map(_ones, wide), **options),
    )


def _ones(a: np.ndarray) -> np.ndarray:
    return np.ones(a.shape)


def _wide(a: Any) -> np.ndarray:
    """As float64, or complex128 where complex; exact for every narrower dtype."""
    a = np.asarray(a)
    return a.astype(np.complex128 if np.iscomplexobj(a) else np.float64)


def _per_axis(value: Any, axes: int) -> Index:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _pair(padding: Any, axis: int) -> tuple[int, int]:
    entry = padding if isinstance(padding, int) else padding[axis]
    return (entry, entry) if isinstance(entry, int) else tuple(entry)


def _read_array(a: np.ndarray, axes: int, groups: int, layout: str) -> tuple[Index, np.ndarray]:
    """The batch axes, and `a` as (batch, groups, channels of a group, *space)."""
    if layout == "channels_last":
        a = np.moveaxis(a, -1, a.ndim - 1 - axes)
    batch, (channels, *space) = a.shape[: a.ndim - 1 - axes], a.shape[a.ndim - 1 - axes :]
    return batch, a.reshape(int(np.prod(batch)), groups, channels // groups, *space)


def _write_array(a: np.ndarray, batch: Index, layout: str) -> np.ndarray:
    """The way back from `_read_array`."""
    a = a.reshape(*batch, a.shape[1] * a.shape[2], *a.shape[3:])
    return np.moveaxis(a, len(batch), -1) if layout == "channels_last" else a


def _read_kernel(w: np.ndarray, groups: int, layout: str) -> np.ndarray:
    """w as (groups, out of a group, in of a group, *kernel)."""
    if layout == "channels_last":
        w = np.moveaxis(w, (-1, -2), (0, 1))
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def _write_kernel(w: np.ndarray, layout: str) -> np.ndarray:
    """The way back from `_read_kernel`."""
    w = w.reshape(w.shape[0] * w.shape[1], *w.shape[2:])
    return np.moveaxis(w, (0, 1), (-1, -2)) if layout == "channels_last" else w
