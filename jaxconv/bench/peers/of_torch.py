"""PyTorch on a CPU: oneDNN's convolutions, its GRU (three gates: more work), and the same cell as a scripted loop."""

from __future__ import annotations

import os

import arrays
import nets_torch
import torch


def start(name: str) -> dict:
    """As many threads as there are cores; the version. Subnormal numbers are 0, as in XLA: a deep net has them."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


def build(name: str, call: dict) -> tuple:
    """The call; nothing is compiled ahead."""
    if "nodes" in call:
        return nets_torch.build(name, call)
    if "steps" in call:
        return _recurrence(name, call), {}
    dtype = getattr(torch, call["dtype"])
    x, w, g = (torch.from_numpy(a).to(dtype) for a in arrays.convolution(call))
    axes = len(call["x"]) - 2
    options = [arrays.per_axis(call, key) for key in ("stride", "padding", "dilation")]
    if call["layout"] == "channels_last":
        if axes == 1:  # there is no such form of one axis; as images of one row it takes 0.1 to 0.7 of conv1d's time
            x, w, g = (a.unsqueeze(2) for a in (x, w, g))
            options = [[neutral, *each] for neutral, each in zip((1, 0, 1), options, strict=True)]
        form = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        x, w, g = (a.contiguous(memory_format=form) for a in (x, w, g))
    tail = False, [0] * len(options[0]), call["groups"]

    def run():
        with torch.no_grad():
            if call["map"] == "y":
                return torch.ops.aten.convolution(x, w, None, *options, *tail)
            mask = [call["map"] == "dx", call["map"] == "dw", False]
            return torch.ops.aten.convolution_backward(g, x, w, None, *options, *tail, mask)

    return run, {}


@torch.jit.script
def _cell(x: torch.Tensor, w_c: torch.Tensor, w_h: torch.Tensor, w_x: torch.Tensor) -> torch.Tensor:
    h = torch.zeros(x.size(1), w_h.size(0))
    states = []
    for t in range(x.size(0)):
        c = torch.sigmoid(x[t] @ w_c.t() + h @ w_h.t())
        h = c * h + (1 - c) * (x[t] @ w_x.t())
        states.append(h)
    return torch.stack(states)


def _recurrence(name: str, call: dict):
    x, w_c, w_h, w_x, g = (torch.from_numpy(a) for a in arrays.recurrence(call))
    gru = torch.nn.GRU(call["n"], call["m"])
    weights = list(gru.parameters()) if name == "torch_gru" else [w_c, w_h, w_x]

    def value():
        return gru(x)[0] if name == "torch_gru" else _cell(x, w_c, w_h, w_x)

    def forward():
        with torch.no_grad():
            return value()

    for a in (x, *weights):
        a.requires_grad_(call["map"] == "gradient")
    return forward if call["map"] == "h" else lambda: torch.autograd.grad(value(), [x, *weights], g)
