"""Which custom rules a package has."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

import jax

from jaxconv.sizes.arguments import wrong_kind, wrong_value

KINDS = (jax.custom_vjp, jax.custom_jvp)


def custom_rules(package: str) -> dict[str, Any]:
    """Every function of a package that has a rule of its own, `custom_vjp` or `custom_jvp`.

        {"package.module:name": function}

    All modules are imported; one that cannot be is passed over. Functions stand under their shortest name, those in a
    class as ``package.module:Class.name``; a rule made inside a function is not seen before that runs.

    Args:
        package: its name, as it is imported.

    Returns:
        The functions by name, in the order of the names; what `jax.jit` or a decorator wraps counts, too.

    Raises:
        TypeError: `package` is no text.
        ValueError: there is no such package.

    Source: `pkgutil.walk_packages`.

    >>> [name for name in custom_rules("jaxconv") if "examples" in name]
    []
    """
    if not isinstance(package, str):
        wrong_kind("custom_rules", "`package` must be the name of a package", f"package={package!r}")
    found: dict[int, tuple[str, Any]] = {}
    for module in _modules(package):
        for name, value in _members(module):
            rule = rule_of(value)
            if rule is None or not str(getattr(rule, "__module__", "")).startswith(package.partition(".")[0]):
                continue
            name = f"{module.__name__}:{name}"
            best = found.get(id(rule))
            if best is None or _rank(name) < _rank(best[0]):
                found[id(rule)] = name, value
    return dict(sorted(found.values(), key=lambda pair: pair[0]))


def rule_of(value: Any) -> Any:
    """The function with a rule that a value is, or wraps; None where there is none."""
    for _ in range(8):
        if isinstance(value, KINDS):
            return value
        inner = vars(value).get("__wrapped__") if hasattr(value, "__dict__") else None
        value = getattr(value, "__wrapped__", None) if inner is None else inner
        if value is None or isinstance(value, type):
            return None
    return None


def _rank(name: str) -> tuple[bool, int, str]:
    """Public names first, then short ones."""
    private = any(part.startswith("_") for part in name.replace(":", ".").split("."))
    return private, name.count("."), name


def _modules(package: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            top = importlib.import_module(package)
        except ImportError as error:
            wrong_value("custom_rules", "`package` must be one that can be imported", f"{package!r}: {error}")
        yield top
        for each in pkgutil.walk_packages(getattr(top, "__path__", []), f"{package}.", onerror=lambda name: None):
            if each.name.rpartition(".")[2].startswith(("__main__", "test_", "conftest")):
                continue
            try:
                yield importlib.import_module(each.name)
            except (Exception, SystemExit):  # it needs what is not there
                continue


def _members(module: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            for inner, each in list(vars(value).items()):
                yield f"{name}.{inner}", getattr(each, "__func__", each)
        elif callable(value):
            yield name, value
