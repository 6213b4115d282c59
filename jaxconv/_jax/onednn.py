"""The convolution of oneDNN that lies inside jaxlib, by its private name.

jaxlib's wheels for Linux on x86-64 hold oneDNN, and XLA calls it by a custom call whose target and configuration are
XLA's own: no documentation names them and no version promises them, so `jax.export` refuses the target, which a later
jaxlib may lack. That call is made here alone, through `jax.ffi`, which is public. It stands behind a bound: the
versions of jaxlib that `tests/algorithms/test_onednn.py` was green on.

What oneDNN has no program for is no exception: the process ends when it is run. So nothing may come here that
`jaxconv.algorithms.onednn.unsupported` refuses.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from functools import partial

import jax
from jax import Array, lax
from jaxlib.version import __version__ as JAXLIB

from jaxconv._jax.manual_axes import axes_of, pcast_to

TARGET = "__onednn$convolution"
TESTED = ("0.10.2", "0.12.0.1")  # versions of jaxlib


def missing() -> str | None:
    """Why this process has no oneDNN to call; None where it has."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"jaxlib holds oneDNN on Linux on x86-64 alone, and this is {sys.platform} on {platform.machine()}"
    if JAXLIB not in TESTED:
        return f"tested with jaxlib {' and '.join(TESTED)} alone, and this is {JAXLIB}"
    return None


def convolution(
    x: Array,
    w: Array,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """y (batch, *m, out) of x (batch, *n, in) and w (*k, in/groups, out); no padding is negative.

    lax says which shapes fit, and what the result's is. The configuration could say of each axis where it stands, but
    of arrays that are not laid out like this oneDNN makes a plain nest of loops.
    """
    axes = range(1, x.ndim - 1)
    array = {"data": _strings(batch_dim=0, feature_dim=x.ndim - 1, spatial_dims=axes)}
    kernel = _strings(spatial_dims=range(len(axes)), input_feature_dim=len(axes), output_feature_dim=len(axes) + 1)
    before, behind = zip(*padding, strict=True)
    config = {
        **_strings(dims=x.ndim, feature_groups=groups),
        "input": array,
        "kernel": {"filter": kernel},
        "output": array,
        "window": _strings(pad_left=before, pad_right=behind, strides=stride, window_dilations=dilation),
    }
    space = "DHW"[-len(axes) :]
    by_lax = partial(
        lax.conv_general_dilated,
        window_strides=stride,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )
    call = jax.ffi.ffi_call(
        TARGET,
        jax.ShapeDtypeStruct(jax.eval_shape(by_lax, x, w).shape, x.dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return pcast_to(call(x, w), axes_of(x) | axes_of(w))


def _strings(**fields: int | Iterable[int]) -> dict[str, str | list[str]]:
    """Integers of 64 bits as protocol buffers write them in JSON."""
    return {name: str(value) if isinstance(value, int) else list(map(str, value)) for name, value in fields.items()}
