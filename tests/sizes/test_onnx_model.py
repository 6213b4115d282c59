"""`jaxconv size model.onnx`: models built here, and those of real libraries that the `onnx` package holds as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from jaxconv import Window, cli, output_size, transpose_output_size
from jaxconv.sizes.onnx_model import POOLS, model_rows

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FLOAT = TensorProto.FLOAT


def weight(name, *shape):
    return helper.make_tensor(name, FLOAT, shape, np.ones(int(np.prod(shape))))


def built(tmp_path, nodes, weights, x, opset=17):
    """A file with a model from "x" to "y"."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, x)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [weight(name, *shape) for name, shape in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    )
    model.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return path


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"{kind}_{output}", **attributes)


MODELS = {
    "chain": (
        [
            node("Conv", "x w", "a", strides=[2], pads=[1, 1], kernel_shape=[3]),
            node("Relu", "a", "b"),
            node("MaxPool", "b", "c", kernel_shape=[2], strides=[2]),
            node("Conv", "c v", "y", dilations=[2], pads=[2, 2]),
        ],
        {"w": (4, 1, 3), "v": (4, 4, 3)},
    ),
    "residual": (
        [
            node("Conv", "x w", "a", auto_pad="SAME_UPPER", strides=[2]),
            node("Conv", "a v", "b", pads=[1, 1], group=4),
            node("Add", "a b", "c"),
            node("GlobalAveragePool", "c", "y"),
        ],
        {"w": (4, 1, 4), "v": (4, 1, 3)},
    ),
    "transposed": (
        [
            node("Conv", "x w", "a", strides=[2]),
            node("ConvTranspose", "a u", "b", strides=[2], pads=[1, 0], output_padding=[1]),
            node("Conv", "b v", "y"),
        ],
        {"w": (4, 1, 3), "u": (4, 2, 3), "v": (1, 2, 1)},
    ),
    "transposed to a shape": (
        [node("ConvTranspose", "x u", "y", strides=[3], output_shape=[58], auto_pad="SAME_LOWER")],
        {"u": (1, 2, 4)},
    ),
    "padded and joined": (
        [
            node("Pad", "x pads", "a"),
            node("Conv", "a w", "b"),
            node("Conv", "x v", "c"),
            node("Concat", "b c", "d", axis=1),
            node("AveragePool", "d", "y", kernel_shape=[3], strides=[2], ceil_mode=1),
        ],
        {"w": (2, 1, 5), "v": (2, 1, 1)},
    ),
}
X = (1, 1, 20)


def model(tmp_path, name, x=X):
    nodes, weights = MODELS[name]
    path = built(tmp_path, nodes, weights, x)
    if name == "padded and joined":
        loaded = onnx.load(path)
        loaded.graph.initializer.append(helper.make_tensor("pads", TensorProto.INT64, (6,), [0, 0, 3, 0, 0, 1]))
        onnx.save(loaded, path)
    return path


def assert_sizes(rows, but=()):
    """The formula of the windows gives what onnx inferred."""
    for row in rows:
        (x, y), w = row.shapes, row.windows
        options = {"stride": w.stride, "padding": w.padding, "dilation": w.dilation}
        if not isinstance(w, Window):
            grown = transpose_output_size(x[2:], w.kernel, **options)
            assert all(g <= n < g + s for g, n, s in zip(grown, y[2:], w.stride, strict=True)), row
        elif row.operator not in but:
            assert output_size(x[2:], w.kernel, **options) == y[2:], row


@pytest.mark.parametrize("name", MODELS)
def test_sizes_and_costs(tmp_path, name):
    rows = model_rows(model(tmp_path, name))
    kinds = [each.op_type for each in MODELS[name][0]]
    assert [row.operator for row in rows] == [kind for kind in kinds if "Conv" in kind or "Pool" in kind]
    assert_sizes(rows, but=("AveragePool",) if name == "padded and joined" else ())
    for row in rows:
        assert 0 < row.cost.multiply_adds <= row.cost.multiply_adds_with_padding
        assert (row.weights == 0) == (row.operator in POOLS)


def test_costs_are_those_that_meet_an_input(tmp_path):
    conv, pool, dilated = model_rows(model(tmp_path, "chain"))
    assert conv.cost.multiply_adds == 4 * (10 * 3 - 1)  # one tap of thirty on padding
    assert pool.cost.multiply_adds == 4 * 5 * 2
    assert dilated.cost.multiply_adds == 4 * 4 * (5 * 3 - 4)
    (up,) = [row for row in model_rows(model(tmp_path, "transposed")) if row.operator == "ConvTranspose"]
    assert up.cost.multiply_adds == 4 * 2 * (3 * 9 - 1)


@pytest.mark.parametrize("name", ["chain", "residual", "transposed", "padded and joined"])
def test_receptive_fields_are_where_a_change_shows(tmp_path, name):
    path = model(tmp_path, name)
    run = ReferenceEvaluator(onnx.load(path)).run
    field = model_rows(path)[-1].field
    x = np.ones(X, np.float32)
    right = run(None, {"x": x})[0]
    at = right.shape[2] // 2
    seen = []
    for i in range(20):
        changed = x.copy()
        changed[..., i] += 100  # more than all others, so that a maximum shows it, too
        if (run(None, {"x": changed})[0][..., at] != right[..., at]).any():
            seen.append(i)
    (start,), (stride,), (size,) = field.start, field.stride, field.size
    first = start + at * stride
    assert (seen[0], seen[-1]) == (max(first, 0), min(first + size - 1, 19))


REAL = ["light/light_resnet50", "light/light_shufflenet", "light/light_inception_v2", "light/light_densenet121"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_models_of_real_libraries(name):
    path = DATA / f"{name}.onnx"
    rows = model_rows(path)
    operators = [n.op_type for n in onnx.load(path, load_external_data=False).graph.node]
    assert sum(row.operator == "Conv" for row in rows) == operators.count("Conv")
    assert_sizes(rows, but=POOLS)  # of other programs, which round up
    if name.endswith("resnet50"):
        convolutions = [row for row in rows if row.operator == "Conv"]
        assert sum(row.cost.multiply_adds_with_padding for row in convolutions) == 4_087_136_256  # 4.09 G, as published
        assert rows[-2].field.size == (427, 427)


@pytest.mark.slow
def test_what_the_exporter_of_torch_recorded():
    recorded = sorted(DATA.glob("pytorch-*/*[Cc]onv*/model.onnx"))
    assert len(recorded) > 20
    for path in recorded:
        rows = model_rows(path)
        assert rows, path
        assert_sizes(rows)


def test_the_command(tmp_path, capsys):
    assert cli.main(["size", str(model(tmp_path, "chain"))]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1 + 3 + 1
    assert "Conv_a" in out[1]
    assert "3 s2 p1" in out[1]
    assert out[-1].startswith("2 convolutions: ")


def test_an_open_dimension_is_asked_for(tmp_path, capsys):
    path = str(model(tmp_path, "chain", ("batch", 1, None)))
    assert cli.main(["size", path]) == 2
    assert "leaves dimensions open, batchx1x?: give --input x=SHAPE" in capsys.readouterr().err
    assert cli.main(["size", path, "--input", "x=2x1x20"]) == 0
    assert "2x1x20 → 2x4x10" in capsys.readouterr().out


BAD_INPUTS = {
    "x": "must be NAME=SHAPE, like x=1x3x224x224; got 'x'",
    "x=1xa": "must be NAME=SHAPE",
    "z=1x1x20": "must name an input of",
    "x=1x2x20": "must fit ?x1x?; got 1x2x20",
}


@pytest.mark.parametrize("given", BAD_INPUTS)
def test_a_wrong_input(tmp_path, capsys, given):
    path = str(model(tmp_path, "chain", ("batch", 1, None)))
    assert cli.main(["size", path, "--input", given]) == 2
    assert BAD_INPUTS[given] in capsys.readouterr().err


def test_files_that_are_no_model(tmp_path, capsys):
    for content in (b"these are no bytes of a model", b""):
        (tmp_path / "no.onnx").write_bytes(content)
        assert cli.main(["size", str(tmp_path / "no.onnx")]) == 2
        assert "must be an ONNX model" in capsys.readouterr().err
    assert cli.main(["size", str(tmp_path / "none.onnx")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_operator_that_onnx_does_not_know(tmp_path, capsys):
    strange = helper.make_node("Strange", ["x"], ["a"], domain="com.example")
    path = built(tmp_path, [strange, node("Conv", "a w", "y")], {"w": (1, 1, 3)}, X)
    assert cli.main(["size", str(path)]) == 2
    said = "the shape of 'a' at Conv 'Conv_y'; the model has operators that onnx does not know: com.example.Strange"
    assert said in capsys.readouterr().err
