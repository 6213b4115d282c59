#!/usr/bin/env bash
# ONNX Runtime 1.32.0: MaxPool, AveragePool and LpPool with auto_pad=SAME_UPPER or SAME_LOWER and dilations above 1 pad
# as if the dilation were 1, and make too small an output.
#
# ONNX, auto_pad of the three: SAME_UPPER and SAME_LOWER pad so that output[i] = ceil(input[i] / strides[i]).
# A window of kernel k and dilation d reads d (k - 1) + 1 positions; ONNX Runtime pads for k. onnx.shape_inference and
# ONNX's reference evaluator have the size of the text. For Conv ONNX Runtime refuses the two together with an error.
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
onnxruntime.set_default_logger_severity(3)  # it warns that the sizes differ, too


def answers(op, kernel, dilation, stride, size, auto_pad):
    """The inferred size, the evaluator's output and that of ONNX Runtime."""
    x = np.arange(1, size + 1, dtype=np.float32)[None, None]
    node = helper.make_node(
        op, ["x"], ["y"], kernel_shape=[kernel], dilations=[dilation], strides=[stride], auto_pad=auto_pad
    )
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None])
    graph = helper.make_graph([node], "g", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[2].dim_value
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return inferred, ReferenceEvaluator(model).run(None, {"x": x})[0][0, 0], session.run(None, {"x": x})[0][0, 0]


changed = []
for op in ("MaxPool", "AveragePool", "LpPool"):
    for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        for kernel, dilation, stride, size in ((3, 2, 1, 6), (3, 3, 2, 8), (2, 3, 2, 8)):
            inferred, own, run = answers(op, kernel, dilation, stride, size, auto_pad)
            wanted = -(-size // stride)
            padded = size + max((wanted - 1) * stride + kernel - size, 0)
            smaller = (padded - dilation * (kernel - 1) - 1) // stride + 1
            print(f"{op} {auto_pad}, kernel {kernel}, dilation {dilation}, stride {stride}, size {size}: by the text "
                  f"{wanted}, inferred {inferred}, evaluator {len(own)}, ONNX Runtime {len(run)}: {run.tolist()}")
            seen = (inferred, len(own), len(run)) == (wanted, wanted, smaller) and smaller < wanted
            changed += [] if seen else [(op, auto_pad, kernel, dilation, stride, size)]
if changed:
    raise SystemExit(f"no longer so: {changed}")
print("As described: ONNX Runtime pads for the kernel without its dilation.")
PY
