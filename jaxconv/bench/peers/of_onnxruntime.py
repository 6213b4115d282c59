"""ONNX Runtime: forward only. Its GRU is this cell for activations ("Sigmoid", "Affine"), α = 1, β = 0."""

from __future__ import annotations

import os

import arrays
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def start(name: str) -> dict:
    """The version."""
    return {"onnxruntime": onnxruntime.__version__}


def build(name: str, call: dict) -> tuple:
    """A session of one node, its kernel or weights constant."""
    if call["map"] not in ("y", "h"):
        raise ValueError("forward only")
    if "steps" not in call and call["layout"] == "channels_last":
        raise ValueError("channels first only")
    if call["dtype"] != "float32":
        raise ValueError("float32 only")
    x, node, constants, output = _recurrence(call) if "steps" in call else _convolution(call)
    tensors = [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    axes = 4 if "steps" in call else len(call["x"])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * axes)
    model = helper.make_model(
        helper.make_graph([node], "one", [given], [made], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = min(model.ir_version, 9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x}), {}


def _convolution(call: dict) -> tuple:
    x, w, _ = arrays.convolution(call)
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        strides=arrays.per_axis(call, "stride"),
        pads=2 * arrays.per_axis(call, "padding"),
        dilations=arrays.per_axis(call, "dilation"),
        group=call["groups"],
    )
    return x, node, {"w": w}, "y"


def _recurrence(call: dict) -> tuple:
    x, w_c, w_h, w_x, _ = arrays.recurrence(call)
    m = call["m"]
    # Gates in the order update, reset, candidate: the reset gate is not read, and the candidate is W_x x.
    W = np.concatenate([w_c, np.zeros_like(w_c), w_x])[None]
    R = np.concatenate([w_h, np.zeros((2 * m, m), "float32")])[None]
    node = helper.make_node(
        "GRU",
        ["x", "W", "R"],
        ["y"],
        hidden_size=m,
        activations=["Sigmoid", "Affine"],
        activation_alpha=[1.0],
        activation_beta=[0.0],
        linear_before_reset=1,
    )
    return x, node, {"W": W, "R": R}, "y"
