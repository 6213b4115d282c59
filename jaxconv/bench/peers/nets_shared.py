"""A net as a list of nodes, of no framework: its numbers, drawn the same for every contestant, and its walk.

A call holds "x", (batch, channels, *space), "classes", and "nodes", in order, each {"op": name, "of": [values], …}:
value 0 is x, value i what node i − 1 makes. A node with "w", the shape (out, in/groups, *kernel) of its weights, has
a bias (out,), too.
"""

from __future__ import annotations

import numpy as np

BIAS = 0.05  # standard deviation of the biases


def draw(call: dict) -> tuple:
    """x, labels (batch, *space of the output) and a flat list w, b, w, b, …, channels first, float32.

    Weights have the variance gain² · 2/fan_in, which keeps the size of what relu lets through.
    """
    random = np.random.default_rng(0)
    x = random.standard_normal(call["x"]).astype("float32")
    labels = random.integers(0, call["classes"], [call["x"][0], *call["labels"]])
    weights = []
    for node in call["nodes"]:
        if "w" in node:
            deviation = node["gain"] * (2 / np.prod(node["w"][1:])) ** 0.5
            weights.append((deviation * random.standard_normal(node["w"])).astype("float32"))
            weights.append((BIAS * random.standard_normal(node["w"][0])).astype("float32"))
    return x, labels, weights


def walk(call: dict, x, weights: list, operations: dict):
    """The last value: every node's operation, called with the node, the values it is of, and its w and b."""
    values, left = [x], iter(weights)
    for node in call["nodes"]:
        own = [next(left), next(left)] if "w" in node else []
        values.append(operations[node["op"]](node, *(values[i] for i in node["of"]), *own))
    return values[-1]


def save(path: str, loss: float, gradients: list) -> None:
    """The loss and then every gradient, channels first, in one flat array."""
    np.save(path, np.concatenate([[loss], *(np.ravel(each) for each in gradients)]).astype("float32"))
