"""Convolution and a gated recurrence for JAX, with hand-written gradients that people can read and check.

Names are imported on first use: ``jaxconv.sizes.arithmetic`` alone needs no jax.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# The one list of public names is the stub beside this file, which type checkers read, too.
_HOME = {
    name: module
    for module, name in re.findall(
        r"^from (\S+) import (\w+) as \2$", Path(__file__).with_suffix(".pyi").read_text("utf-8"), re.MULTILINE
    )
}

__all__ = sorted(_HOME)

try:
    __version__ = version("jaxconv")
except PackageNotFoundError:  # used from a checkout, not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
