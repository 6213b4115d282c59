"""What a command line names: `package.module:name`, looked for from the current folder, too, as with python -m."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


class BadCall(Exception):
    """What was named on the command line cannot be used; the text says why."""


def look_here() -> None:
    """Modules are found from the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def found(what: str, name: str) -> Any:
    """The callable that ``package.module:attribute`` names."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise BadCall(f"{what} must be written package.module:name; got {name!r}")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise BadCall(f"{what}: there is no module {error.name!r}, here or installed; got {name!r}") from error
        raise BadCall(f"{what}: the module {module_name!r} could not be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise BadCall(f"{what}: the module {module_name!r} could not be imported: {said(error)}") from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            raise BadCall(f"{what}: the module {module_name!r} has no attribute {attribute!r}") from error
        except (Exception, SystemExit) as error:
            raise BadCall(f"{what}: {name!r} could not be had: {said(error)}") from error
    if not callable(value):
        raise BadCall(f"{what}: {name!r} must be callable; got {type(value).__name__}")
    return value


def arguments(name: str) -> tuple:
    """What the function of that name returns: the arguments of another."""
    make = found("--args", name)
    try:
        args = make()
    except (Exception, SystemExit) as error:
        raise BadCall(f"--args: {name}() raised {said(error)}") from error
    if type(args) not in (tuple, list):
        raise BadCall(f"--args: {name}() must return a tuple of the arguments; got {type(args).__name__}")
    return tuple(args)


def said(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
