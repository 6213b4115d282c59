"""An ONNX model from a file: its graph, the shapes that the `onnx` package infers, its constants. Imports no jax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv.sizes.layer_words import FUNCTION
from jaxconv.sizes.table import shape_words

Shape = tuple[int, ...]


class Model(NamedTuple):
    """A graph, with shapes and constants by name; a constant of many numbers stands there unread."""

    graph: Any
    shapes: dict[str, Shape | None]  # of every value that onnx could tell
    constants: dict[str, Any]


def read_model(path: Path, inputs: Sequence[str]) -> Model:
    import onnx
    from onnx import inliner, numpy_helper, shape_inference

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{FUNCTION}: `{path}` must be an ONNX model: {_said(error)}") from error
    if not model.graph.node:
        raise ValueError(f"{FUNCTION}: `{path}` must be an ONNX model with operators; got none.")
    _give(path, model.graph, dict(map(_shape_given, inputs)))
    try:
        model = inliner.inline_local_functions(model) if model.functions else model
        model = shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise ValueError(f"{FUNCTION}: onnx cannot infer the shapes of `{path}`: {_said(error)}") from error
    graph = model.graph
    constants = {each.name: each for each in graph.initializer}
    constants |= {
        n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    shapes = {v.name: _dimensions(v) for v in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {name: tuple(each.dims) for name, each in constants.items()}
    small = {name: each for name, each in constants.items() if prod(each.dims) <= 16 and not each.external_data}
    return Model(
        graph, shapes, {name: numpy_helper.to_array(t) if name in small else t for name, t in constants.items()}
    )


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _shape_given(text: str) -> tuple[str, Shape]:
    name, _, shape = text.partition("=")
    sizes = shape.split("x")
    if not name or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ValueError(f"{FUNCTION}: `--input` must be NAME=SHAPE, like x=1x3x224x224; got {text!r}.")
    return name, tuple(map(int, sizes))


def _give(path: Path, graph: Any, given: dict[str, Shape]) -> None:
    """Put the given shapes into the model's inputs; raise where a dimension is left open."""
    constants = {each.name for each in graph.initializer}
    inputs = {each.name: each for each in graph.input if each.name not in constants}
    for name, shape in given.items():
        if name not in inputs:
            raise ValueError(
                f"{FUNCTION}: `--input` must name an input of `{path}`: {', '.join(inputs)}; got {name!r}."
            )
        told = inputs[name].type.tensor_type.shape.dim
        fixed = [each.dim_value if each.HasField("dim_value") else None for each in told]
        fits = len(fixed) == len(shape) and all(f in (None, n) for f, n in zip(fixed, shape, strict=True))
        if told and not fits:
            words = "x".join("?" if each is None else str(each) for each in fixed)
            raise ValueError(f"{FUNCTION}: `--input` of {name!r} must fit {words}; got {shape_words(shape)}.")
        del told[:]
        for size in shape:
            told.add().dim_value = size
    for name, value in inputs.items():
        if _dimensions(value) is None:
            dims = value.type.tensor_type.shape.dim
            words = "x".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)
            rule = f"the input {name!r} of `{path}` leaves dimensions open, {words or 'all'}"
            raise ValueError(f"{FUNCTION}: {rule}: give --input {name}=SHAPE, like {name}=1x3x224x224.")


def _dimensions(value: Any) -> Shape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(each.HasField("dim_value") for each in kind.shape.dim):
        return None
    return tuple(each.dim_value for each in kind.shape.dim)
