"""A net, written once, of no framework: a list of nodes, each of which says what it is of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxconv.sizes.arithmetic import output_size
from jaxconv.sizes.shapes import output_shape


class Graph:
    """A net as it is being written: every method adds one node and returns the value that it makes.

    Value 0 is the input. Each node with weights has a bias. There are no norms: what a residual branch adds is made
    small by the `gain` of its last weights instead.

    Attributes:
        name: as tables call it.
        batch: images.
        shapes: (channels, *space) of every value.
        nodes: what `jaxconv.bench.peers.nets_shared` walks through.

    >>> g = Graph("tiny", 2, (3, 8, 8))
    >>> y = g.dense(g.mean(g.relu(g.conv(0, 4, 3, stride=2))), 10)
    >>> g.shapes
    [(3, 8, 8), (4, 4, 4), (4, 4, 4), (4,), (10,)]
    """

    def __init__(self, name: str, batch: int, shape: tuple[int, ...]) -> None:
        self.name, self.batch = name, batch
        self.shapes: list[tuple[int, ...]] = [shape]
        self.nodes: list[dict[str, Any]] = []

    def conv(
        self,
        of: int,
        filters: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        gain: float = 1.0,
    ) -> int:
        """A convolution with bias; its padding is half the kernel if none is said."""
        channels, *space = self.shapes[of]
        padding = kernel // 2 if padding is None else padding
        w = (filters, channels // groups, *[kernel] * len(space))
        shape = output_shape((1, channels, *space), w, stride=stride, padding=padding, groups=groups)[1:]
        return self._add("conv", [of], shape, w=w, gain=gain, stride=stride, padding=padding, groups=groups)

    def dense(self, of: int, out: int) -> int:
        """A dense layer on a value without spatial axes."""
        (channels,) = self.shapes[of]
        return self._add("dense", [of], (out,), w=(out, channels), gain=1.0)

    def relu(self, of: int) -> int:
        """max(value, 0)"""
        return self._add("relu", [of], self.shapes[of])

    def add(self, a: int, b: int) -> int:
        """a + b, of one shape. ValueError where they are not."""
        if self.shapes[a] != self.shapes[b]:
            raise ValueError(f"Graph.add: both values must have one shape; got {self.shapes[a]} and {self.shapes[b]}")
        return self._add("add", [a, b], self.shapes[a])

    def pool(self, of: int, window: int, *, stride: int | None = None, padding: int = 0) -> int:
        """The largest in each window; its stride is the window if none is said."""
        stride = window if stride is None else stride
        channels, *space = self.shapes[of]
        m = [output_size(n, window, stride=stride, padding=padding) for n in space]
        return self._add("pool", [of], (channels, *m), window=window, stride=stride, padding=padding)

    def upsample(self, of: int, factor: int) -> int:
        """Every position `factor` times along each axis."""
        channels, *space = self.shapes[of]
        return self._add("upsample", [of], (channels, *(factor * n for n in space)), factor=factor)

    def concat(self, a: int, b: int) -> int:
        """The channels of a, then those of b. ValueError where they lie on different positions."""
        if self.shapes[a][1:] != self.shapes[b][1:]:
            raise ValueError(f"Graph.concat: both must have one size; got {self.shapes[a]} and {self.shapes[b]}")
        return self._add("concat", [a, b], (self.shapes[a][0] + self.shapes[b][0], *self.shapes[a][1:]))

    def mean(self, of: int) -> int:
        """Of all positions."""
        return self._add("mean", [of], self.shapes[of][:1])

    def call(self) -> dict[str, Any]:
        """All that a contestant has to know, as JSON can hold it: the last value's channels are classes."""
        classes, *space = self.shapes[-1]
        x = [self.batch, *self.shapes[0]]
        return {"name": self.name, "x": x, "classes": classes, "labels": space, "nodes": self.nodes}

    def multiply_adds(self) -> int:
        """Of the convolutions' and dense layers' values; a training step makes about three times as many."""
        total = 0
        for node, (_, *space) in zip(self.nodes, self.shapes[1:], strict=True):
            total += self.batch * math.prod(node.get("w", (0,))) * math.prod(space)
        return total

    def _add(self, op: str, of: list[int], shape: Sequence[int], **options: Any) -> int:
        self.nodes.append({"op": op, "of": of, **options})
        self.shapes.append(tuple(shape))
        return len(self.nodes)
