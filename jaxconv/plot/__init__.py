"""Pictures of convolutions and of the recurrence, drawn from a `Geometry` and the arithmetic of `jaxconv.sizes.reads`.

Every function takes an Axes as `ax`, or makes a figure of its own, and returns the Axes (an animation: itself). None
shows anything or changes matplotlib's settings; ink and ground are those of the style that is switched on. Colours
never stand alone: taps also have a digit and a line style, and padding a hatch.

Needs matplotlib: ``pip install jaxconv[notebooks]``.
"""

from __future__ import annotations

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("jaxconv.plot: needs matplotlib; pip install jaxconv[notebooks]") from error

from jaxconv.plot.animate import animation
from jaxconv.plot.bars import bench
from jaxconv.plot.cell import cell, unrolled
from jaxconv.plot.flow import flow
from jaxconv.plot.halos import halos
from jaxconv.plot.jacobians import input_jacobian, weight_jacobian
from jaxconv.plot.stack import receptive_field
from jaxconv.plot.windows import feeds, reads, weights

__all__ = [
    "animation",
    "bench",
    "cell",
    "feeds",
    "flow",
    "halos",
    "input_jacobian",
    "reads",
    "receptive_field",
    "unrolled",
    "weight_jacobian",
    "weights",
]
