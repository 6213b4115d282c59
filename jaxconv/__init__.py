"""Convolution and a gated recurrence for JAX, with hand-written gradients that people can read and check.

Names are imported on first use: ``jaxconv.sizes`` alone needs no jax.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxconv.convolution import conv as conv
    from jaxconv.convolution import conv_input_vjp as conv_input_vjp
    from jaxconv.convolution import conv_transpose as conv_transpose
    from jaxconv.convolution import conv_weight_vjp as conv_weight_vjp
    from jaxconv.gated import GatedParams as GatedParams
    from jaxconv.gated import gated_init as gated_init
    from jaxconv.gated import gated_scan as gated_scan
    from jaxconv.gated import gated_step as gated_step
    from jaxconv.geometry import Geometry as Geometry
    from jaxconv.jacobian import GradientFlow as GradientFlow
    from jaxconv.jacobian import conv_input_jacobian as conv_input_jacobian
    from jaxconv.jacobian import conv_weight_jacobian as conv_weight_jacobian
    from jaxconv.jacobian import gated_step_jacobian as gated_step_jacobian
    from jaxconv.jacobian import gradient_flow as gradient_flow
    from jaxconv.sizes import input_sizes as input_sizes
    from jaxconv.sizes import output_shape as output_shape
    from jaxconv.sizes import output_size as output_size
    from jaxconv.sizes import same_padding as same_padding
    from jaxconv.sizes import transpose_output_size as transpose_output_size

_HOME = {
    "conv": "convolution",
    "conv_input_vjp": "convolution",
    "conv_transpose": "convolution",
    "conv_weight_vjp": "convolution",
    "GatedParams": "gated",
    "gated_init": "gated",
    "gated_scan": "gated",
    "gated_step": "gated",
    "Geometry": "geometry",
    "GradientFlow": "jacobian",
    "conv_input_jacobian": "jacobian",
    "conv_weight_jacobian": "jacobian",
    "gated_step_jacobian": "jacobian",
    "gradient_flow": "jacobian",
    "input_sizes": "sizes",
    "output_shape": "sizes",
    "output_size": "sizes",
    "same_padding": "sizes",
    "transpose_output_size": "sizes",
}

__all__ = sorted(_HOME)

try:
    __version__ = version("jaxconv")
except PackageNotFoundError:  # used from a checkout, not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")
    value = getattr(import_module(f"jaxconv.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
