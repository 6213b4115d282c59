"""Windows, sizes and receptive fields in a few words, and a table of them in text. Imports no jax."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any


def shape_words(shape: Sequence[int]) -> str:
    """1x3x224x224"""
    return "x".join(map(str, shape))


def window_words(
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> str:
    """In the words of `jaxconv size`.

    >>> window_words((3, 3), (2, 2), [(1, 1), (1, 1)], (1, 1), 8)
    '3x3 s2 p1 g8'
    """
    return " ".join(_words(kernel, stride, padding, dilation, groups))


def _words(kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Iterator[str]:
    yield shape_words(kernel)
    for letter, values in (("s", stride), ("d", dilation)):
        if set(values) != {1}:
            yield letter + (str(values[0]) if len(set(values)) == 1 else shape_words(values))
    pads = [str(lo) if lo == hi else f"{lo}:{hi}" for lo, hi in padding]
    if set(pads) != {"0"}:
        yield "p" + (pads[0] if len(set(pads)) == 1 else "x".join(pads))
    if groups > 1:
        yield f"g{groups}"


def field_words(field: Any) -> str:
    """A receptive field: size and stride; "" where there is none to tell."""
    if field is None:
        return ""
    size, stride = (each if isinstance(each, tuple) else (each,) for each in (field.size, field.stride))
    return f"{shape_words(size)} every {shape_words(stride)}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str]) -> list[str]:
    """Lines with the cells below each other; those below a heading in `right` end below each other."""
    wide = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for row in (headings, *rows):
        parts = zip(headings, row, wide, strict=True)
        cells = (cell.rjust(n) if heading in right else cell.ljust(n) for heading, cell, n in parts)
        lines.append("  ".join(cells).rstrip())
    return lines
