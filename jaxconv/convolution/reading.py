"""Reading the arguments of a convolution: what does not fit together becomes an error. Letters as in `api`."""

from __future__ import annotations

from typing import Any

from jax import Array

from jaxconv._jax.dtypes import Precision, read_arrays, read_precision
from jaxconv.algorithms.choose import ALGORITHMS, unsupported
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import Map
from jaxconv.convolution.config import DERIVATIVES, ConvConfig, PerAxis
from jaxconv.sizes.arguments import is_symbolic, one_of, per_axis, wrong_value
from jaxconv.sizes.arithmetic import LAYOUTS, Padding, input_sizes, padding_pairs, transposed
from jaxconv.sizes.geometry import Geometry


def transposed_size(
    function: str,
    m: tuple[int, ...],
    k: tuple[int, ...],
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    output_size: PerAxis | None,
    dilation: PerAxis,
) -> tuple[int, ...]:
    """The output size of a transposed convolution: the one asked for, where it is possible, or the usual one."""
    s = per_axis(function, "stride", stride, len(m), least=1)
    d = per_axis(function, "dilation", dilation, len(m), least=1)
    if output_size is None:
        return transposed(function, m, k, s, padding, output_padding, d)
    n = per_axis(function, "output_size", output_size, len(m), least=1, symbolic=True)
    if any(per_axis(function, "output_padding", output_padding, len(m), least=0)):
        rule = "`output_padding` and `output_size` are two ways to say one thing: give one of them"
        wrong_value(function, rule, f"output_padding={output_padding!r}, output_size={output_size!r}")
    if any(map(is_symbolic, (*m, *n))):
        return n
    padding_pairs(function, padding, m, k, s, d)  # its errors carry this function's name
    possible = input_sizes(m, k, stride=s, padding=padding, dilation=d)
    for axis, (size, sizes) in enumerate(zip(n, possible, strict=True)):
        if size not in sizes:
            choice = f"{sizes.start} to {sizes.stop - 1}" if sizes else "none"
            rule = f"`output_size` must be one that the convolution maps to {m[axis]} positions: {choice}"
            every = not isinstance(padding, str) and len(sizes) == s[axis] > 1
            hint = f" (or give output_padding 0 to {s[axis] - 1} instead)" if every else ""
            wrong_value(function, rule + hint, f"output_size={size} on spatial axis {axis}")
    return n


def read_options(function: str, arrays: dict[str, Any], layout: str, derivative: str, lowering: str) -> None:
    """The checks that need no geometry."""
    read_arrays(function, arrays)
    one_of(function, "layout", layout, LAYOUTS)
    one_of(function, "derivative", derivative, DERIVATIVES)
    one_of(function, "lowering", lowering, ("auto", *ALGORITHMS))


def read_config(
    function: str, which: Map, a: Array, b: Array, geometry: Geometry, precision: Precision, lowering: str
) -> ConvConfig:
    """What is static of a call of `which` map; ValueError where the algorithm asked for by name cannot serve it.

    It is asked of the call as it is written. Its derivatives are other maps, and under `vmap` it is a convolution of
    other sizes: there what the algorithm cannot serve is served as under "auto". Symbolic sizes and empty batches have
    the reference, whatever is asked for.
    """
    config = ConvConfig(geometry, read_precision(function, precision), lowering)
    if lowering != "auto" and not any(is_symbolic(size) or size == 0 for size in (*a.shape, *b.shape)):
        why = unsupported(lowering, Problem.of(which, a, b, geometry))
        if why is not None:
            rule = f"`lowering` must be 'auto' or an algorithm that can serve this call: {why}"
            wrong_value(function, rule, f"lowering={lowering!r}")
    return config


def check_bias(function: str, b: Array | None, out: int) -> None:
    if b is not None and b.shape != (out,):
        wrong_value(function, f"`b` must have shape (out,) = ({out},)", f"b.shape={b.shape}")


def check_output(function: str, name: str, geometry: Geometry, space: tuple[int, ...]) -> None:
    if geometry.output_size != space:
        rule = f"`{name}` must have the spatial size of the convolution's output, {geometry.output_size}"
        wrong_value(function, rule, f"{space} (input size {geometry.input_size}, kernel size {geometry.kernel_size})")
