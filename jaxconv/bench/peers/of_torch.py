"""PyTorch on a CPU: oneDNN's convolutions, its GRU (three gates: more work), and the same cell as a scripted loop."""

from __future__ import annotations

import os

import arrays
import torch


def start(name: str) -> dict:
    """As many threads as there are cores; the version."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


def build(name: str, call: dict) -> tuple:
    """The call; nothing is compiled ahead."""
    if "steps" in call:
        return _recurrence(name, call), {}
    if call["layout"] == "channels_last" and len(call["x"]) == 3:
        raise ValueError("no channels-last form with one spatial axis")
    dtype = getattr(torch, call["dtype"])
    x, w, g = (torch.from_numpy(a).to(dtype) for a in arrays.convolution(call))
    if call["layout"] == "channels_last":
        form = torch.channels_last if len(call["x"]) == 4 else torch.channels_last_3d
        x, w, g = (a.contiguous(memory_format=form) for a in (x, w, g))
    axes = len(call["x"]) - 2
    options = [[call[key]] * axes for key in ("stride", "padding", "dilation")]
    tail = False, [0] * axes, call["groups"]

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
