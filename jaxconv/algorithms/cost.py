"""What an algorithm's call is estimated to take: a sum of what it may have to do, each at its own price.

    seconds = factor[dtype] · Σ_j price_j · term_j(problem),    every price ≥ 0

The prices of an algorithm's map in a layout stand in `coefficients.json`, as `jaxconv/bench/fit.py` fits them to the
measurements in `jaxconv/bench/evidence`; a dtype's factor is how many times as long as float32 it took there, in
geometric mean.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

from jaxconv.algorithms.direct import MANY
from jaxconv.algorithms.problem import Problem

CACHED = 0.5  # million numbers an image, 2 MB of float32: of more the arrays of one step leave a core's cache


def terms(problem: Problem) -> dict[str, float]:
    """What any algorithm may have to do. Numbers of arrays in millions, multiply-adds in billions."""
    b, g = problem.batch, problem.geometry
    counts = {"call": 1.0, "image": b, "group": g.groups, "row of taps": b * g.groups * g.taps / g.kernel_size[-1]}
    return {**counts, **_arrays(problem), **_laid_out(problem), **_products(problem)}


def _arrays(problem: Problem) -> dict[str, float]:
    """Numbers of x, y and w."""
    g, b, c, f = problem.geometry, problem.batch, problem.channels, problem.filters
    x, y = b * g.groups * c * math.prod(g.input_size) / 1e6, b * g.groups * f * problem.positions / 1e6
    w, strided, several = g.groups * c * f * g.taps / 1e6, max(g.stride) > 1, g.taps > 1
    return {
        **{"x": x, "y": y, "w": w, "w, an image": w * b},
        **{"x, strided": x * strided, "y, strided": y * strided},
        **{"x, not 1x1": x * several, "y, not 1x1": y * several},
        **{"x, large": x * (x > CACHED * b), "y, large": y * (y > CACHED * b)},
    }


def _laid_out(problem: Problem) -> dict[str, float]:
    """Numbers of arrays in which each tap has a place of its own."""
    g, first = problem.geometry, problem.geometry.kernel_size[0]
    outputs, inputs = (problem.batch * g.groups * math.prod(n) / 1e6 for n in (g.output_size, g.input_size))
    x, y = outputs * problem.channels * g.taps, outputs * problem.filters * g.taps
    return {
        "x by taps": x,
        "y by taps": y,
        "y by taps at the positions of x": inputs * problem.filters * g.taps,
        "x by taps, large": x * (x > 2 * CACHED * problem.batch),  # in two halves, one a core
        "x by taps, overlapping": x * problem.overlap,
        "x by taps but of the first axis": x / first * g.stride[0],
        "y by taps of the first axis": outputs * problem.filters * first,
    }


def _products(problem: Problem) -> dict[str, float]:
    """Multiply-adds: all, those of certain calls, and all as if a size were so many at least.

    A product whose sizes do not fill a core's registers takes as long as one that does.
    """
    g, c, f = problem.geometry, problem.channels, problem.filters
    reduced, made = (f, c) if problem.which == "conv_input_vjp" else (c, f)  # of y and dx; of dw as of y
    mac, grouped, row = problem.multiply_adds / 1e9, g.groups > 1, g.output_size[-1]
    long, zeros = reduced * g.taps > MANY, mac * math.prod(g.input_size) / problem.positions
    sizes = {
        "channels": (c, 16, 32, 64),
        "filters": (f, 16, 32, 64),
        "summed channels": (reduced, 8),
        "made channels": (made, 8),
        "window": (c * g.taps, 64),
        "row of taps": (reduced * g.kernel_size[-1], 64),
        "row": (row, 16, 64),
        "positions": (problem.batch * problem.positions, 1024),
    }
    filled = {f"products, {name} to {to}": mac / min(size, to) for name, (size, *all_) in sizes.items() for to in all_}
    return {
        "products": mac,
        "products, 1x1": mac * (g.taps == 1),
        "products, strided": mac * (max(g.stride) > 1),
        "products, windows apart": mac * (not problem.overlap),
        "products, one axis": mac * (g.axes == 1),
        "products, three axes": mac * (g.axes == 3),
        "products, with zeros between": zeros,  # a strided dx as one convolution, or all positions of x
        "products, with zeros between, three axes": zeros * (g.axes == 3 and max(g.stride) > 1),
        "products, grouped": mac * grouped,
        "products, several channels": mac * (reduced > 1),
        "products, several channels, grouped": mac * (reduced > 1 and grouped),
        "products, long sums": mac * long,
        "products, short sums, grouped": mac * (not long and grouped),
        **filled,
    }


@cache
def prices() -> dict[str, Any]:
    """The file: map → layout → algorithm → "price": {term: seconds}, "factor": {dtype: times that of float32}."""
    return json.loads(files("jaxconv.algorithms").joinpath("coefficients.json").read_text(encoding="utf-8"))


def seconds(problem: Problem) -> dict[str, float]:
    """Of every algorithm that was fitted for this map and layout."""
    of = terms(problem)
    return {
        name: each["factor"].get(problem.dtype, 1.0) * sum(price * of[term] for term, price in each["price"].items())
        for name, each in prices()[problem.which][problem.geometry.layout].items()
    }
