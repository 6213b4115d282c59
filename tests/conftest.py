"""What holds for every test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import jax
import pytest
from hypothesis import settings

# What was measured on this machine must not decide what is tested; processes that tests start inherit it.
os.environ["JAXCONV_WISDOM"] = "off"

# An accelerator may round the factors of a product to fewer bits (TF32), which the error model does not allow for.
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_itemcollected(item: pytest.Function) -> None:
    """Of a test marked `short` the cases in whose ids none of its patterns is found are slow."""
    for mark in item.iter_markers("short"):
        if not any(re.search(pattern, item.callspec.id) for pattern in mark.args):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def _programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled as the module needs it, and let go: of the mappings of compiled programs a process has some 65,000.

    Compiling is most of the suite's time. Modules marked `unoptimised` ask for values, shapes and what devices send one
    another, which are right or wrong however well the program is optimised. All others compile as a user does: those
    that draw the line of the error model, and those that run long.
    """
    unoptimised = request.node.get_closest_marker("unoptimised") is not None
    jax.config.update("jax_disable_most_optimizations", unoptimised)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


# Each drawn geometry is compiled, so few are drawn by default; `pytest --hypothesis-profile thorough` draws many.
settings.register_profile("quick", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("quick")
