"""What holds for every test."""

from __future__ import annotations

import jax
from hypothesis import settings

# An accelerator may round the factors of a product to fewer bits (TF32), which the error model does not allow for.
jax.config.update("jax_default_matmul_precision", "highest")

# Each drawn geometry is compiled, so few are drawn by default; `pytest --hypothesis-profile thorough` draws many.
settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("quick")
