"""`jaxconv explore`: read the options, write the page, open it where there is a display."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import webbrowser
from pathlib import Path

from jaxconv.explore.page import LIMITS, as_html
from jaxconv.sizes.arguments import wrong_value
from jaxconv.sizes.arithmetic import PADDINGS
from jaxconv.terminal.output import Legible, shown, written

COMMAND = "jaxconv explore"
NUMBERS = {"size": "n", "kernel": "k", "stride": "s", "dilation": "d"}  # option → the page's letter
_PAIR = r"-?[0-9]{1,4}(?::-?[0-9]{1,4})?"


def explore(options: argparse.Namespace) -> int:
    """The exit status; ValueError where an option is wrong."""
    page = as_html(address(options))
    path = options.output
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="jaxconv-")) / "explore.html"
    if not written(COMMAND, {"output": (path, lambda: page)}):
        return 2
    if options.output is None and has_display():
        webbrowser.open(path.resolve().as_uri())
    return shown(COMMAND, 0, lambda: Legible().write(f"{path}\n"))


def has_display() -> bool:
    """Whether a browser could show a window."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def address(options: argparse.Namespace) -> str:
    """The options as the page keeps them behind the # of its address; empty where none is given.

    Raises:
        ValueError: an option is not what it should be, or more than the page can draw.
    """
    given = {name: getattr(options, name) for name in (*NUMBERS, "padding", "groups")}
    if all(value is None for value in given.values()) and not options.transposed:
        return ""
    sizes = _numbers("size", given["size"] or "9", (1, 2))
    axes = len(sizes)
    words = {"n": sizes}
    for name, letter in list(NUMBERS.items())[1:]:
        words[letter] = _numbers(name, given[name] or ("3" if name == "kernel" else "1"), (1, axes))
    parts = {letter: "x".join(map(str, numbers)) for letter, numbers in words.items()}
    parts["p"] = _padding(given["padding"] or "0", axes)
    if given["groups"] is not None:
        (groups,) = _numbers("groups", given["groups"], (1,))
        parts |= {"c": str(groups), "f": str(groups), "g": str(groups)}
    return "&".join(f"{key}={text}" for key, text in parts.items()) + ("&t=1" if options.transposed else "")


def _numbers(name: str, text: str, counts: tuple[int, ...]) -> list[int]:
    """One number, or one per axis, within what the page can draw."""
    low, high = LIMITS[NUMBERS.get(name, "g")]
    numbers = [int(part) for part in text.split("x")] if re.fullmatch(r"[0-9]{1,4}(x[0-9]{1,4})*", text) else []
    least = max(int(low), 1)
    if len(numbers) not in counts or not all(least <= number <= high for number in numbers):
        each = "a number" if max(counts) == 1 else "one number or two, like 9 or 10x11,"
        wrong_value(COMMAND, f"`--{name}` must be {each} from {least} to {int(high)}", repr(text))
    return numbers


def _padding(text: str, axes: int) -> str:
    if text in PADDINGS:
        return text
    low, high = LIMITS["lo"]
    fits = re.fullmatch(rf"{_PAIR}(x{_PAIR})*", text) and text.count("x") in (0, axes - 1)
    if not fits or not all(low <= int(number) <= high for number in re.split("[x:]", text)):
        forms = "like 1, 1:2 (before, after) or 1x2 (per axis)"
        rule = f"`--padding` must be numbers from {int(low)} to {int(high)}, {forms}, or one of {', '.join(PADDINGS)}"
        wrong_value(COMMAND, rule, repr(text))
    return text
