"""Convolution and a gated recurrence for JAX, with hand-written gradients that people can read and check.

Names are imported on first use: ``jaxconv.sizes`` alone needs no jax.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxconv.cell import GatedParams as GatedParams
    from jaxconv.check.assertion import assert_vjp as assert_vjp
    from jaxconv.check.core import check_vjp as check_vjp
    from jaxconv.check.report import VjpReport as VjpReport
    from jaxconv.check.report import VjpRow as VjpRow
    from jaxconv.check.smallest import smallest_failure as smallest_failure
    from jaxconv.convolution import conv as conv
    from jaxconv.convolution import conv_input_vjp as conv_input_vjp
    from jaxconv.convolution import conv_transpose as conv_transpose
    from jaxconv.convolution import conv_weight_vjp as conv_weight_vjp
    from jaxconv.cost import ConvCost as ConvCost
    from jaxconv.cost import OperationCost as OperationCost
    from jaxconv.cost import conv_cost as conv_cost
    from jaxconv.directions import gated_scan_both as gated_scan_both
    from jaxconv.explanation import Explanation as Explanation
    from jaxconv.explanation import explain as explain
    from jaxconv.gated import gated_init as gated_init
    from jaxconv.gated import gated_scan as gated_scan
    from jaxconv.gated import gated_step as gated_step
    from jaxconv.geometry import Geometry as Geometry
    from jaxconv.halo import halo_exchange as halo_exchange
    from jaxconv.halo import halo_exchange_vjp as halo_exchange_vjp
    from jaxconv.jacobian import GradientFlow as GradientFlow
    from jaxconv.jacobian import conv_input_jacobian as conv_input_jacobian
    from jaxconv.jacobian import conv_weight_jacobian as conv_weight_jacobian
    from jaxconv.jacobian import gated_step_jacobian as gated_step_jacobian
    from jaxconv.jacobian import gradient_flow as gradient_flow
    from jaxconv.processes import global_batch as global_batch
    from jaxconv.receptive import ReceptiveField as ReceptiveField
    from jaxconv.receptive import TransposedWindow as TransposedWindow
    from jaxconv.receptive import Window as Window
    from jaxconv.receptive import merge_receptive_fields as merge_receptive_fields
    from jaxconv.receptive import receptive_field as receptive_field
    from jaxconv.receptive import unread_inputs as unread_inputs
    from jaxconv.sharded import conv_sharded as conv_sharded
    from jaxconv.sizes import input_sizes as input_sizes
    from jaxconv.sizes import output_shape as output_shape
    from jaxconv.sizes import output_size as output_size
    from jaxconv.sizes import same_padding as same_padding
    from jaxconv.sizes import transpose_output_size as transpose_output_size

_HOME = {
    "ConvCost": "cost",
    "Explanation": "explanation",
    "GatedParams": "cell",
    "Geometry": "geometry",
    "GradientFlow": "jacobian",
    "OperationCost": "cost",
    "ReceptiveField": "receptive",
    "TransposedWindow": "receptive",
    "VjpReport": "check.report",
    "VjpRow": "check.report",
    "Window": "receptive",
    "assert_vjp": "check.assertion",
    "check_vjp": "check.core",
    "conv": "convolution",
    "conv_cost": "cost",
    "conv_input_jacobian": "jacobian",
    "conv_input_vjp": "convolution",
    "conv_sharded": "sharded",
    "conv_transpose": "convolution",
    "conv_weight_jacobian": "jacobian",
    "conv_weight_vjp": "convolution",
    "explain": "explanation",
    "gated_init": "gated",
    "gated_scan": "gated",
    "gated_scan_both": "directions",
    "gated_step": "gated",
    "gated_step_jacobian": "jacobian",
    "global_batch": "processes",
    "gradient_flow": "jacobian",
    "halo_exchange": "halo",
    "halo_exchange_vjp": "halo",
    "input_sizes": "sizes",
    "merge_receptive_fields": "receptive",
    "output_shape": "sizes",
    "output_size": "sizes",
    "receptive_field": "receptive",
    "same_padding": "sizes",
    "smallest_failure": "check.smallest",
    "transpose_output_size": "sizes",
    "unread_inputs": "receptive",
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
