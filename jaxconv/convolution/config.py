"""All that is static about a convolution, the key of its compiled programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from jaxconv._jax.dtypes import Precision
from jaxconv.algorithms.choose import Lowering
from jaxconv.sizes.geometry import Geometry

Derivative = Literal["hand", "jax", "any"]
PerAxis = int | Sequence[int]

DERIVATIVES = ("hand", "jax", "any")


class ConvConfig(NamedTuple):
    """Geometry, precision and form of a call."""

    geometry: Geometry
    precision: Precision = None
    lowering: Lowering = "auto"
