"""Where an error sits: the distances of one array, in units of the error model, small enough for a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROWS, COLUMNS = 32, 64  # a telephone shows cells of five pixels side by side


@dataclass(frozen=True)
class Heat:
    """The distances of one array as a picture of at most ROWS × COLUMNS cells.

    Attributes:
        output: name of the array.  shape: its shape.
        split: its axes before this one are the rows, the others the columns.
        cells: the largest distance in each block of the array.
    """

    output: str
    shape: tuple[int, ...]
    split: int
    cells: np.ndarray

    @classmethod
    def of(cls, output: str, distance: np.ndarray) -> Heat:
        """The picture of `distance`, which holds at least one element.

        >>> Heat.of("dw", np.arange(6.0).reshape(2, 1, 3)).cells
        array([[0., 1., 2.],
               [3., 4., 5.]])
        """
        split = _split(distance.shape)
        rows = math.prod(distance.shape[:split])
        return cls(output, distance.shape, split, pooled(distance.reshape(rows, -1), np.maximum))

    @property
    def down(self) -> str:
        """What the rows stand for."""
        return _axes(self.shape[: self.split], 0)

    @property
    def across(self) -> str:
        """What the columns stand for."""
        return _axes(self.shape[self.split :], self.split)

    @property
    def reading(self) -> str:
        """How to read the picture, in words."""
        pooled = " A cell is the largest of a block." if self.cells.size < math.prod(self.shape) else ""
        return f"Shown is {self.output}; down: {self.down}, across: {self.across}.{pooled}"


def _axes(sizes: Sequence[int], first: int) -> str:
    last = first + len(sizes) - 1
    which = f"axis {first}" if first == last else f"axes {first} to {last}"
    return f"{which} ({' × '.join(map(str, sizes))})" if sizes else "one"


def _split(shape: tuple[int, ...]) -> int:
    """The split whose rows and columns are nearest to a picture's proportions."""

    def off(split: int) -> float:
        return abs(math.log(math.prod(shape[split:]) / math.prod(shape[:split]) * ROWS / COLUMNS))

    return min(range(len(shape) + 1), key=off)


def pooled(values: np.ndarray, pool: np.ufunc) -> np.ndarray:
    """The largest of each block (`pool`: np.maximum), of as many blocks as a picture has cells at most."""
    for axis, most in enumerate((ROWS, COLUMNS)):
        size = values.shape[axis]
        starts = np.arange(min(size, most)) * size // min(size, most)
        values = pool.reduceat(values, starts, axis)
    return values
