"""`jaxconv size model.onnx`: each Conv, ConvTranspose and pooling of a model with its sizes, cost and receptive field.

The `onnx` package reads the file and infers the shapes; a dimension that the model leaves open has to be given. The
receptive field goes from the model's inputs through convolutions, pooling, padding and operators that treat each number
by itself. Letters: n input size, k kernel size, s stride, d dilation, (lo, hi) padding, m output size. Imports no jax.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv.sizes.arithmetic import same_padding
from jaxconv.sizes.cost import OperationCost, conv_cost
from jaxconv.sizes.layer_words import FUNCTION
from jaxconv.sizes.onnx_file import Model, Shape, read_model
from jaxconv.sizes.receptive import ReceptiveField, TransposedWindow, Window, merge_receptive_fields, receptive_field
from jaxconv.sizes.table import field_words, shape_words, table, window_words

POOLS = frozenset(("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"))
SEEN = POOLS | {"Conv", "ConvTranspose"}
POINTWISE = frozenset(
    """Abs Add BatchNormalization Cast Ceil Celu Clip Div Dropout Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid
    HardSwish Identity InstanceNormalization LeakyRelu Log LRN Max Mean Min Mish Mul Neg Pow PRelu Reciprocal Relu
    Selu Sigmoid Softplus Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu""".split()  # noqa: SIM905
)


class ModelRow(NamedTuple):
    """One Conv, ConvTranspose or pooling of a model.

    Attributes:
        name: of the node.
        operator: of the node.
        windows: a `Window` or a `TransposedWindow`, one number per axis.
        groups: of a convolution; of pooling the channels.
        shapes: of input and output.
        weights: numbers of the kernel.
        cost: multiply-adds of the whole batch; of pooling the inputs read.
        field: which of the model's inputs each position of the output reads; None where the model is no chain.
    """

    name: str
    operator: str
    windows: Window | TransposedWindow
    groups: int
    shapes: tuple[Shape, Shape]
    weights: int
    cost: OperationCost
    field: ReceptiveField | None


def lines(path: Path, inputs: Sequence[str]) -> Iterator[str]:
    """What the command prints."""
    rows = model_rows(path, inputs)
    headings = "", "operator", "windows", "shapes", "multiply-adds", "weights", "reads"
    yield from table(headings, [_cells(row) for row in rows], ("multiply-adds", "weights"))
    convolutions = [row for row in rows if row.operator not in POOLS]
    work, weights = sum(row.cost.multiply_adds for row in convolutions), sum(row.weights for row in convolutions)
    yield f"{len(convolutions)} convolutions: {work:,} multiply-adds of one batch, {weights:,} weights"


def _cells(row: ModelRow) -> tuple[str, ...]:
    w, (before, behind) = row.windows, map(shape_words, row.shapes)
    groups = 1 if row.operator in POOLS else row.groups
    words = window_words(w.kernel, w.stride, w.padding, w.dilation, groups)  # type: ignore[arg-type]
    work, weights = f"{row.cost.multiply_adds:,}", f"{row.weights:,}" if row.weights else ""
    return row.name, row.operator, words, f"{before} → {behind}", work, weights, field_words(row.field)


def model_rows(path: Path, inputs: Sequence[str] = ()) -> list[ModelRow]:
    """The convolutions and poolings of a model, in its order.

    Args:
        path: the file.
        inputs: "NAME=SHAPE" for inputs that leave dimensions open, like "x=1x3x224x224".

    Raises:
        ValueError: the file is no ONNX model, a shape is missing or does not fit.
        OSError: the file cannot be read.
    """
    model = read_model(path, inputs)
    fields: dict[str, ReceptiveField | None] = {
        each.name: receptive_field([]) for each in model.graph.input if each.name not in model.constants
    }
    rows = []
    for node in model.graph.node:
        field = None
        if node.op_type in SEEN and node.domain in ("", "ai.onnx"):
            row = _row(model, node, fields.get(node.input[0]))
            rows.append(row)
            field = row.field
        else:
            field = _through(model, node, fields)
        fields.update({name: field if i == 0 else None for i, name in enumerate(node.output)})
    return rows


# ---------------------------------------------------------------------------------------------------- one node


def _row(model: Model, node: Any, field: ReceptiveField | None) -> ModelRow:
    x, y = (_shape(model, node, name) for name in (node.input[0], node.output[0]))
    attributes = {each.name: _value(each) for each in node.attribute}
    transposed, pool = node.op_type == "ConvTranspose", node.op_type in POOLS
    axes = len(x) - 2
    w = (x[1], 1, *_kernel(node, attributes, x)) if pool else _shape(model, node, node.input[1])
    s, d = (tuple(attributes.get(name) or (1,) * axes) for name in ("strides", "dilations"))
    groups = x[1] if pool else attributes.get("group", 1)
    pads = [_pads(attributes, transposed, *axis) for axis in zip(range(axes), x[2:], y[2:], w[2:], s, d, strict=True)]
    layer = (TransposedWindow if transposed else Window)(w[2:], s, pads, d)
    of, into = (y, x) if transposed else (x, y)
    exact = [(lo, s_ * (m - 1) + d_ * (k - 1) + 1 - n - lo) for n, m, k, s_, d_, (lo, _) in
             zip(of[2:], into[2:], w[2:], s, d, pads, strict=True)]  # fmt: skip
    cost = conv_cost(of, w, stride=s, padding=exact, dilation=d, groups=groups).value
    try:
        field = None if field is None else receptive_field([layer], after=field)
    except ValueError:
        field = None
    name = node.name or node.output[0]
    return ModelRow(name, node.op_type, layer, groups, (x, y), 0 if pool else prod(w), cost, field)


def _shape(model: Model, node: Any, name: str) -> Shape:
    shape = model.shapes.get(name)
    if shape is None:
        strange = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
        known = f"; the model has operators that onnx does not know: {', '.join(strange)}" if strange else ""
        what = f"the shape of {name!r} at {node.op_type} {node.name or node.output[0]!r}"
        raise ValueError(f"{FUNCTION}: onnx could not infer {what}{known}.")
    return shape


def _value(attribute: Any) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _kernel(node: Any, attributes: dict[str, Any], x: Shape) -> Shape:
    return x[2:] if node.op_type.startswith("Global") else tuple(attributes["kernel_shape"])


def _pads(attributes: dict[str, Any], transposed: bool, axis: int, n: int, m: int, k: int, s: int, d: int) -> Any:
    """(lo, hi) of an axis that takes n positions to m."""
    rule, axes = attributes.get("auto_pad", "NOTSET"), len(attributes.get("pads") or ()) // 2
    if transposed and ("output_shape" in attributes or rule.startswith("SAME")):
        extra = (attributes.get("output_padding") or (0,) * (axis + 1))[axis]
        total = max(s * (n - 1) + extra + d * (k - 1) + 1 - m, 0)
        return (total // 2, total - total // 2) if rule == "SAME_UPPER" else (total - total // 2, total // 2)
    if rule.startswith("SAME"):
        return same_padding(n, k, stride=s, dilation=d, lower=rule == "SAME_LOWER")
    return (attributes["pads"][axis], attributes["pads"][axes + axis]) if axes else (0, 0)


# ------------------------------------------------------------------------------------------ fields of the others


def _through(model: Model, node: Any, fields: dict[str, ReceptiveField | None]) -> ReceptiveField | None:
    """The field of what a node makes that is neither convolution nor pooling; None where it ends the chain."""
    sources = [name for name in node.input if name and name not in model.constants]
    shape = model.shapes.get(node.output[0]) if node.output else None
    try:
        if node.op_type == "Concat" and {a.name: a.i for a in node.attribute}["axis"] == 1:
            return _merged([fields.get(name) for name in sources])
        if node.op_type == "Pad":
            return _padded(model, node, fields.get(node.input[0]))
        if node.op_type in POINTWISE:
            same = [name for name in sources if model.shapes.get(name) == shape]
            return _merged([fields.get(name) for name in (same if len(sources) > 1 else sources)])
    except ValueError:  # paths whose strides differ
        return None
    return None


def _merged(fields: list[ReceptiveField | None]) -> ReceptiveField | None:
    known = [each for each in fields if each is not None]
    return merge_receptive_fields(*known) if known and len(known) == len(fields) else None


def _padded(model: Model, node: Any, field: ReceptiveField | None) -> ReceptiveField | None:
    told = next((list(a.ints) for a in node.attribute if a.name == "pads"), None)
    if told is None and len(node.input) > 1 and node.input[1] in model.constants:
        told = [int(each) for each in model.constants[node.input[1]]]
    if field is None or told is None or (len(node.input) > 3 and node.input[3]):
        return None
    half = len(told) // 2
    if any(told[:2]) or any(told[half : half + 2]):
        return None
    pads = list(zip(told[2:half], told[half + 2 :], strict=True))
    return receptive_field([Window((1,) * len(pads), padding=pads)], after=field)
