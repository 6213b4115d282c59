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

from jaxconv.algorithms.problem import Problem

CACHED = 0.5  # million numbers of an image: of larger ones the arrays of one step leave a core's cache


def terms(problem: Problem) -> dict[str, float]:
    """What any algorithm may have to do. Numbers of arrays in millions, multiply-adds in billions.

    A product whose sizes do not fill a core's registers takes as long as one that does: so there are multiply-adds
    with a size filled up to so many.
    """
    g, b, c, f = problem.geometry, problem.batch, problem.channels, problem.filters
    reduced, made = (f, c) if problem.which == "conv_input_vjp" else (c, f)
    k, G, strided, grouped = g.kernel_size, g.groups, max(g.stride) > 1, g.groups > 1
    first, last, row = k[0], k[-1], g.output_size[-1]
    m, mac = b * G * problem.positions / 1e6, problem.multiply_adds / 1e9
    x, y, w = b * G * c * math.prod(g.input_size) / 1e6, m * f, G * c * f * g.taps / 1e6

    def filled(size: int, to: int) -> float:
        return mac / min(size, to)

    return {
        "call": 1.0,
        "image": b,
        "group": G,
        "row of taps": b * G * g.taps / last,
        "x": x,
        "y": y,
        "w": w,
        "w, an image": w * b,
        "x, strided": x * strided,
        "y, strided": y * strided,
        "x, not 1x1": x * (g.taps > 1),
        "y, not 1x1": y * (g.taps > 1),
        "x, large": x * (x > CACHED * b),
        "y, large": y * (y > CACHED * b),
        "x by taps": m * c * g.taps,
        "y by taps": m * f * g.taps,
        "dx by taps": x * f / c * g.taps,
        "x by taps, large": m * c * g.taps * (m * c * g.taps > 2 * CACHED * b),
        "x by taps, overlapping": m * c * g.taps * problem.overlap,
        "x by taps but of the first axis": m * c * g.taps / first * g.stride[0],
        "y by taps of the first axis": m * f * first,
        "products": mac,
        "products, 1x1": mac * (g.taps == 1),
        "products, strided": mac * strided,
        "products, windows apart": mac * (not problem.overlap),
        "products, three axes": mac * (g.axes == 3),
        "products, grouped": mac * grouped,
        "products, several channels": mac * (reduced > 1),
        "products, several channels, grouped": mac * (reduced > 1 and grouped),
        "products, long sums": mac * (reduced * g.taps > 128),
        "products, short sums, grouped": mac * (reduced * g.taps <= 128 and grouped),
        "products, channels to 16": filled(c, 16),
        "products, channels to 32": filled(c, 32),
        "products, channels to 64": filled(c, 64),
        "products, filters to 16": filled(f, 16),
        "products, filters to 32": filled(f, 32),
        "products, filters to 64": filled(f, 64),
        "products, summed channels to 8": filled(reduced, 8),
        "products, made channels to 8": filled(made, 8),
        "products, window to 64": filled(c * g.taps, 64),
        "products, row of taps to 64": filled(reduced * last, 64),
        "products, row to 16": filled(row, 16),
        "products, row to 64": filled(row, 64),
        "products, positions to 1024": filled(b * problem.positions, 1024),
    }


@cache
def prices() -> dict[str, Any]:
    """The file: map → layout → algorithm → "price": {term: seconds}, "factor": {dtype: times that of float32}."""
    return json.loads(files("jaxconv.algorithms").joinpath("coefficients.json").read_text(encoding="utf-8"))


def seconds(problem: Problem) -> dict[str, float]:
    """Of every algorithm that was fitted for this map and layout."""
    of = terms(problem)
    fitted = prices()[problem.which][problem.geometry.layout]
    return {
        name: each["factor"].get(problem.dtype, 1.0) * sum(price * of[term] for term, price in each["price"].items())
        for name, each in fitted.items()
    }
