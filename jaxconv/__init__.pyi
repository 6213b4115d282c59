"""The public names, each with the module it comes from; `jaxconv/__init__.py` reads them here."""

from jaxconv.check.core import check_vjp as check_vjp
from jaxconv.check.faces.assertion import assert_vjp as assert_vjp
from jaxconv.check.faces.report import VjpReport as VjpReport
from jaxconv.check.faces.report import VjpRow as VjpRow
from jaxconv.check.faces.smallest import smallest_failure as smallest_failure
from jaxconv.convolution.api import conv as conv
from jaxconv.convolution.api import conv_input_vjp as conv_input_vjp
from jaxconv.convolution.api import conv_transpose as conv_transpose
from jaxconv.convolution.api import conv_weight_vjp as conv_weight_vjp
from jaxconv.convolution.jacobian import conv_input_jacobian as conv_input_jacobian
from jaxconv.convolution.jacobian import conv_weight_jacobian as conv_weight_jacobian
from jaxconv.explanation.explained import Explanation as Explanation
from jaxconv.explanation.explained import explain as explain
from jaxconv.explanation.layers import LayerReport as LayerReport
from jaxconv.explanation.layers import layers as layers
from jaxconv.lax.accelerated import accelerate as accelerate
from jaxconv.lax.drop_in import conv_general_dilated as conv_general_dilated
from jaxconv.parallel.halo import halo_exchange as halo_exchange
from jaxconv.parallel.halo import halo_exchange_vjp as halo_exchange_vjp
from jaxconv.parallel.processes import global_batch as global_batch
from jaxconv.parallel.sharded import conv_sharded as conv_sharded
from jaxconv.recurrence.directions import gated_scan_both as gated_scan_both
from jaxconv.recurrence.flow import GradientFlow as GradientFlow
from jaxconv.recurrence.flow import gated_step_jacobian as gated_step_jacobian
from jaxconv.recurrence.flow import gradient_flow as gradient_flow
from jaxconv.recurrence.gated import gated_init as gated_init
from jaxconv.recurrence.gated import gated_scan as gated_scan
from jaxconv.recurrence.gated import gated_step as gated_step
from jaxconv.recurrence.gated_cell import GatedParams as GatedParams
from jaxconv.sizes.arithmetic import input_sizes as input_sizes
from jaxconv.sizes.arithmetic import output_size as output_size
from jaxconv.sizes.arithmetic import same_padding as same_padding
from jaxconv.sizes.arithmetic import transpose_output_size as transpose_output_size
from jaxconv.sizes.cost import ConvCost as ConvCost
from jaxconv.sizes.cost import OperationCost as OperationCost
from jaxconv.sizes.cost import conv_cost as conv_cost
from jaxconv.sizes.geometry import Geometry as Geometry
from jaxconv.sizes.receptive import ReceptiveField as ReceptiveField
from jaxconv.sizes.receptive import TransposedWindow as TransposedWindow
from jaxconv.sizes.receptive import Window as Window
from jaxconv.sizes.receptive import merge_receptive_fields as merge_receptive_fields
from jaxconv.sizes.receptive import receptive_field as receptive_field
from jaxconv.sizes.receptive import unread_inputs as unread_inputs
from jaxconv.sizes.shapes import output_shape as output_shape

__version__: str
