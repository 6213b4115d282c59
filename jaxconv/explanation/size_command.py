"""`jaxconv size` of a JAX function."""

from __future__ import annotations

from jaxconv.explanation.layers import layers
from jaxconv.terminal.named import BadCall, arguments, found, look_here, said
from jaxconv.terminal.output import Legible, complain, shown


def size_of_function(name: str, args: str | None) -> int:
    """Print the layers of the function `name`; returns the exit status: 0, or 2 for a bad call."""
    look_here()
    try:
        f = found("function", name)
        given = () if args is None else arguments(args)
        try:
            text = str(layers(f, *given))
        except (Exception, SystemExit) as error:
            of = "no arguments; give --args MODULE:MAKE" if args is None else f"the arguments of {args}"
            raise BadCall(f"{name} could not be traced with {of}: {said(error)}") from error
    except BadCall as error:
        complain(f"jaxconv size: {error}")
        return 2
    return shown("jaxconv size", 0, lambda: Legible().write(f"{text}\n"))
