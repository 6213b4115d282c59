"""Shapes of the arrays of a convolution: what they say, what they must agree in, and what comes out.

Letters as in `arithmetic`. This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxconv.sizes.arguments import Size, holds, integer, is_sequence, one_of, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import LAYOUTS, Layout, read_windows


def split_kernel(function: str, name: str, shape: Sequence[int], layout: str) -> tuple[int, int, tuple[int, ...]]:
    """(out, in/groups, kernel) of a kernel's shape, whose rank tells how many spatial axes there are."""
    if len(shape) < 3:
        form = "(out, in/groups, *kernel)" if layout == "channels_first" else "(*kernel, in/groups, out)"
        rule = f"`{name}` must have at least one spatial axis, as {form}"
        wrong_value(function, rule, f"rank {len(shape)}, shape {tuple(shape)}")
    first = layout == "channels_first"
    out, per_group, kernel = (shape[0], shape[1], shape[2:]) if first else (shape[-1], shape[-2], shape[:-2])
    if not all(size >= 1 for size in (out, per_group, *kernel)):
        empty = "output channels" if out == 0 else "input channels" if per_group == 0 else "kernel size"
        at = f" on spatial axis {list(kernel).index(0)}" if empty == "kernel size" else ""
        wrong_value(function, f"`{name}` must have no axis of size 0", f"{empty} 0{at}, shape {tuple(shape)}")
    return out, per_group, tuple(kernel)


def split_array(
    function: str, name: str, shape: Sequence[Size], axes: int, layout: str
) -> tuple[tuple[Size, ...], Size, tuple[Size, ...]]:
    """(batch, channels, space) of the shape of an input or output; only a batch axis may have size 0."""
    if len(shape) < axes + 1:
        form = "(*batch, channels, *space)" if layout == "channels_first" else "(*batch, *space, channels)"
        rule = f"`{name}` must have {axes + 1} or more axes, {form}, with {axes} spatial axes as the kernel has"
        wrong_value(function, rule, f"rank {len(shape)}, shape {tuple(shape)}")
    batch, core = tuple(shape[: len(shape) - axes - 1]), tuple(shape[len(shape) - axes - 1 :])
    channels, space = (core[0], core[1:]) if layout == "channels_first" else (core[-1], core[:-1])
    if not all(holds(lambda size=size: size >= 1) for size in core):
        wrong_value(function, f"`{name}` may have size 0 on batch axes alone", f"shape {tuple(shape)}")
    return batch, channels, space


def check_channels(function: str, groups: int, channels: Size, per_group: int, out: int, context: str) -> None:
    """Raise unless `groups` divides both channel counts and the kernel's channels are the input's per group."""
    check_groups(function, groups, channels, out, f" ({context})")
    if not holds(lambda: channels == per_group * groups):
        rule = "the kernel's input channels times `groups` must be the input's channels"
        wrong_value(function, rule, f"{per_group} · {groups} = {per_group * groups} for {channels} ({context})")


def check_groups(function: str, groups: int, channels: Size, out: Size, context: str = "") -> None:
    for name, count in (("input", channels), ("output", out)):
        if not holds(lambda count=count: count % groups == 0):
            rule = f"`groups` must divide the {name} channels"
            wrong_value(function, rule, f"groups={groups}, channels={count}{context}")


def layout_hint(x_shape: Sequence[Size], w_shape: Sequence[int], groups: int, layout: str) -> str:
    """Words to add to an error where the channels would fit in the other layout; else none."""
    other = "channels_last" if layout == "channels_first" else "channels_first"
    axis_of_x = -1 if layout == "channels_first" else 1 - len(w_shape)
    axis_of_w = -2 if layout == "channels_first" else 1
    fits = len(x_shape) >= len(w_shape) - 1 and holds(lambda: x_shape[axis_of_x] == w_shape[axis_of_w] * groups)
    return f"; they fit with layout={other!r}" if fits else ""


def output_shape(
    x_shape: Sequence[Size],
    w_shape: Sequence[int],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
) -> tuple[Size, ...]:
    """Shape of ``conv(x, w)``, from the shapes alone.

        (*batch, out, m₁, m₂, …)   with   m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 on each spatial axis

    Args:
        x_shape: (*batch, in, *space); channels last: (*batch, *space, in).
        w_shape: (out, in/groups, *kernel); channels last: (*kernel, in/groups, out). Tells the spatial axes.
        stride, padding, dilation: as in `output_size`.
        groups: divides both the input and the output channels.
        layout: "channels_first" or "channels_last".

    Returns:
        (*batch, out, *space_out); channels last: (*batch, *space_out, out).

    Raises:
        TypeError, ValueError: as `conv` would, with its words.

    Source: as `output_size`.

    >>> output_shape((3, 10, 11), (8, 3, 3, 3), stride=2)
    (8, 4, 5)
    >>> output_shape((32, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3, layout="channels_last")
    (32, 112, 112, 64)
    """
    call = read_call("output_shape", x_shape, w_shape, stride, padding, dilation, groups, layout)
    return (*call.batch, call.out, *call.m) if layout == "channels_first" else (*call.batch, *call.m, call.out)


class ConvShapes(NamedTuple):
    """Shapes and options of a convolution, read and checked; s, pads, d, n, k, m one entry per spatial axis."""

    batch: tuple[Size, ...]
    per_group: int
    out: int
    n: tuple[Size, ...]
    k: tuple[int, ...]
    s: tuple[int, ...]
    pads: tuple[tuple[Size, Size], ...]
    d: tuple[int, ...]
    m: tuple[Size, ...]


def read_call(
    function: str,
    x_shape: object,
    w_shape: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    layout: str,
) -> ConvShapes:
    """What `output_shape` and `conv_cost` are told, read once."""
    one_of(function, "layout", layout, LAYOUTS)
    count = integer(function, "groups", groups, least=1)
    x, w = read_shape(function, "x_shape", x_shape), read_shape(function, "w_shape", w_shape)
    out, per_group, k = split_kernel(function, "w_shape", w, layout)
    batch, channels, n = split_array(function, "x_shape", x, len(k), layout)
    context = f"x_shape={x}, w_shape={w}{layout_hint(x, w, count, layout)}"
    check_channels(function, count, channels, per_group, out, context)
    s, pads, d, m = read_windows(function, n, k, stride, padding, dilation)
    return ConvShapes(batch, per_group, out, n, k, s, pads, d, m)


def read_shape(function: str, name: str, shape: object) -> tuple[Size, ...]:
    """A shape as a tuple of sizes."""
    if not is_sequence(shape):
        wrong_kind(function, f"`{name}` must be a sequence of integers", f"{name}={shape!r}")
    return tuple(integer(function, f"{name}[{i}]", v, least=0, symbolic=True) for i, v in enumerate(shape))
