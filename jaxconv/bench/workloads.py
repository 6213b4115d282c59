"""What is measured: fifteen public convolutions, six recurrences, and convolutions from a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from jaxconv.sizes.geometry import Geometry


@dataclass(frozen=True)
class Workload:
    """One convolution, its arrays with channels first.

    Attributes:
        name: how it is called in tables.
        x: (batch, in, *space).
        w: (out, in/groups, *kernel).
        stride, padding, dilation: in samples, one for all axes or one for each; the padding on both sides.
        groups: groups of channels.
    """

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1

    def geometry(self, layout: str) -> Geometry:
        """Checked, for arrays in that layout."""
        return Geometry.of(
            "jaxconv bench",
            self.x[2:],
            self.w[2:],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            layout=layout,  # type: ignore[arg-type]
        )

    def multiply_adds(self) -> int:
        """Of each of the three maps: every output sums in/groups · taps products."""
        total = self.x[0] * self.w[0] * self.w[1]
        for k, m in zip(self.w[2:], self.geometry("channels_first").output_size, strict=True):
            total *= int(k) * int(m)
        return total


CONVOLUTIONS = (
    Workload("r50_3x3_56", (8, 64, 56, 56), (64, 64, 3, 3), padding=1),
    Workload("r50_3x3s2", (8, 128, 56, 56), (128, 128, 3, 3), stride=2, padding=1),
    Workload("r50_1x1", (8, 256, 56, 56), (64, 256, 1, 1)),
    Workload("r50_1x1s2", (8, 256, 56, 56), (512, 256, 1, 1), stride=2),
    Workload("stem7x7s2", (8, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3),
    Workload("r50_3x3_14", (8, 256, 14, 14), (256, 256, 3, 3), padding=1),
    Workload("dw3x3", (8, 96, 56, 56), (96, 1, 3, 3), padding=1, groups=96),
    Workload("dw7x7", (8, 96, 56, 56), (96, 1, 7, 7), padding=3, groups=96),
    Workload("dil2", (8, 64, 56, 56), (64, 64, 3, 3), padding=2, dilation=2),
    Workload("grp32", (8, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32),
    Workload("patch16", (8, 3, 224, 224), (768, 3, 16, 16), stride=16),
    Workload("conv1d_k9", (8, 128, 2048), (128, 128, 9), padding=4),
    Workload("conv1d_s2", (8, 2, 5), (1, 2, 3), stride=2),
    Workload("conv1d_dw4", (8, 512, 2048), (512, 1, 4), padding=2, groups=512),
    Workload("conv3d", (2, 16, 16, 56, 56), (32, 16, 3, 3, 3), padding=1),
)


@dataclass(frozen=True)
class Recurrence:
    """One gated recurrence: steps T, batch, n inputs, m units."""

    steps: int
    batch: int
    n: int
    m: int

    @property
    def name(self) -> str:
        """T x batch x n x m."""
        return "x".join(str(value) for value in asdict(self).values())

    def multiply_adds(self, gradient: bool) -> int:
        """Of W_c x, W_x x and W_h h; a gradient makes two products of each again."""
        forward = self.steps * self.batch * self.m * (2 * self.n + self.m)
        return 3 * forward if gradient else forward


RECURRENCES = (
    Recurrence(128, 32, 64, 64),
    Recurrence(512, 32, 128, 128),
    Recurrence(256, 64, 256, 256),
    Recurrence(1024, 8, 64, 64),
    Recurrence(128, 32, 512, 512),
    Recurrence(1000, 1, 28, 32),
)


def read(path: Path) -> tuple[Workload, ...]:
    """The workloads of a JSON file: a list of objects with the fields of `Workload`.

    Raises:
        ValueError: naming the file, the line and the rule.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"jaxconv bench: {path}: must be UTF-8: {error}") from error
    decoder, at = json.JSONDecoder(), _skip(text, 0)
    if text[at : at + 1] != "[":
        _wrong(path, text, at, "the file must hold a list of objects, and begin with [")
    found: list[Workload] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            _wrong(path, text, error.pos, f"must be JSON: {error.msg}")
        except RecursionError:
            _wrong(path, text, at, "must not be nested as deep as this")
        try:
            found.append(_workload(value))
        except (TypeError, ValueError) as error:
            _wrong(path, text, at, str(error))
        if found[-1].name in (one.name for one in found[:-1]):
            _wrong(path, text, at, f"names must differ; got {found[-1].name!r} twice")
        at = _skip(text, end)
        if text[at : at + 1] not in (",", "]"):
            _wrong(path, text, at, "an object must be followed by , or ]")
        if text[at] == ",":
            at = _skip(text, at + 1)
    if rest := text[at + 1 :].strip():
        _wrong(path, text, _skip(text, at + 1), f"nothing must follow the list; got {rest[:20]!r}")
    if not found:
        _wrong(path, text, at, "the list must hold at least one workload")
    return tuple(found)


def _workload(value: Any) -> Workload:
    names = [field.name for field in fields(Workload)]
    if not isinstance(value, dict):
        raise TypeError(f"a workload must be an object; got {json.dumps(value)[:40]}")
    for key in value:
        if key not in names:
            raise ValueError(f"a key must be one of {', '.join(names)}; got {key!r}")
    for key in names[:3]:
        if key not in value:
            raise ValueError(f"{key!r} must be given; got {', '.join(value) or 'none'}")
    if not isinstance(value["name"], str) or not value["name"]:
        raise TypeError(f"'name' must be a text; got {value['name']!r}")
    for key in names[1:]:
        numbers = value.get(key, 1)
        listed = numbers if key != "groups" and isinstance(numbers, list) else [numbers]
        if key in ("x", "w") and not isinstance(numbers, list):
            raise TypeError(f"{key!r} must be a list of integers; got {numbers!r}")
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in listed):
            raise TypeError(f"{key!r} must hold integers; got {numbers!r}")
    plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
    made = Workload(**plain)
    x, w = made.x, made.w
    if len(x) != len(w) or len(x) < 3:
        raise ValueError(f"'x' and 'w' must have two axes and the same spatial ones; got {list(x)} and {list(w)}")
    if min(*x, *w) < 1:
        raise ValueError(f"every size must be at least 1; got {list(x)} and {list(w)}")
    made.geometry("channels_first")
    if x[1] != w[1] * made.groups:
        raise ValueError(f"'w' must have in/groups = {x[1]}/{made.groups} channels; got {w[1]}")
    if w[0] % made.groups:
        raise ValueError(f"'groups' must divide the filters; got {made.groups} and {w[0]}")
    return made


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _wrong(path: Path, text: str, at: int, rule: str) -> NoReturn:
    raise ValueError(f"jaxconv bench: {path}, line {text.count(chr(10), 0, at) + 1}: {rule}")
