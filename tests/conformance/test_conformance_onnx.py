"""ONNX's own tests of Conv, ConvTranspose and CausalConvWithState: all that the `onnx` package generates or records.

Generated are the node tests, whose outputs are written out in the package; recorded are the operators of PyTorch,
whose inputs and outputs its exporter stored. None is skipped. The third part asks ONNX's reference evaluator where
neither has a case.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as node_tests
from onnx.reference import ReferenceEvaluator

import oracles
from cases import assert_right, assert_same
from jaxconv import conv, conv_transpose
from oracles import Exact, exact

pytestmark = [pytest.mark.unoptimised, pytest.mark.slow]

UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiling is all of the time
OPERATORS = {"Conv", "ConvTranspose"}
STATEFUL = "CausalConvWithState"


class Call(NamedTuple):
    """One node and what went in and came out."""

    name: str
    node: onnx.NodeProto
    inputs: tuple[np.ndarray, ...]  # x, w and perhaps b
    output: np.ndarray
    state: np.ndarray | None = None  # of CausalConvWithState, its second output


def is_convolution(model: onnx.ModelProto, operators: set[str] = OPERATORS) -> bool:
    """A model of one node, and that a convolution."""
    return len(model.graph.node) == 1 and model.graph.node[0].op_type in operators


def generated(modules: Sequence[str], operators: set[str]) -> list[Call]:
    """The node tests. Importing their modules makes them; `collect_testcases` would make those of all operators."""
    for module in modules:
        importlib.import_module(f"{node_tests.__name__}.{module}")
    cases = [case for case in node_tests._NodeTestCases if is_convolution(case.model, operators)]
    return [
        Call(case.name, case.model.graph.node[0], tuple(inputs), *outputs)
        for case in cases
        for inputs, outputs in case.data_sets
    ]


def recorded() -> list[Call]:
    """PyTorch's operators, exported and stored with their inputs and outputs; the weights lie in the model."""
    calls = []
    for path in sorted(Path(onnx.__file__).parent.glob("backend/test/data/pytorch-*/*/model.onnx")):
        model = onnx.load(path)
        if not is_convolution(model):
            continue
        node, weights = model.graph.node[0], [numpy_helper.to_array(each) for each in model.graph.initializer]
        assert [each.name for each in model.graph.initializer] == list(node.input[1:])
        for data in sorted(path.parent.glob("test_data_set_*")):
            x, y = (numpy_helper.to_array(onnx.load_tensor(data / f"{name}_0.pb")) for name in ("input", "output"))
            calls.append(Call(path.parent.name, node, (x, *weights), y))
    return calls


GENERATED = generated(("conv", "convtranspose"), OPERATORS)
WITH_STATE = generated(("causal_conv_with_state",), {STATEFUL}) if onnx.defs.has(STATEFUL) else []
RECORDED = recorded()


# ------------------------------------------------------------------------------------ ONNX's attributes as ours


class Attributes(NamedTuple):
    """A node's attributes with ONNX's defaults filled in, one entry per spatial axis."""

    auto_pad: str
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    group: int
    output_padding: tuple[int, ...]
    output_shape: tuple[int, ...] | None


def read(node: onnx.NodeProto, kernel: tuple[int, ...]) -> Attributes:
    """Every attribute is taken or the test fails: none is passed over in silence."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    axes = len(kernel)
    assert tuple(given.pop("kernel_shape", kernel)) == kernel
    pads = given.pop("pads", [0] * 2 * axes)
    output_shape = given.pop("output_shape", None)
    attributes = Attributes(
        auto_pad=given.pop("auto_pad", b"NOTSET").decode(),
        strides=tuple(given.pop("strides", [1] * axes)),
        dilations=tuple(given.pop("dilations", [1] * axes)),
        pads=tuple(zip(pads[:axes], pads[axes:], strict=True)),
        group=given.pop("group", 1),
        output_padding=tuple(given.pop("output_padding", [0] * axes)),
        output_shape=None if output_shape is None else tuple(output_shape),
    )
    assert not given, f"attributes that are not mapped: {sorted(given)}"
    return attributes


NAMED = {"VALID": "VALID", "SAME_UPPER": "SAME", "SAME_LOWER": "SAME_LOWER"}


def conv_options(a: Attributes) -> dict[str, Any]:
    """The options of `conv`: all of ONNX's Conv is ours under another name."""
    padding = NAMED[a.auto_pad] if a.auto_pad != "NOTSET" else a.pads
    return {"stride": a.strides, "padding": padding, "dilation": a.dilations, "groups": a.group}


def transpose_options(a: Attributes, size: Sequence[int], kernel: Sequence[int]) -> dict[str, Any]:
    """The options of `conv_transpose`, with two differences that padding can tell.

    ONNX allows an output_padding up to the stride or the dilation, ours is smaller than the stride. Positions added
    behind are a negative padding behind: padding (lo, hi − output_padding) says the same.

    ONNX's SAME splits s·(m − 1) + d(k − 1) + 1 − s·m also where it is negative (a window shorter than the stride);
    ours is the adjoint of the convolution's SAME, which never pads by less than 0. There the split is given in numbers.
    """
    options: dict[str, Any] = {"stride": a.strides, "dilation": a.dilations, "groups": a.group}
    windows = [d * (k - 1) + 1 for k, d in zip(kernel, a.dilations, strict=True)]
    if a.output_shape is None and a.auto_pad in ("NOTSET", "VALID"):
        pads = a.pads
    else:
        fits = all(window >= s for window, s in zip(windows, a.strides, strict=True))
        if a.output_shape is None and fits and not any(a.output_padding):
            return {**options, "padding": NAMED[a.auto_pad]}
        wanted = a.output_shape or tuple(m * s for m, s in zip(size, a.strides, strict=True))
        axes = zip(size, a.strides, windows, a.output_padding, wanted, strict=True)
        totals = [s * (m - 1) + e + window - n for m, s, window, e, n in axes]
        behind_first = a.auto_pad == "SAME_UPPER"
        # Halves are rounded down, below 0 too: so has it the case test_convtranspose_output_shape.
        pads = tuple((t // 2, t - t // 2) if behind_first else (t - t // 2, t // 2) for t in totals)
    if all(e < s for e, s in zip(a.output_padding, a.strides, strict=True)):
        return {**options, "padding": pads, "output_padding": a.output_padding}
    return {**options, "padding": [(lo, hi - e) for (lo, hi), e in zip(pads, a.output_padding, strict=True)]}


def assert_conforms(call: Call) -> None:
    """Ours is ONNX's output within the error model, whose Σ terms² and L the float64 loops count."""
    x, w, *bias = call.inputs
    a = read(call.node, w.shape[2:])
    if call.node.op_type == "Conv":
        options = conv_options(a)
        computed = jax.jit(partial(conv, **options), compiler_options=UNOPTIMISED)(*call.inputs)
        _, squares, counts = exact(oracles.conv, x, w, **options)
    else:
        options = transpose_options(a, x.shape[2:], w.shape[2:])
        computed = jax.jit(partial(conv_transpose, **options), compiler_options=UNOPTIMISED)(*call.inputs)
        options.pop("output_padding", None)
        _, squares, counts = exact(oracles.conv_input_vjp, x, w, input_size=call.output.shape[2:], **options)
    if bias:
        squares = squares + bias[0].astype(np.float64).reshape(-1, *(1,) * (w.ndim - 2)) ** 2
        counts = counts + 1
    assert_right(call.name, computed, Exact(call.output.astype(np.float64), squares, counts), call.output.dtype)


@pytest.mark.parametrize("call", GENERATED, ids=lambda call: call.name)
def test_generated(call: Call) -> None:
    assert_conforms(call)


@pytest.mark.parametrize("call", RECORDED, ids=lambda call: call.name)
def test_recorded_from_pytorch(call: Call) -> None:
    assert_conforms(call)


# ------------------------------------------------------------- a depthwise convolution that hands on its last inputs

NOT_YET = pytest.mark.skip(reason=f"onnx {onnx.__version__} has no {STATEFUL}, which came with opset 27")


@pytest.mark.parametrize(
    "call", WITH_STATE or [pytest.param(None, marks=NOT_YET)], ids=lambda call: call.name if call else STATEFUL
)
def test_convolution_with_a_state(call: Call) -> None:
    """It is `conv` of the state, k − 1 inputs, and x after it; the next state is the last k − 1 of both."""
    given = dict(zip(filter(None, call.node.input), call.inputs, strict=True))  # a name that is empty has no array
    x, w, b, state = (given.get(name) for name in ("input", "weight", "bias", "past_state"))
    attributes = {a.name: onnx.helper.get_attribute_value(a).decode() for a in call.node.attribute}
    activation = attributes.pop("activation", "none")
    assert not attributes
    channels, _, k = w.shape
    if state is None:
        state = np.zeros((*x.shape[:2], k - 1), x.dtype)
    both = np.concatenate([state, x], axis=-1)
    y = conv(both, w, b, groups=channels)
    value, squares, counts = exact(oracles.conv, both, w, groups=channels)
    if b is not None:
        value, squares, counts = value + b[:, None], squares + b[:, None].astype(np.float64) ** 2, counts + 1
    assert_right(call.name, y, Exact(value, squares, counts), x.dtype)
    if activation != "none":  # at most 1.1 times as steep as its argument, and two more roundings
        y = jax.nn.silu(y.astype(np.float32)).astype(x.dtype)
        squares, counts = 1.1**2 * squares, counts + 2
    assert_right(call.name, y, Exact(call.output.astype(np.float64), squares, counts), x.dtype)
    np.testing.assert_array_equal(both[..., both.shape[-1] - (k - 1) :], call.state)


def test_as_many_as_there_were() -> None:
    """Of Conv 6, ConvTranspose 11, the third 13, recorded 27 and 3 in onnx 1.23: later perhaps more, not fewer."""
    assert len(WITH_STATE) >= 13 or not onnx.defs.has(STATEFUL)
    for calls, conv_count, transpose_count in ((GENERATED, 6, 11), (RECORDED, 27, 3)):
        operators = [call.node.op_type for call in calls]
        assert operators.count("Conv") >= conv_count
        assert operators.count("ConvTranspose") >= transpose_count
        assert len({call.name for call in calls}) == len(calls)


def test_no_generator_is_left_out() -> None:
    """No module of the node tests but the three makes a node of the operators, and each node made is a case here.

    The source is read because making the tests of all operators, `collect_testcases(None)`, takes ten seconds and
    more; with onnx 1.23 its 1884 tests hold the same 30 convolutions.
    """
    made = re.compile(r"""make_node\(\s*["'](?:Conv|ConvTranspose|CausalConvWithState)["']""")
    sources = {path.stem: path.read_text() for path in sorted(Path(node_tests.__path__[0]).glob("**/*.py"))}
    counts = {name: len(made.findall(source)) for name, source in sources.items() if made.search(source)}
    assert set(counts) == {"conv", "convtranspose", *(["causal_conv_with_state"] if WITH_STATE else [])}
    # A node may be run on several inputs, so there are at least as many cases as nodes.
    assert sum(counts.values()) <= len(GENERATED) + len(WITH_STATE)


# -------------------------------------------------------------------------- where neither has a case: the evaluator

# operator, x's size, w's shape, attributes; the channels of x follow from w.
EVALUATED = (
    ("Conv", (9,), (4, 3, 4), {"auto_pad": "SAME_UPPER"}),
    ("Conv", (9,), (4, 3, 4), {"auto_pad": "SAME_LOWER"}),
    ("Conv", (9, 8), (4, 3, 4, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ("Conv", (9, 8), (4, 3, 4, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    ("Conv", (9, 8), (4, 3, 2, 3), {"auto_pad": "VALID", "dilations": [3, 2]}),
    ("Conv", (9, 8), (6, 2, 3, 2), {"group": 3, "pads": [2, 0, 1, 3], "strides": [2, 1], "dilations": [1, 2]}),
    ("ConvTranspose", (5,), (3, 2, 4), {"auto_pad": "SAME_UPPER", "strides": [3]}),
    ("ConvTranspose", (5,), (3, 2, 4), {"auto_pad": "SAME_LOWER", "strides": [3]}),
    ("ConvTranspose", (5,), (3, 2, 3), {"auto_pad": "VALID", "strides": [2], "dilations": [2]}),
    ("ConvTranspose", (5, 4), (3, 2, 3, 2), {"pads": [1, 0, 2, 1], "strides": [3, 2], "dilations": [2, 3]}),
    ("ConvTranspose", (5, 4), (3, 2, 3, 2), {"output_padding": [2, 1], "strides": [3, 2], "pads": [2, 1, 0, 1]}),
    ("ConvTranspose", (5,), (3, 2, 4), {"auto_pad": "SAME_UPPER", "output_shape": [11], "strides": [2]}),
    ("ConvTranspose", (5,), (3, 2, 4), {"auto_pad": "SAME_LOWER", "output_shape": [11], "strides": [2]}),
    ("ConvTranspose", (5,), (3, 2, 4), {"auto_pad": "SAME_UPPER", "output_shape": [13], "strides": [2]}),
    # windows shorter than the stride: the total padding is negative
    ("ConvTranspose", (5,), (3, 2, 1), {"auto_pad": "SAME_UPPER", "strides": [3]}),
    ("ConvTranspose", (5,), (3, 2, 1), {"auto_pad": "SAME_LOWER", "strides": [3]}),
    ("ConvTranspose", (5,), (3, 2, 2), {"auto_pad": "SAME_LOWER", "strides": [5]}),
)


def evaluated(index: int, operator: str, size: tuple[int, ...], w_shape: tuple[int, ...], attributes: Any) -> Call:
    """The call as ONNX's reference evaluator answers it, on small whole numbers."""
    random = np.random.default_rng(index)
    channels = w_shape[0] if operator == "ConvTranspose" else w_shape[1] * attributes.get("group", 1)
    out = w_shape[1] if operator == "ConvTranspose" else w_shape[0]
    x, w, b = (random.integers(-3, 4, shape).astype(np.float32) for shape in ((2, channels, *size), w_shape, (out,)))
    node = onnx.helper.make_node(operator, ["x", "w", "b"], ["y"], **attributes)
    (y,) = ReferenceEvaluator(node).run(None, {"x": x, "w": w, "b": b})
    return Call(f"evaluated {index}", node, (x, w, b), y)


@pytest.mark.parametrize(
    "index", range(len(EVALUATED)), ids=lambda i: "-".join([EVALUATED[i][0], str(i), *EVALUATED[i][3]])
)
def test_against_the_reference_evaluator(index: int) -> None:
    assert_conforms(evaluated(index, *EVALUATED[index]))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (1, 3), (2, 3), (2, 5)])
def test_same_of_a_short_kernel_in_numbers(kernel: int, stride: int) -> None:
    """As `conv_transpose` says it is exported: pads of 0 and an output_padding of s − k are its "SAME"."""
    attributes = {"strides": [stride], "output_padding": [stride - kernel]}
    call = evaluated(0, "ConvTranspose", (5,), (3, 2, kernel), attributes)
    assert call.output.shape[-1] == 5 * stride
    assert_same(conv_transpose(*call.inputs, stride=stride, padding="SAME"), jax.numpy.asarray(call.output))


@pytest.mark.parametrize(("stride", "dilation", "extra"), [(1, 2, 1), (1, 3, 2), (2, 3, 2)])
def test_output_padding_up_to_the_dilation(stride: int, dilation: int, extra: int) -> None:
    """ONNX's text allows it, its evaluator refuses it: the output by the text, positions that no window reaches."""
    attributes = {"strides": [stride], "dilations": [dilation]}
    call = evaluated(0, "ConvTranspose", (5,), (3, 2, 3), attributes)
    padded = {**attributes, "pads": [2, 1], "output_padding": [extra]}
    node = onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **padded)
    x, w, b = call.inputs
    with pytest.raises(ValueError, match="sliding blocks"):
        ReferenceEvaluator(node).run(None, {"x": x, "w": w, "b": b})
    beyond = np.broadcast_to(b[:, None], (2, 2, extra))
    wanted = np.concatenate([call.output, beyond], axis=-1)[..., 2:-1]
    assert_conforms(Call("output_padding up to the dilation", node, call.inputs, wanted))
