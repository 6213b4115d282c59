#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator's AveragePool and LpPool with auto_pad=VALID and a dilation have positions too
# many, whose windows reach past the end; most of them are 0.
#
# ONNX, auto_pad VALID: output[i] = ceil((input[i] - dilations[i] (kernel[i] - 1)) / strides[i]), without padding.
# The evaluator counts positions for the kernel without its dilation. onnx.shape_inference and ONNX Runtime have the
# size of the text, and the evaluator itself has with auto_pad=NOTSET and pads of 0, which mean the same.
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


def answers(op, size, **attributes):
    """The inferred size, the evaluator's output and that of ONNX Runtime."""
    x = np.arange(1, size + 1, dtype=np.float32)[None, None]
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None])
    graph = helper.make_graph([node], "g", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[2].dim_value
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return inferred, ReferenceEvaluator(model).run(None, {"x": x})[0][0, 0], session.run(None, {"x": x})[0][0, 0]


changed = []
for op in ("AveragePool", "LpPool"):
    for kernel, dilation, stride, size in ((3, 3, 2, 9), (2, 2, 1, 7), (3, 2, 1, 8)):
        window = {"kernel_shape": [kernel], "dilations": [dilation], "strides": [stride]}
        inferred, own, run = answers(op, size, auto_pad="VALID", **window)
        wanted, more = -(-(size - dilation * (kernel - 1)) // stride), -(-(size - kernel + 1) // stride)
        print(f"{op}, kernel {kernel}, dilation {dilation}, stride {stride}, size {size}: by the text {wanted}, "
              f"inferred {inferred}, ONNX Runtime {len(run)}, evaluator {len(own)}: {own.tolist()}")
        seen = (inferred, len(run), len(own)) == (wanted, wanted, more) and more > wanted
        changed += [] if seen else [(op, kernel, dilation, stride, size)]
        _, explicit, run = answers(op, size, pads=[0, 0], **window)
        changed += [] if len(explicit) == wanted and np.allclose(explicit, run) else [(op, "pads of 0")]
if changed:
    raise SystemExit(f"no longer so: {changed}")
print("As described: the reference evaluator's output is longer.")
PY
