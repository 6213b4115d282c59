"""One entry of y, dx and dw worked out in numbers, for `explain`. Letters as in `jaxconv.sizes.geometry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxconv.sizes.arithmetic import window_size
from jaxconv.sizes.connections import connections, inside
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import split_kernel

TERMS = 6  # of a sum that are written out
WIDE = 40  # positions; of a wider input the picture shows the first windows alone
NUMBERS = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count")
Maps = dict[str, Callable]  # y, dx and dw as `jaxconv.algorithms.reference` computes them


def worked(geometry: Geometry, maps: Maps, arrays: dict[str, Any], told: str) -> tuple[tuple[str, ...], ...]:
    """For y, dx and dw: the middle entry as its sum, the call, and the numbers that the code has here."""
    batch = (0,) * (arrays["x"].ndim - geometry.axes - 1)
    first = geometry.channels_first
    at = lambda b, c, space: (*b, c, *space) if first else (*b, *space, c)  # noqa: E731
    tap = lambda o, i, q: (o, i, *q) if first else (*q, i, o)  # noqa: E731
    out, per_group, _ = split_kernel("explain", "w.shape", arrays["w"].shape, geometry.layout)
    all_sizes = geometry.output_size, geometry.input_size, geometry.kernel_size
    p, j, q = (tuple(size // 2 for size in sizes) for sizes in all_sizes)
    inputs, outputs = range(per_group), range(out // geometry.groups)
    batches = list(np.ndindex(*arrays["x"].shape[: len(batch)]))
    found = connections(geometry, p=p), connections(geometry, j=j), connections(geometry, q=q)
    of_y, of_dx, of_dw = ([c for c in each if inside(geometry, c.j)] for each in found)
    sums = (
        ("y", at(batch, 0, p), "w", "x", [(tap(0, i, c.q), at(batch, i, c.j)) for c in of_y for i in inputs]),
        ("dx", at(batch, 0, j), "w", "g", [(tap(o, 0, c.q), at(batch, o, c.p)) for c in of_dx for o in outputs]),
        ("dw", tap(0, 0, q), "g", "x", [(at(b, 0, c.p), at(b, 0, c.j)) for b in batches for c in of_dw]),
    )
    options = f", {told}" if told else ""
    calls = (
        f"conv(x, w{options})",
        f"conv_input_vjp(g, w, input_size={geometry.input_size}{options})",
        f"conv_weight_vjp(x, g, kernel_size={geometry.kernel_size}{options})",
    )
    return tuple(
        (_sum(arrays, *each), call, f"the code below has {_numbers(name, maps[name], geometry, arrays)}")
        for each, call, name in zip(sums, calls, maps, strict=True)
    )


def _sum(arrays: dict[str, Any], name: str, at: tuple[int, ...], left: str, right: str, terms: list) -> str:
    """One entry of an array as the sum of its terms, the first of them written out."""
    if not arrays[name].size:
        return f"{name} is empty"
    shown = [f"({_digits(arrays[left][a])})·({_digits(arrays[right][b])})" for a, b in terms[:TERMS]]
    more = f" + {len(terms) - TERMS} more" if len(terms) > TERMS else ""
    value = _digits(arrays[name][at], 6)
    return f"{name}[{', '.join(map(str, at))}] = Σ {left}·{right} = {' + '.join(shown) or '0'}{more} = {value}"


def _digits(number: Any, digits: int = 4) -> str:
    return f"{complex(number) if np.iscomplexobj(number) else float(number):.{digits}g}"


def _numbers(name: str, f: Callable, geometry: Geometry, arrays: dict[str, Any]) -> str:
    """The numbers of the one convolution that a map of the reference traces to."""
    core = geometry.axes + 1
    shapes = {each: (1, *a.shape[a.ndim - core :]) for each, a in arrays.items()} | {"w": arrays["w"].shape}
    pair = (jax.ShapeDtypeStruct(shapes[each], arrays["x"].dtype) for each in {"y": "xw", "dx": "gw", "dw": "xg"}[name])
    traced = jax.make_jaxpr(lambda a, b: f(a, b, geometry))(*pair)
    (params,) = (each.params for each in traced.eqns if each.primitive.name == "conv_general_dilated")
    groups = [each for each in NUMBERS if "group" not in each or params[each] > 1]
    return ", ".join(f"{each}={params[each]}" for each in groups)


def narrow(geometry: Geometry) -> Geometry:
    """The geometry; where its input is wide, on an input of the first four windows."""
    sizes = []
    for n, k, s, (lo, hi), d in geometry.per_axis:
        four = max(3 * s + window_size(k, d) - lo - hi, 1)
        sizes.append(four if n + lo + hi > WIDE and four < n else n)
    return replace(geometry, input_size=tuple(sizes))
