#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator's GRU, LSTM and RNN do not look at sequence_lens.
#
# ONNX, sequence_lens: "Optional tensor specifying lengths of the sequences in a batch."
# For a batch of two sequences, of 2 and of 5 steps, the evaluator runs both for 5 steps, as it does without the input,
# and says nothing. ONNX Runtime stops the first after 2: its Y is 0 from there on, its Y_h that of step 2; in reverse
# it starts there. Who takes the evaluator for the meaning of a model compares with something else.
#
# Needs python3 (3.11 or later) with venv, and pip. Exit status 0: seen as described; else it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0

"$work/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
STEPS, BATCH, N, M = 5, 2, 3, 4
draw = np.random.default_rng(0).standard_normal


def answers(op, gates, direction, lengths):
    """(Y, Y_h) of the reference evaluator and of ONNX Runtime."""
    feeds = {
        "X": draw((STEPS, BATCH, N)),
        "W": draw((1, gates * M, N)),
        "R": draw((1, gates * M, M)),
        "B": draw((1, 2 * gates * M)),
    }
    feeds = {name: value.astype(np.float32) for name, value in feeds.items()}
    if lengths:
        feeds["lens"] = np.array(lengths, np.int32)
    node = helper.make_node(op, list(feeds), ["Y", "Y_h"], hidden_size=M, direction=direction)
    kind = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    given = [helper.make_tensor_value_info(name, kind[v.dtype], v.shape) for name, v in feeds.items()]
    shapes = {"Y": (STEPS, 1, BATCH, M), "Y_h": (1, BATCH, M)}
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph([node], "g", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, feeds), session.run(None, feeds)


changed = []
for op, gates in (("GRU", 3), ("LSTM", 4), ("RNN", 1)):
    for direction in ("forward", "reverse"):
        (own, _), (run, _) = answers(op, gates, direction, None)
        if not np.allclose(own, run, atol=1e-5):
            changed.append(f"{op}, {direction}, without lengths: they differ")
        (own, own_h), (run, run_h) = answers(op, gates, direction, [2, 5])
        off = [float(abs(a - b).max()) for a, b in ((own[:, :, 0], run[:, :, 0]), (own[:, :, 1], run[:, :, 1]))]
        after = [float(abs(each[2:, 0, 0]).max()) for each in (own, run)]
        print(f"{op}, {direction}: sequence of 2 steps off by {off[0]:.2f}, of 5 by {off[1]:.0e}; "
              f"largest |Y| after its end: evaluator {after[0]:.2f}, ONNX Runtime {after[1]:.2f}")
        seen = off[0] > 0.01 and off[1] < 1e-5 and after[0] > 0.01 and after[1] == 0
        changed += [] if seen else [f"{op}, {direction}"]
if changed:
    raise SystemExit(f"no longer so: {changed}")
print("As described: the reference evaluator runs every sequence to the end of the batch.")
PY
