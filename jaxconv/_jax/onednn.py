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
import jaxlib
from jax import Array, lax

from jaxconv._jax.manual_axes import axes_of, pcast_to

TARGET = "__onednn$convolution"
TESTED = ("0.10.2", "0.12.0.1")  # versions of jaxlib


def missing() -> str | None:
    """Why this process has no oneDNN to call; None where it has."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"jaxlib holds oneDNN on Linux on x86-64 alone, and this is {sys.platform} on {platform.machine()}"
    if jaxlib.__version__ not in TESTED:
        return f"tested with jaxlib {' and '.join(TESTED)} alone, and this is {jaxlib.__version__}"
    return None


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    rhs_dilation: Sequence[int],
    dimension_numbers: tuple[str, str, str],
    feature_group_count: int,
) -> Array:
    """As `lax.conv_general_dilated`, which says which shapes fit, and what the result's is.

    oneDNN computes with channels last. What stands otherwise, or exchanged, it moves by itself, faster than XLA would.
    """
    (batch, channels, *space), (out, per_group, *taps), (batch_y, out_y, *space_y) = lax.conv_dimension_numbers(
        lhs.shape, rhs.shape, dimension_numbers
    )
    before, behind = zip(*padding, strict=True)
    config = {
        "dims": str(lhs.ndim),
        "feature_groups": str(feature_group_count),
        "input": {"data": _strings(batch_dim=batch, feature_dim=channels, spatial_dims=space)},
        "kernel": {"filter": _strings(input_feature_dim=per_group, output_feature_dim=out, spatial_dims=taps)},
        "output": {"data": _strings(batch_dim=batch_y, feature_dim=out_y, spatial_dims=space_y)},
        "window": _strings(pad_left=before, pad_right=behind, strides=window_strides, window_dilations=rhs_dilation),
    }
    by_lax = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
    )
    result = jax.eval_shape(by_lax, lhs, rhs)
    call = jax.ffi.ffi_call(
        TARGET,
        jax.ShapeDtypeStruct(result.shape, result.dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return pcast_to(call(lhs, rhs), axes_of(lhs) | axes_of(rhs))


def _strings(**fields: int | Iterable[int]) -> dict[str, str | list[str]]:
    """Integers of 64 bits as protocol buffers write them in JSON."""
    return {name: str(value) if isinstance(value, int) else list(map(str, value)) for name, value in fields.items()}
