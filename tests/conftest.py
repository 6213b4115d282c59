"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import settings

# An accelerator may round the factors of a product to fewer bits (TF32), which the error model does not allow for.
jax.config.update("jax_default_matmul_precision", "highest")

# Compiling is most of the suite's time. These modules ask for values, shapes and what devices send one another, which
# are right or wrong however well the program is optimised, so LLVM optimises less. All others compile as a user does:
# those that draw the line of the error model, and those that run long.
VALUES = {
    "test_conformance_lax.py", "test_conformance_onnx.py", "test_conformance_onnxruntime.py",
    "test_conformance_scipy.py", "test_conformance_torch.py", "test_conv.py", "test_conv_identities.py",
    "test_conv_symbolic.py", "test_conv_transforms.py", "test_conv_transpose.py", "test_empty.py", "test_gated.py",
    "test_gated_symbolic.py", "test_gated_transforms.py", "test_jacobian_gated.py", "test_long_kernels.py",
    "test_lowering.py", "test_modes.py", "test_nonfinite.py", "test_padding_signs.py", "test_receptive.py",
    "test_transforms_table.py", "devices_blocks.py", "devices_conv_explicit.py", "devices_gated.py", "devices_halo.py",
}  # fmt: skip

# The longest pieces, longest first: one begun at the end would leave all workers but one waiting.
LONGEST = (
    "test_check_catalogue.py", "test_conv.py", "test_notebooks.py", "test_many_devices.py", "test_gated.py",
    "test_processes.py", "test_transforms_table.py", "test_sharding.py", "test_lowering.py", "test_check.py",
    "test_check_faces.py", "test_verify.py", "test_gated_transforms.py", "test_conv_transforms.py", "test_rounding.py",
    "test_conv_identities.py", "test_gated_options.py", "test_conformance_lax.py",
)  # fmt: skip
# Files whose tests have no programs in common, so that their functions may go to different workers.
APART = {"test_check_catalogue.py", "test_many_devices.py", "test_notebooks.py", "test_processes.py"}


@pytest.fixture(autouse=True, scope="module")
def _programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled as the module needs it, and let go: of the mappings of compiled programs a process has some 65,000."""
    jax.config.update("jax_disable_most_optimizations", request.path.name in VALUES)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))  # keeps the order within a file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """As ``--dist loadfile``, in the order of the items; files of `APART` go function by function."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return nodeid.split("[")[0] if Path(file).name in APART else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


# Each drawn geometry is compiled, so few are drawn by default; `pytest --hypothesis-profile thorough` draws many.
settings.register_profile("quick", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("quick")
