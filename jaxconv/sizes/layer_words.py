"""The words of a layer, as `jaxconv size` reads them, in any order after the kind:

    64 7x7 s2 p3        a convolution with 64 filters
    pool 3x3 s2 p1      pooling: the channels stay; with ceil its size is rounded up
    pool global         one window as large as the input
    up 32 4x4 s2 p1     a transposed convolution with 32 filters; o1 is its output padding
    upsample s2         each input repeated; with linear, between its neighbours by their distance

    7x7, 7x1 or k7      kernel, per axis or one for all
    s2 s2x1             stride              d2          dilation            g4      groups
    p3 p3x0             padding             p1:2        1 before, 2 behind  pSAME   padding by name

Imports no jax.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxconv.sizes.arguments import wrong_value
from jaxconv.sizes.arithmetic import PADDINGS
from jaxconv.sizes.receptive import TransposedWindow, Window

FUNCTION = "jaxconv size"


@dataclass(frozen=True)
class Layer:
    """One layer: `kind` is "conv", "pool", "up" or "upsample"; the rest is one number per axis.

    `padding` is as in `arithmetic`.
    A pooling may round up, `ceil`. The kernel of a global one is `GLOBAL`: as large as what comes.
    """

    text: str
    kind: str
    filters: int | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any = 0
    dilation: tuple[int, ...] = (1,)
    groups: int = 1
    output_padding: tuple[int, ...] = (0,)
    ceil: bool = False

    @property
    def transposed(self) -> bool:
        return self.kind in ("up", "upsample")

    def window(self) -> Window | TransposedWindow:
        if self.transposed:
            return TransposedWindow(self.kernel, self.stride, self.padding, self.dilation, self.output_padding)
        return Window(self.kernel, self.stride, self.padding, self.dilation)


@dataclass
class _Words:
    """The words of one layer, read one by one."""

    text: str
    axes: int
    found: dict[str, Any] = field(default_factory=dict)

    def fail(self, rule: str, got: str) -> None:
        wrong_value(FUNCTION, f"layer {self.text!r}: {rule}", got)

    def put(self, name: str, value: Any) -> None:
        if name in self.found:
            self.fail(f"`{name}` must be given once", f"{self.found[name]!r} and {value!r}")
        self.found[name] = value

    def numbers(self, name: str, text: str, least: int) -> tuple[int, ...]:
        values = tuple(int(number) for number in text.split("x"))
        if len(values) not in (1, self.axes):
            self.fail(f"`{name}` must be one number or one per axis ({self.axes})", text)
        if min(values) < least:
            self.fail(f"`{name}` must be at least {least}", text)
        return values * self.axes if len(values) == 1 else values

    def padding(self, text: str) -> Any:
        if text in PADDINGS:
            return text
        pairs = []
        for part in text.split("x"):
            lo, _, hi = part.partition(":")
            pairs.append((int(lo), int(hi or lo)))
        if len(pairs) not in (1, self.axes):
            self.fail(f"`padding` must be one number or one per axis ({self.axes})", text)
        return pairs * self.axes if len(pairs) == 1 else pairs


GLOBAL = (0,)
_NUMBER = r"-?[0-9]{1,18}"
_INTEGERS = rf"{_NUMBER}(?:x{_NUMBER})*"
_PAIR = rf"{_NUMBER}(?::{_NUMBER})?"
_PADDING = rf"{_PAIR}(?:x{_PAIR})*|" + "|".join(PADDINGS)
_GRAMMAR: tuple[tuple[str, Callable[[_Words, str], None]], ...] = (
    (r"conv|pool|up|upsample", lambda w, t: w.put("kind", t)),
    (r"ceil|global|linear", lambda w, t: w.put(t, True)),
    (rf"k({_INTEGERS})|([0-9]{{1,18}}(?:x[0-9]{{1,18}})+)", lambda w, t: w.put("kernel", w.numbers("kernel", t, 1))),
    (rf"s({_INTEGERS})", lambda w, t: w.put("stride", w.numbers("stride", t, 1))),
    (rf"d({_INTEGERS})", lambda w, t: w.put("dilation", w.numbers("dilation", t, 1))),
    (rf"o({_INTEGERS})", lambda w, t: w.put("output_padding", w.numbers("output_padding", t, 0))),
    (rf"p({_PADDING})", lambda w, t: w.put("padding", w.padding(t))),
    (r"g([0-9]{1,18})", lambda w, t: w.put("groups", w.numbers("groups", t, 1)[0])),
    (r"([0-9]{1,18})", lambda w, t: w.put("filters", w.numbers("filters", t, 1)[0])),
)


def read_shape(text: str) -> tuple[int, ...]:
    """The text 3x224x224 as (3, 224, 224): channels, then one or more spatial axes."""
    if not re.fullmatch(r"[0-9]{1,18}(x[0-9]{1,18})+", text):
        wrong_value(FUNCTION, "the input must be channels and sizes, like 3x224x224", repr(text))
    shape = tuple(map(int, text.split("x")))
    if min(shape) < 1:
        wrong_value(FUNCTION, "the input's channels and sizes must be at least 1", repr(text))
    return shape


def read_layer(text: str, axes: int) -> Layer:
    """A layer from its words.

    Raises:
        ValueError: a word is unknown, stands twice, or has numbers for another count of axes.
    """
    words = _Words(text, axes)
    for word in text.replace("×", "x").split():
        for pattern, put in _GRAMMAR:
            match = re.fullmatch(pattern, word)
            if match:
                put(words, next((group for group in match.groups() if group is not None), word))
                break
        else:
            rule = "a word must be a number of filters, a kernel 3x3, k s p d g o with numbers, or one of "
            words.fail(f"{rule}conv, pool, up, upsample, ceil, global, linear", repr(word))
    found = words.found
    kind = found.get("kind", "conv")
    _check_words(words, kind)
    once, linear = (1,) * axes, found.pop("linear", False)
    options = {"filters": None, "stride": once, "padding": [(0, 0)] * axes, "dilation": once}
    options |= {"output_padding": (0,) * axes, "kind": kind}
    if kind == "upsample":
        # What a transposed convolution of every channel by itself makes: of ones, or of weights that fall linearly.
        options["kernel"] = scale = found["stride"]
        if linear:
            options |= {"kernel": tuple(2 * s - s % 2 for s in scale), "padding": [(s // 2, s // 2) for s in scale]}
    elif found.pop("global", False):
        options["kernel"] = GLOBAL
    elif kind == "pool":
        options["stride"] = found["kernel"]
    return Layer(text, **(options | found))


def _check_words(words: _Words, kind: str) -> None:
    """Raise where the words of a layer do not go together."""
    found, text = words.found, repr(words.text)
    for word, of in {"ceil": "pool", "global": "pool", "linear": "upsample"}.items():
        if word in found and kind != of:
            words.fail(f"`{word}` must go with {'pooling, pool' if of == 'pool' else 'upsampling, upsample'}", text)
    channels_stay = kind in ("pool", "upsample")
    if channels_stay == ("filters" in found):
        must = "have no number of filters" if channels_stay else "have a number of filters, like 64"
        words.fail(f"`{kind}` must {must}", text)
    if "groups" in found and channels_stay:
        done = "pooled" if kind == "pool" else "upsampled"
        words.fail(f"`{kind}` must have no groups: every channel is {done} by itself", text)
    if "output_padding" in found and kind != "up":
        words.fail("`output_padding` must go with a transposed convolution, up", text)
    whole = (
        "`pool global` must have no" if "global" in found else "`upsample` must have no" if kind == "upsample" else ""
    )
    for name in ("kernel", "padding", "dilation") if whole else ():
        if name in found:
            words.fail(f"{whole} {name}", text)
    if "global" in found:
        for name in ("stride", "ceil"):
            if name in found:
                words.fail(f"{whole} {name}", text)
    elif kind == "upsample":
        if "stride" not in found:
            words.fail("`upsample` must have a stride, by how much the sizes grow, like s2", text)
    elif "kernel" not in found:
        words.fail("a kernel must be given, like 3x3 or k3", text)
