#!/usr/bin/env bash
# ONNX Runtime 1.32.0: ConvTranspose with auto_pad and a kernel shorter than the stride makes too small an output.
#
# ONNX, ConvTranspose, auto_pad: "SAME_UPPER or SAME_LOWER mean pad the input so that
# output_shape[i] = input_shape[i] * strides[i] for each axis i".
# Where the window, dilations * (kernel - 1) + 1, is shorter than the stride, the padding that does so is negative.
# ONNX Runtime takes 0 instead: strides * (input_shape - 1) + kernel positions, and so does onnx.shape_inference.
# ONNX's own reference evaluator has the size of the text. output_padding = stride - kernel gives that size everywhere.
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


def answers(kernel, stride, size, **attributes):
    """The output of ONNX Runtime, that of the reference evaluator, and the inferred size."""
    x = np.arange(1, size + 1, dtype=np.float32)[None, None]
    w = np.arange(1, kernel + 1, dtype=np.float32)[None, None]
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[stride], **attributes)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in (("x", x), ("w", w))]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[2].dim_value
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (run,), (evaluated,) = session.run(None, {"x": x, "w": w}), ReferenceEvaluator(model).run(None, {"x": x, "w": w})
    return run[0, 0], evaluated[0, 0], inferred


changed = []
for kernel, stride, size in ((1, 2, 4), (2, 3, 4), (1, 3, 4), (2, 4, 3)):
    wanted = size * stride
    for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        run, evaluated, inferred = answers(kernel, stride, size, auto_pad=auto_pad)
        print(f"kernel {kernel}, stride {stride}, size {size}, {auto_pad}: by the text {wanted} positions, "
              f"inferred {inferred}, evaluator {len(evaluated)}, ONNX Runtime {len(run)}: {run.tolist()}")
        smaller = stride * (size - 1) + kernel
        seen = (inferred, len(evaluated), len(run)) == (smaller, wanted, smaller)
        changed += [] if seen else [(kernel, stride, size, auto_pad)]
    run, evaluated, _ = answers(kernel, stride, size, output_padding=[stride - kernel])
    print(f"    with output_padding {stride - kernel} in place of auto_pad: {run.tolist()}")
    changed += [] if len(run) == wanted and (run == evaluated).all() else [(kernel, stride, size, "output_padding")]
if changed:
    raise SystemExit(f"no longer so: {changed}")
print("As described: ONNX Runtime's output is smaller than input * stride.")
PY
