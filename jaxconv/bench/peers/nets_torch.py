"""A net's training step in eager PyTorch, in either memory format."""

from __future__ import annotations

import nets_shared
import torch
from torch.nn import functional

RATE = 1e-4


def build(name: str, call: dict) -> tuple:
    """The step: loss, gradients, SGD in place. Loss and gradients go to the file call["save"]."""
    x, labels, weights = nets_shared.draw(call)
    labels = torch.from_numpy(labels)
    x, weights = _laid(torch.from_numpy(x), call), [_laid(torch.from_numpy(w), call) for w in weights]
    shapes = [shape for node in call["nodes"] if "w" in node for shape in (node["w"], node["w"][:1])]
    for w in weights:
        w.requires_grad_()

    by_name = operations(call)

    def differentiated() -> tuple:
        logits = nets_shared.walk(call, x, weights, by_name)
        loss = functional.cross_entropy(logits.reshape(*logits.shape[:2], *labels.shape[1:]), labels)
        return loss, torch.autograd.grad(loss, weights)

    def step():
        loss, gradients = differentiated()
        with torch.no_grad():
            torch._foreach_add_(weights, gradients, alpha=-RATE)
        return loss

    if "save" in call:
        loss, gradients = differentiated()
        arrays = [g.reshape(shape).contiguous().numpy() for g, shape in zip(gradients, shapes)]  # noqa: B905
        nets_shared.save(call["save"], float(loss), arrays)
    return step, {}


def _laid(a: torch.Tensor, call: dict) -> torch.Tensor:
    """An array in the memory format of the layout; there is none of one axis, which is images of one row then."""
    if call["layout"] == "channels_first" or a.ndim < 3:
        return a
    a = a.unsqueeze(2) if a.ndim == 3 else a
    return a.contiguous(memory_format=torch.channels_last if a.ndim == 4 else torch.channels_last_3d)


def operations(call: dict) -> dict:
    """By the name of a node's op."""
    axes = len(call["x"]) - 2
    rows = axes == 1 and call["layout"] == "channels_last"
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes + rows - 1]
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes + rows - 1]

    def each(number: int, neutral: int = 1) -> tuple:
        """A number per axis: the neutral one along a row's own axis, which `_laid` added."""
        return (neutral,) * rows + (number,) * axes

    return {
        "conv": lambda n, x, w, b: convolve(x, w, b, each(n["stride"]), each(n["padding"], 0), 1, n["groups"]),
        "pool": lambda n, x: pool(x, each(n["window"]), each(n["stride"]), each(n["padding"], 0)),
        "upsample": lambda n, x: functional.interpolate(x, scale_factor=each(n["factor"])),
        "relu": lambda n, x: functional.relu(x),
        "add": lambda n, a, b: a + b,
        "concat": lambda n, a, b: torch.cat([a, b], 1),
        "mean": lambda n, x: x.mean(tuple(range(2, x.ndim))),
        "dense": lambda n, x, w, b: functional.linear(x, w, b),
    }
