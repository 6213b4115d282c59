"""A convolution of an image whose spatial axes are split over devices: each shard with its halo, and no more.

An axis of n = P·L positions lies over P shards; n = s·m, so each makes M = L/s outputs. With letters as in
`jaxconv.convolution.api`,

    shard r makes the outputs r·M … r·M + M − 1, which read r·L − lo … r·L + L − 1 + d(k − 1) − lo − (s − 1)

so it sees lo positions before its own and d(k − 1) − lo − (s − 1) after them, which `halo` brings; on several
axes one after the other, so that corners come along. What is left is a convolution within a shard.
"""

from __future__ import annotations

from typing import Any, Literal

from jax import Array

from jaxconv._jax.dtypes import Precision, read_arrays, read_precision
from jaxconv._jax.manual_axes import names_of, num_shards
from jaxconv.algorithms.choose import Lowering
from jaxconv.convolution.api import conv
from jaxconv.convolution.config import Derivative, PerAxis
from jaxconv.convolution.padding import PADDING_MODES, cut_and_added, pad_apart
from jaxconv.parallel.halo import halo_exchange
from jaxconv.sizes.arguments import is_sequence, one_of, wrong_kind, wrong_value
from jaxconv.sizes.arithmetic import LAYOUTS, Layout, Padding
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import split_array, split_kernel


def conv_sharded(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    axis_name: Any,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    layout: Layout = "channels_first",
    padding_mode: Literal["zeros", "circular"] = "zeros",
    precision: Precision = None,
    derivative: Derivative = "hand",
    lowering: Lowering = "auto",
) -> Array:
    """Inside `jax.shard_map`: `conv` of an image whose spatial axes are split, each shard with its halo and no more.

        y[b,o,p] = b[o] + Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo],   before = lo,   after = d(k − 1) − lo − (s − 1)

    Shard r of P holds n/P inputs and makes the outputs whose windows begin there, so m = n/s must hold on a split axis,
    as it does for "SAME" where s divides n/P. Gradients are `conv`'s by hand, then halos are sent back and added. A
    kernel that every shard holds whole gets the sum over all shards, one all-reduce.

    Args:
        x: this shard's piece, (*batch, in, *space); channels last: (*batch, *space, in).
        w: (out, in/groups, *kernel), the same on every shard; channels last: (*kernel, in/groups, out).
        b: bias (out,), or None.
        axis_name: one entry per spatial axis: the mesh axis it is split over (or a tuple of them), None where it is
            whole. With one spatial axis the name alone will do.
        stride, dilation, groups, layout, precision, derivative, lowering: as in `conv`.
        padding: as in `conv`, of the whole image: only its ends are padded.
        padding_mode: "zeros" or "circular".

    Returns:
        This shard's piece of the output, (*batch, out, *space_out), or (*batch, *space_out, out).

    Raises:
        TypeError: an argument has the wrong kind or dtype.
        ValueError: as `conv`; also where the windows of a shard do not begin at its own positions, with the numbers.

    Source: the module docstring's reads of shard r.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], "space")
    >>> split, whole = jax.sharding.PartitionSpec(None, "space"), jax.sharding.PartitionSpec()
    >>> smooth = lambda x, w: conv_sharded(x, w, axis_name="space", padding="SAME")
    >>> smooth = jax.shard_map(smooth, mesh=mesh, in_specs=(split, whole), out_specs=split)
    >>> smooth(jnp.ones((1, 4)), jnp.ones((1, 1, 3)))
    Array([[2., 3., 3., 2.]], dtype=float32)
    """
    function = "conv_sharded"
    read_arrays(function, {"x": x, "w": w, **({} if b is None else {"b": b})})
    one_of(function, "layout", layout, LAYOUTS)
    precision = read_precision(function, precision)
    k = split_kernel(function, "w.shape", w.shape, layout)[2]
    local = split_array(function, "x.shape", x.shape, len(k), layout)[2]
    names = _read_names(function, axis_name, len(k))
    counts = [1 if name is None else num_shards(function, name) for name in names]
    n = [count * own for count, own in zip(counts, local, strict=True)]
    windows: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "layout": layout}
    geometry = Geometry.of(function, n, k, padding=padding, **windows)
    _read_mode(function, geometry, padding_mode, names)
    first = x.ndim - len(k) - (layout == "channels_last")
    rest = list(geometry.padding)
    for axis, (name, (_, k_, s, (lo, _), d)) in enumerate(zip(names, geometry.per_axis, strict=True)):
        if name is None:
            continue
        _check_windows(function, geometry, axis, counts[axis], local[axis])
        # What is cut off is not even read of the own piece.
        rest[axis], (before, after) = cut_and_added(lo, d * (k_ - 1) - lo - (s - 1))
        seen: dict[str, Any] = {"before": before, "after": after, "periodic": padding_mode == "circular"}
        seen |= {"derivative": "hand" if derivative == "hand" else "jax"}
        x = halo_exchange(x, axis=first + axis, axis_name=name, **seen)
    how: dict[str, Any] = {"precision": precision, "derivative": derivative, "lowering": lowering}
    return conv(x, w, b, padding=tuple(rest), padding_mode=padding_mode, **windows, **how)


def _check_windows(function: str, geometry: Geometry, axis: int, count: int, own: int) -> None:
    """Raise unless every shard's outputs are those whose windows begin at its own positions: L = s·M."""
    n, m, s = geometry.input_size[axis], geometry.output_size[axis], geometry.stride[axis]
    numbers = f"stride={s}, {count} shards of {own} positions ({n} in all) on spatial axis {axis}"
    if own % s:
        wrong_value(function, "`stride` must divide a shard's positions", numbers)
    if m * s != n:
        reach = geometry.dilation[axis] * (geometry.kernel_size[axis] - 1)
        rule = (
            f"`padding` must give n/stride = {n // s} outputs on a split axis, {n // s // count} a shard: "
            f"lo + hi from {max(reach - s + 1, 0)} to {reach}, as 'SAME' has it"
        )
        wrong_value(function, rule, f"padding={geometry.padding[axis]}, which gives {m} ({numbers})")


def _read_names(function: str, axis_name: Any, axes: int) -> tuple[Any, ...]:
    """`axis_name` with one entry per spatial axis."""
    names = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name) if is_sequence(axis_name) else None
    if names is None:
        rule = "`axis_name` must be a mesh axis or None for every spatial axis"
        wrong_kind(function, rule, f"axis_name={axis_name!r}")
    if len(names) != axes:
        rule = f"`axis_name` must have one entry, a mesh axis or None, per spatial axis ({axes})"
        wrong_value(function, rule, f"axis_name={axis_name!r}")
    used = [each for name in names if name is not None for each in names_of(name)]
    if len(set(used)) < len(used):
        wrong_value(function, "`axis_name` must name a mesh axis once", f"axis_name={axis_name!r}")
    return names


def _read_mode(function: str, geometry: Geometry, mode: str, names: tuple[Any, ...]) -> None:
    one_of(function, "padding_mode", mode, PADDING_MODES)
    if mode in ("reflect", "edge") and any(name is not None for name in names):
        rule = "`padding_mode` must be 'zeros' or 'circular' where a spatial axis is split"
        wrong_value(function, rule, f"padding_mode={mode!r}, axis_name={names!r}")
    pad_apart(function, geometry, mode)
