"""What holds for every test."""

from __future__ import annotations

import jax
import pytest
from hypothesis import settings

# An accelerator may round the factors of a product to fewer bits (TF32), which the error model does not allow for.
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(autouse=True, scope="module")
def _programs_are_let_go():
    """Compiled programs stay mapped into memory, and of those mappings a process may hold some 65,000."""
    yield
    jax.clear_caches()


# Each drawn geometry is compiled, so few are drawn by default; `pytest --hypothesis-profile thorough` draws many.
settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("quick")
