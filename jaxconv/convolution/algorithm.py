"""Which algorithm serves a convolution on a CPU, and how long it and the others take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxconv._jax.dtypes import DTYPES
from jaxconv._jax.manual_axes import partitioned
from jaxconv.algorithms.choose import ALGORITHMS, choose, estimates, measured, required, unsupported
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import MAPS, Map
from jaxconv.convolution.padding import PADDING_MODES, must_pad_apart, pad_apart
from jaxconv.sizes.arguments import did_you_mean, is_symbolic, one_of, wrong_kind, wrong_value
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import check_channels, layout_hint, read_shape, split_array, split_kernel

OPTIONS = ("stride", "padding", "dilation", "groups", "layout", "padding_mode")


@dataclass(frozen=True)
class Choice:
    """What `conv_algorithm` says of a call.

        name = argmin over `candidates` of their seconds

    Attributes:
        name: of the algorithm that serves the call on a CPU; what `lowering` takes.
        candidates: algorithm → seconds of a call, the fastest first; empty where there is no choice.
        measured: whether `jaxconv tune` measured them on this machine; else they are estimates.
        unsupported: algorithm → why it cannot serve.
        which: the map.

    >>> print(conv_algorithm((8, 64, 56, 56), (64, 64, 3, 3), padding=1))  # doctest: +ELLIPSIS
    conv: ...
    """

    name: str
    candidates: dict[str, float]
    measured: bool
    unsupported: dict[str, str]
    which: Map = "conv"

    def __str__(self) -> str:
        """One line for each algorithm."""
        width = max(map(len, (self.name, *self.candidates, *self.unsupported)))
        kind = "measured on this machine" if self.measured else "estimated"
        about = f"milliseconds of a call, {kind}" if self.candidates else "no other may serve"
        lines = [f"{self.which}: {self.name}; {about}"]
        lines += [f"  {name:{width}}  {1e3 * seconds:10.4g}" for name, seconds in self.candidates.items()]
        lines += [f"  {name:{width}}  cannot: {why}" for name, why in self.unsupported.items()]
        return "\n".join(lines)


def conv_algorithm(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    which: Map = "conv",
    dtype: Any = "float32",
    **options: Any,
) -> Choice:
    """Which algorithm serves a convolution on a CPU, and how long each candidate takes.

        name = argmin over the algorithms that can serve of seconds(algorithm, problem)

    The seconds are those that `jaxconv tune` measured for this very problem on this machine, or else estimates, made of
    the sizes. It is what ``lowering="auto"`` takes while a call is traced. On a GPU and a TPU the reference serves.

    Args:
        x_shape: of the convolution's input, (*batch, in, *space); channels last: (*batch, *space, in).
        w_shape: of its kernel, (out, in/groups, *kernel); channels last: (*kernel, in/groups, out).
        which: the map: "conv", "conv_input_vjp" or "conv_weight_vjp", each of that convolution.
        dtype: of the arrays.
        **options: stride, padding, dilation, groups, layout and padding_mode, as in `conv`.

    Returns:
        A `Choice`: .name, .candidates {name: seconds}, .measured, .unsupported {name: why}; str() is a table.

    Raises:
        TypeError, ValueError: as `conv` would, with its words.

    Source: the choice is explained in jaxconv/algorithms/README.md.

    >>> choice = conv_algorithm((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    >>> choice.name == min(choice.candidates, key=choice.candidates.get)
    True
    """
    function = "conv_algorithm"
    one_of(function, "which", which, MAPS)
    for key in options:
        if key not in OPTIONS:
            rule = f"an option must be one of {', '.join(OPTIONS)}"
            raise TypeError(f"{function}: {rule}; got {key!r}{did_you_mean(key, OPTIONS) or '.'}")
    problem = _problem(function, x_shape, w_shape, which, _read_dtype(function, dtype), **options)
    if problem.batch == 0:
        return Choice("reference", {}, False, {}, which)
    cannot = {name: why for name in ALGORITHMS if (why := unsupported(name, problem)) is not None}
    if needed := required(problem):
        others = dict.fromkeys(set(ALGORITHMS) - {needed}, f"{needed} alone serves this call")
        return Choice(needed, {}, False, {**others, **cannot}, which)
    known = measured(problem)
    ranked = dict(sorted((known or estimates(problem)).items(), key=lambda item: item[1]))
    return Choice(choose(problem), ranked, bool(known), cannot, which)


def _problem(
    function: str,
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    which: Map,
    dtype: str,
    *,
    layout: Any = "channels_first",
    padding_mode: Any = "zeros",
    **windows: Any,
) -> Problem:
    """The problem of a call, from its shapes alone."""
    one_of(function, "padding_mode", padding_mode, PADDING_MODES)
    x, w = read_shape(function, "x_shape", x_shape), read_shape(function, "w_shape", w_shape)
    one_of(function, "layout", layout, ("channels_first", "channels_last"))
    out, per_group, k = split_kernel(function, "w_shape", w, layout)
    batch, channels, n = split_array(function, "x_shape", x, len(k), layout)
    if any(map(is_symbolic, x)):
        wrong_value(function, "`x_shape` must be numbers: a symbolic size has the reference", f"x_shape={x}")
    geometry = Geometry.of(function, n, k, **windows, layout=layout)
    context = f"x_shape={x}, w_shape={w}{layout_hint(x, w, geometry.groups, layout)}"
    check_channels(function, geometry.groups, channels, per_group, out, context)
    if must_pad_apart(geometry, padding_mode):
        geometry, _ = pad_apart(function, geometry, padding_mode)
    return Problem(which, geometry, per_group, out // geometry.groups, math.prod(batch), dtype, partitioned())


def _read_dtype(function: str, dtype: Any) -> str:
    """Its name."""
    names = tuple(map(str, DTYPES))
    try:
        name = str(jnp.dtype(dtype))
    except TypeError:
        wrong_kind(function, f"`dtype` must be one of {', '.join(names)}", f"dtype={dtype!r}")
    return str(one_of(function, "dtype", name, names))
