"""What a compiled program sends between devices, read from its own text, and how long that takes at best.

An all-reduce of S bytes over P devices cannot move less than 2 (P − 1)/P · S in and out of each device, which a ring
reaches; a gather or a scatter half of that; a permute its S.

Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH", 2005.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
_BITS = {"pred": 8, "bf16": 16, "s4": 4, "u4": 4}


class Collective(NamedTuple):
    """One collective of a compiled program.

    Attributes:
        kind: one of `KINDS`.
        size: bytes of its result on one device.
        in_loop: whether it stands in a loop or a branch, so that it may run many times.
    """

    kind: str
    size: int
    in_loop: bool


def collectives(compiled: Any) -> list[Collective]:
    """Every collective of a compiled program, in the order of its text.

    Args:
        compiled: what ``jax.jit(f).lower(*args).compile()`` returns.
    """
    return list(_read(compiled.as_text()))


def _read(text: str) -> Iterator[Collective]:
    entry = False
    call = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
    for line in text.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith("{"):  # a computation begins
            entry = line.startswith("ENTRY")
        found = call.search(line)
        if found:
            shapes = re.findall(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]", found[1])
            size = sum(_bytes(*shape) for shape in shapes)
            yield Collective(found[2], size // 2 if found[3] else size, not entry)  # "-start" names operands as well


def _bytes(dtype: str, shape: str) -> int:
    digits = re.sub(r"\D", "", dtype.split("e")[0])  # f8e4m3 has 8 bits
    count = 1
    for size in filter(None, shape.split(",")):
        count *= int(size)
    return count * _BITS.get(dtype, int(digits or 8)) // 8


def least_bytes(found: list[Collective], devices: int) -> float:
    """Bytes that must go out of each device for these, each run once: 2 (P − 1)/P · S for an all-reduce, and so on."""
    share = (devices - 1) / devices
    factors = {"all-reduce": 2 * share, "collective-permute": 1.0, "reduce-scatter": share * devices}
    return sum(factors.get(each.kind, share) * each.size for each in found)
