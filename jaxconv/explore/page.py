"""The page of `jaxconv explore`: HTML, style and script in one file, its numbers from `jaxconv.sizes`.

The style is that of `jaxconv verify --html` and more; the colours of x, w and y are those of `jaxconv.plot`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jaxconv.explore import recurrence
from jaxconv.explore.translate import javascript
from jaxconv.sizes import arguments, arithmetic, reads, shapes
from jaxconv.terminal.page import page
from jaxconv.terminal.palette import ARRAYS, ARRAYS_ON_DARK

FUNCTIONS: tuple[Callable[..., Any], ...] = (
    arguments.at_least,
    arithmetic.window_size,
    arithmetic.axis_output,
    arithmetic._same_pair,
    arithmetic.axis_padding,
    arithmetic.require_fit,
    arithmetic.axis_transposed,
    arithmetic.axis_inputs,
    arithmetic.check_output_padding,
    shapes.check_groups,
    shapes.layout_hint,
    reads.AxisLayer.reads,
)
SCRIPTS = (
    "state.js",
    "geometry.js",
    "draw.js",
    "words.js",
    "pointing.js",
    "picture.js",
    "code.js",
    "controls.js",
    "sizes.js",
    "stack.js",
    "flow.js",
    "page.js",
)
LIMITS = {
    "n": (1, 32), "k": (1, 12), "s": (0, 8), "d": (0, 8), "o": (0, 8), "lo": (-16, 32), "hi": (-16, 32),
    "c": (1, 64), "f": (1, 64), "g": (0, 64), "scale": (0.1, 30), "bias": (-8, 12),
}  # fmt: skip
MOST_LAYERS = 5


def as_html(address: str = "") -> str:
    """The page; `address` is what it shows at first, as it would stand behind the # of its own address."""
    sizes = {"states": recurrence.STATES, "features": recurrence.FEATURES, "steps": recurrence.STEPS}
    body = _read("page.html").format(diagram=recurrence.diagram(), **sizes)
    return page("jaxconv explore", _colours() + _read("page.css"), body.rstrip("\n"), _script(address))


def _read(name: str) -> str:
    return files(__package__).joinpath("browser", name).read_text(encoding="utf-8")


def _script(address: str) -> str:
    values = {"START": address, "LIMITS": LIMITS, "MOST_LAYERS": MOST_LAYERS, "WEIGHTS": recurrence.weights()}
    told = "".join(f"const {name} = {_json(value)};\n" for name, value in values.items())
    functions = "\n".join(map(javascript, FUNCTIONS))
    head = "// Functions of jaxconv.sizes, put into JavaScript by jaxconv.explore.translate."
    return "\n".join([_read("runtime.js"), head, functions, told, *map(_read, SCRIPTS)])


def _json(value: object) -> str:
    """JSON that may stand in a script: nothing in it ends the script."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _colours() -> str:
    """The colours of x, w and y as variables, on light and on dark ground; paper is light."""
    light, dark = (";".join(f"--{name}:{colour}" for name, colour in each.items()) for each in (ARRAYS, ARRAYS_ON_DARK))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
