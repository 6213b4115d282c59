"""What `jaxconv tune` is asked to measure: layers in a JSON file, each in several layouts and maps, as problems.

    [{"name": "stem", "x": [8, 3, 224, 224], "w": [64, 3, 7, 7], "stride": 2, "padding": 3}, …]

x is (batch, in, *space) and w (out, in/groups, *kernel) whatever the layout. Optional are "stride", "padding",
"dilation" and "groups", as `conv` takes them; "layout", "which" (the map) and "dtype", each one name or a list of
names. Without them both layouts are measured, all three maps, and float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxconv._jax.dtypes import DTYPES
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import MAPS
from jaxconv.bench.workloads import CONVOLUTIONS
from jaxconv.explanation.found import convolutions, names
from jaxconv.sizes.arguments import did_you_mean, one_of, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import LAYOUTS
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import check_channels, read_shape, split_array, split_kernel
from jaxconv.terminal import named

COMMAND = "jaxconv tune"
OPTIONS = ("stride", "padding", "dilation", "groups")
CHOICES = {"layout": LAYOUTS, "which": MAPS, "dtype": tuple(map(str, DTYPES))}
DEFAULTS = {"layout": LAYOUTS, "which": MAPS, "dtype": ("float32",)}
KEYS = ("name", "x", "w", *OPTIONS, *CHOICES)


def public() -> dict[Problem, list[str]]:
    """The fifteen convolutions of `jaxconv bench`, as `read` returns them."""
    return by_problem(enumerate(map(asdict, CONVOLUTIONS), 1), COMMAND)


def of_function(name: str, args: str | None) -> dict[Problem, list[str]]:
    """Every convolution of the function ``package.module:name``, called with what ``args`` of that form returns.

    Raises:
        ValueError: naming what cannot be used, or that there is none.
    """
    named.look_here()
    try:
        f, given = named.found("function", name), () if args is None else named.arguments(args)
        found = convolutions(f, *given)
    except named.BadCall as error:
        raise ValueError(f"{COMMAND}: {error}") from error
    except Exception as error:
        raise ValueError(f"{COMMAND}: {name} could not be traced: {named.said(error)}") from error
    problems: dict[Problem, list[str]] = {}
    for each, called in zip(found, names(found), strict=True):
        if each.problem is not None:
            known = problems.setdefault(each.problem, [])
            known += [label for label in [called or f"layer {len(problems)}"] if label not in known]
    if not problems:
        raise ValueError(f"{COMMAND}: {name} must have a convolution that one of the three maps expresses; got none.")
    return problems


def read(path: Path) -> dict[Problem, list[str]]:
    """Every problem of a file, with the names of the layers that have it.

    Raises:
        TypeError, ValueError: naming the file, the entry and the rule.
        OSError: it cannot be read.
    """
    place = f"{COMMAND}: {path}"
    try:
        listed = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: must be UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}, line {error.lineno}: must be JSON: {error.msg}") from error
    except RecursionError:
        raise ValueError(f"{place}: must not be nested as deep as this") from None
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{place}: must hold a list of layers, at least one; got {json.dumps(listed)[:40]}")
    return by_problem(enumerate(listed, 1), place)


def by_problem(entries: Iterable[tuple[int, Any]], place: str) -> dict[Problem, list[str]]:
    """The problems of numbered entries, in their order; `place` begins every error."""
    found: dict[Problem, list[str]] = {}
    for number, entry in entries:
        if not isinstance(entry, dict):
            wrong_kind(f"{place}, entry {number}", "must be an object", json.dumps(entry)[:40])
        name = entry.get("name", f"layer {number}")
        for problem in problems(f"{place}, entry {number} ({name})", entry):
            names = found.setdefault(problem, [])
            if name not in names:
                names.append(name)
    return found


def problems(place: str, entry: dict[str, Any]) -> list[Problem]:
    """One layer in each layout, map and dtype asked for."""
    for key in entry:
        if key not in KEYS:
            raise ValueError(
                f"{place}: a key must be one of {', '.join(KEYS)}; got {key!r}{did_you_mean(key, KEYS) or '.'}"
            )
    for key in ("x", "w"):
        if key not in entry:
            wrong_value(place, f"`{key}` must be given", f"the keys {', '.join(entry) or 'none'}")
    if not isinstance(entry.get("name", ""), str):
        wrong_kind(place, "`name` must be a text", f"name={entry['name']!r}")
    x, w = (read_shape(place, key, entry[key]) for key in ("x", "w"))
    out, per_group, k = split_kernel(place, "w", w, "channels_first")
    if len(x) != len(w):
        wrong_value(place, "`x` and `w` must have two axes and the same spatial ones", f"x={list(x)}, w={list(w)}")
    (batch,), channels, n = split_array(place, "x", x, len(k), "channels_first")
    if batch < 1:
        wrong_value(place, "`x` must have at least one image", f"x={list(x)}")
    options = {key: entry[key] for key in OPTIONS if key in entry}
    plain = Geometry.of(place, n, k, **options)
    check_channels(place, plain.groups, channels, per_group, out, f"x={list(x)}, w={list(w)}")
    return [
        Problem(which, Geometry.of(place, n, k, **options, layout=layout), per_group, out // plain.groups, batch, dtype)
        for dtype in _several(place, entry, "dtype")
        for layout in _several(place, entry, "layout")
        for which in _several(place, entry, "which")
    ]


def _several(place: str, entry: dict[str, Any], key: str) -> Sequence[Any]:
    """One name or a list of names, each checked."""
    given = entry.get(key, DEFAULTS[key])
    return [one_of(place, key, each, CHOICES[key]) for each in (given if isinstance(given, (list, tuple)) else [given])]
