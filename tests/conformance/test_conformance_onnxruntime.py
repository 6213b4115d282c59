"""ONNX Runtime's GRU as a peer: with the activations Sigmoid and Affine (α = 1, β = 0), W = [W_c; 0; W_x] and
R = [W_h; 0; 0] it is exactly this cell.

The first part holds what onnxruntime 1.32 answered on small numbers, and needs no onnxruntime. The second part runs
where it is installed (it is not a dependency). They differ in one thing: of a sequence of length 0 onnxruntime returns
the last state 0, where a state that stands still is h[0].
"""

import jax.numpy as jnp
import numpy as np
import pytest

from gated_cases import WEIGHTS, Case, pick
from gated_judge import cast, expected, judge
from jaxconv import GatedParams, gated_scan
from jaxconv.accuracy import error_model

pytestmark = pytest.mark.unoptimised

# ------------------------------------------------------------------------------------------- answers written down

GIVEN = {
    "w_c": [[0.75, 0.25, 0.0], [-0.5, -0.5, -1.0]],
    "w_h": [[-1.0, -1.0], [-0.75, 0.75]],
    "w_x": [[0.25, 1.0, 0.0], [0.25, 1.0, 0.5]],
    "b_c": [0.25, 0.0],
    "b_x": [0.25, 1.0],
    "x": [
        [[-0.5, 0.75, 0.5], [-1.0, -0.25, 0.75], [0.0, -1.0, 0.5]],
        [[0.5, 0.75, -0.75], [-1.0, 0.75, -1.0], [0.0, -1.0, -0.5]],
        [[0.0, -0.25, -0.25], [-1.0, -1.0, -0.75], [-1.0, 0.5, 0.0]],
        [[0.25, -0.5, 0.25], [0.5, -0.25, 0.0], [1.0, 0.75, 1.0]],
    ],
    "h0": [[-0.25, 0.5], [1.0, 0.25], [0.75, 0.5]],
}
NONE = [0.0, 0.0]
FORWARD = [
    [[0.36508042, 1.2089773], [-0.074579686, 0.66588163], [-0.4159498, 0.36331546]],
    [[0.88311136, 1.301842], [0.5122985, 0.7183548], [-0.57858026, 0.2589498]],
    [[0.10550582, 1.075611], [-0.816635, 0.54426235], [-0.024363786, 0.5498843]],
    [[-0.10090443, 0.93831515], [-0.5316814, 0.6401566], [0.40929595, 2.1277654]],
]
REVERSE = [
    [[0.7724161, 1.4511167], [-0.111641765, 0.72731185], [-0.4159498, 0.36331546]],
    [[0.4132395, 0.9023944], [0.7933221, 0.5222269], NONE],
    [[-0.100747, 0.5877025], NONE, NONE],
    [[-0.21972625, 0.57356316], NONE, NONE],
]
ANSWERS = {  # reverse, lengths, last state, states
    "forward": (False, None, FORWARD[3], FORWARD),
    "lengths": (
        False,
        (4, 2, 1),
        [FORWARD[3][0], FORWARD[1][1], FORWARD[0][2]],
        [FORWARD[0], [*FORWARD[1][:2], NONE], [FORWARD[2][0], NONE, NONE], [FORWARD[3][0], NONE, NONE]],
    ),
    "reverse-lengths": (True, (4, 2, 1), REVERSE[0], REVERSE),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_written_answers(name):
    """Both sides round: within the error model of what onnxruntime said, four steps of sums of at most four terms."""
    reverse, lengths, last, states = ANSWERS[name]
    a = {key: jnp.array(value) for key, value in GIVEN.items()}
    params = GatedParams(*map(a.get, WEIGHTS))
    lengths = None if lengths is None else np.array(lengths)
    computed = gated_scan(params, a["x"], a["h0"], lengths=lengths, reverse=reverse)
    u = error_model.unit_roundoff(np.float32)
    for ours, theirs in zip(computed, (last, states), strict=True):
        theirs = np.array(theirs)
        found = error_model.measured_units(ours, theirs, u * (theirs != 0), 16, np.float32)
        assert found.max() <= error_model.C
        np.testing.assert_array_equal(ours == 0, theirs == 0)


# ------------------------------------------------------------------------------------------- onnxruntime itself


def gru(a, lengths, reverse):
    """onnxruntime's (h_last, h) for the arrays in `a`, x (T, batch, n)."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: its answers above still run")
    onnx = pytest.importorskip("onnx")
    batch, (m, n) = a["x"].shape[1], a["w_c"].shape
    feeds = {
        "x": a["x"],
        "w": np.concatenate([a["w_c"], np.zeros((m, n)), a["w_x"]])[None],
        "r": np.concatenate([a["w_h"], np.zeros((2 * m, m))])[None],
        "b": np.concatenate([a.get("b_c", np.zeros(m)), np.zeros(m), a.get("b_x", np.zeros(m)), np.zeros(3 * m)])[None],
        "lengths": np.full(batch, len(a["x"])) if lengths is None else np.array(lengths),
        "h0": a.get("h0", np.zeros((batch, m)))[None],
    }
    feeds = {name: value.astype(np.int32 if name == "lengths" else np.float32) for name, value in feeds.items()}
    options = {"activations": ["Sigmoid", "Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}
    direction = "reverse" if reverse else "forward"
    node = onnx.helper.make_node("GRU", list(feeds), ["h", "last"], hidden_size=m, direction=direction, **options)
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(name, kinds[name], feeds[name].shape) for name in feeds]
    outputs = [onnx.helper.make_tensor_value_info(name, kinds["x"], None) for name in ("h", "last")]
    graph = onnx.helper.make_graph([node], "gru", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    h, last = session.run(None, feeds)
    return last[0], h[:, 0]


SAME = [
    *pick(
        "one-batch-axis", "time-1-batch", "no-biases", "large-recurrent-weight", "gates-near-1", "gates-at-both-ends"
    ),
    *pick("reverse", "every-3-of-7", "save", "zero-start", "many-states", "one-feature-one-state"),
    Case("onnx-lengths", batch=(4,), lengths=(7, 2, 3, 1)),
    Case("onnx-lengths-reverse", batch=(4,), lengths=(7, 2, 3, 1), reverse=True, residuals=2),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", SAME, ids=lambda case: case.id)
def test_as_onnxruntime(case):
    exact, *_ = case.draw()
    last, h = gru(exact, case.lengths, case.reverse)
    a = cast(exact, jnp.float32)
    options = {"lengths": case.run["lengths"], "reverse": case.reverse, "residuals": case.residuals}
    computed = gated_scan(GatedParams(*map(a.get, WEIGHTS)), a["x"], a.get("h0"), **options)
    _, spread = expected(case, "float32", "states")
    theirs = {"h_last": np.float64(last), "h": np.float64(h)}
    judge(case, dict(zip(("h_last", "h"), computed, strict=True)), theirs, spread, "float32")
