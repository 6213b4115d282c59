"""One concrete convolution explained: formula, numbers, code, numeric check and picture side by side.

Nothing here is written down a second time: formulas are the docstrings and code the source of
`jaxconv.algorithms.reference`, numbers come from the arrays, checks from `jaxconv.accuracy.oracle` and JAX's own
derivative.
"""

from __future__ import annotations

import ast
import base64
import html
import inspect
import io
import operator
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxconv.accuracy import oracle
from jaxconv.accuracy.error_model import C, flushed_part, units
from jaxconv.algorithms import reference
from jaxconv.convolution.api import conv
from jaxconv.explanation.worked import narrow, worked
from jaxconv.sizes.arguments import is_integer, is_sequence, wrong_kind, wrong_value
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.shapes import split_array, split_kernel
from jaxconv.terminal.output import legible

OPTIONS = ("stride", "padding", "dilation", "groups", "layout")


@dataclass(frozen=True)
class Check:
    """One of y, dx, dw: its largest distance from float64 and from JAX's derivative, in units of the error model."""

    name: str
    units: float
    apart: float

    @property
    def passed(self) -> bool:
        return self.units <= C and self.apart <= 2 * C


@dataclass(frozen=True)
class Explanation:
    """What `explain` has to say: text in a terminal, and with a picture in a notebook.

    The maps it explains are the contractions of one trilinear form,

        T(x, w, g) = Σ_{b,o,p} g[b,o,p] · Σ_{i,q} w[o,i,q] · x[b, i, s·p + d·q − lo]
        y = ∂T/∂g        dx = ∂T/∂x        dw = ∂T/∂w

    Attributes:
        title: the shapes and options.
        formulas: (name, formula, code) of y, dx and dw.
        numbers: lines with the numbers put in.
        checks: one per formula.
        geometry: what the picture is drawn from.
        worked: for each formula an entry with its terms, the call, and the numbers that the code has here.

    >>> explain(Geometry.of("conv", (5,), (3,), stride=2)).checks[0].passed
    True
    """

    title: str
    formulas: tuple[tuple[str, str, str], ...]
    numbers: tuple[str, ...]
    checks: tuple[Check, ...]
    geometry: Geometry
    worked: tuple[tuple[str, ...], ...] = ((), (), ())

    def __str__(self) -> str:
        parts = [self.title, "", *(f"    {line}" for line in self.numbers)]
        for (name, formula, code), numbers, check in zip(self.formulas, self.worked, self.checks, strict=True):
            lines = (formula, *numbers, _verdict(check), "", *code.splitlines())
            parts += ["", name, *(f"    {line}".rstrip() for line in lines)]
        return legible("\n".join(parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        pre = '<pre style="overflow-x: auto; white-space: pre">{}</pre>'.format
        said = lambda *lines: pre(html.escape("\n".join(lines)))  # noqa: E731
        parts = [f"<h4>{html.escape(self.title)}</h4>", said(*self.numbers), self._picture()]
        for (name, formula, code), numbers, check in zip(self.formulas, self.worked, self.checks, strict=True):
            parts.append(f"<p><b>{html.escape(name)}</b></p>{said(formula, *numbers, _verdict(check))}")
            parts.append(f"<details open><summary>code</summary>{said(code)}</details>")
        return '<div style="max-width: 60em">' + "".join(parts) + "</div>"

    def _picture(self) -> str:
        """An image of what each output reads; a sentence where there is nothing to draw it with."""
        if self.geometry.axes > 2:
            return "<p>No picture: more than two spatial axes.</p>"
        try:
            from matplotlib.figure import Figure

            from jaxconv.plot import reads
            from jaxconv.plot.style import ground
        except ImportError as error:
            return f"<p>No picture: {html.escape(str(error))}</p>"
        geometry = narrow(self.geometry)
        figure = Figure(figsize=(8, 4.2), layout="constrained", facecolor=ground())
        try:
            reads(geometry, ax=figure.add_subplot())
        except ValueError as error:  # a kernel that is too wide by itself
            return f"<p>No picture: {html.escape(str(error))}</p>"
        written = io.BytesIO()
        figure.savefig(written, format="png", dpi=90)
        encoded = base64.b64encode(written.getvalue()).decode()
        source = f"data:image/png;base64,{encoded}"
        image = f'<img alt="which inputs each output reads" style="max-width: 100%" src="{source}">'
        smaller = " × ".join(map(str, geometry.input_size))
        return image + (f"<p>The same windows on an input of {smaller}.</p>" if geometry != self.geometry else "")


def explain(call: Any, x: Any = None, w: Any = None, **options: Any) -> Explanation:
    """Explain one concrete convolution: formula, numbers put in, code, numeric check, picture.

        |computed − float64| and |computed − JAX's derivative|, in units of the error model: right is at most C

    The cotangent g = ∂l/∂y of the two gradients is drawn at random, always the same for a shape.

    Args:
        call: the function `conv`, followed by its arguments; or a Geometry, which is filled with random numbers.
        x: (*batch, in, *space), as in `conv`.
        w: (out, in/groups, *kernel).
        **options: stride, padding, dilation, groups, layout, as in `conv`.

    Returns:
        Explanation: str() is text for a terminal; a notebook shows it with a picture.

    Raises:
        TypeError: `call` is neither `conv` nor a Geometry; as `conv`.
        ValueError: an option that changes no window; as `conv`.

    Source: `jaxconv.algorithms.reference` for formula and code, `jaxconv.accuracy.error_model` for the units.

    >>> import jax.numpy as jnp
    >>> explained = explain(conv, jnp.ones((1, 5)), jnp.ones((1, 1, 3)), stride=2)
    >>> print(explained.numbers[0])
    m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 = ⌊(5 + 0 + 0 − 1·(3 − 1) − 1)/2⌋ + 1 = 2
    >>> print(explained.worked[0][0])
    y[0, 1] = Σ w·x = (1)·(1) + (1)·(1) + (1)·(1) = 3
    """
    function = "explain"
    if isinstance(call, Geometry):
        if x is not None or w is not None or options:
            wrong_value(function, "a Geometry must come alone", "further arguments")
        x, w, options = _random(call)
    elif call is not conv:
        wrong_kind(function, "`call` must be the function conv, or a Geometry", f"call={call!r}")
    for name in options:
        if name not in OPTIONS:
            rule = f"options must be those that change a window, {', '.join(OPTIONS)}: leave the others out"
            wrong_value(function, rule, f"{name}={options[name]!r}")
    with jax.transfer_guard("allow"):  # numbers are read off the device one by one
        return _explained(function, x, w, options)


def _explained(function: str, x: Any, w: Any, options: dict[str, Any]) -> Explanation:
    x, w = jax.numpy.asarray(x), jax.numpy.asarray(w)
    y, pull_back = jax.vjp(lambda x, w: conv(x, w, **options), x, w)
    layout = options.get("layout", "channels_first")
    _, _, k = split_kernel(function, "w.shape", w.shape, layout)
    _, _, n = split_array(function, "x.shape", x.shape, len(k), layout)
    geometry = Geometry.of(function, n, k, **options)
    g = jax.numpy.asarray(np.random.default_rng(1).normal(size=y.shape), y.dtype)
    told = ", ".join(f"{name}={_plain(value)!r}" for name, value in options.items())
    dx, dw = pull_back(g)
    maps = {"y": reference.conv, "dx": reference.conv_input_vjp, "dw": reference.conv_weight_vjp}
    return Explanation(
        f"conv of x {x.shape} and w {w.shape}{', ' if told else ''}{told}: y {y.shape}, {y.dtype}",
        tuple((name, *_formula(f)) for name, f in maps.items()),
        tuple(_sizes(geometry)),
        _checks(geometry, (x, w, g), (y, dx, dw), options),
        geometry,
        worked(geometry, maps, {"x": x, "w": w, "g": g, "y": y, "dx": dx, "dw": dw}, told),
    )


# ------------------------------------------------------------------------------------------ what it says


def _plain(option: Any) -> Any:
    """An option that was read, written as a person would: integers of NumPy and of JAX as those of Python."""
    if is_sequence(option):
        entries = [_plain(each) for each in option]
        return tuple(entries) if isinstance(option, tuple) else entries
    return operator.index(option) if is_integer(option) else option


def _formula(f: Callable) -> tuple[str, str]:
    """The first line of the docstring, and the source from where the padding is computed to the end of lax's call.

    Both as they stand in the source: under ``python -OO`` there is no docstring elsewhere.
    """
    source = textwrap.dedent(inspect.getsource(f))
    tree = ast.parse(source)
    (definition,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    (convolution,) = (call for call in calls if ast.unparse(call.func) == "lax.conv_general_dilated")
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "padding")
    lines = source.splitlines()[min(node.lineno for node in named) - 1 : convolution.end_lineno]
    return (ast.get_docstring(definition) or "").splitlines()[0], textwrap.dedent("\n".join(lines))


def _sizes(geometry: Geometry) -> list[str]:
    lines = []
    for (n, k, s, (lo, hi), d), m in zip(geometry.per_axis, geometry.output_size, strict=True):
        lo_, hi_ = (f"({v})" if v < 0 else f"{v}" for v in (lo, hi))
        numbers = f"⌊({n} + {lo_} + {hi_} − {d}·({k} − 1) − 1)/{s}⌋ + 1 = {m}"
        lines.append(f"m = ⌊(n + lo + hi − d(k − 1) − 1)/s⌋ + 1 = {numbers}")
        lines.append(f"output p reads inputs s·p + d·q − lo = {s}·p + {d}·q − {lo_},  q = 0 … {k - 1}")
    return lines


def _verdict(check: Check) -> str:
    said = "agrees" if check.passed else "DISAGREES"
    return (
        f"{check.name} {said}: {check.units:.2f} units from float64 (right: ≤ {C:g}), "
        f"{check.apart:.2f} from JAX's derivative (≤ {2 * C:g})"
    )


# ------------------------------------------------------------------------------------------ the numeric check


def _checks(geometry: Geometry, at: tuple, ours: tuple, options: dict[str, Any]) -> tuple[Check, ...]:
    x, w, g = at
    y, pull_back = jax.vjp(lambda x, w: conv(x, w, **options, derivative="jax", lowering="reference"), x, w)
    theirs = (y, *pull_back(g))
    x_, w_, g_ = map(oracle.to_double, at)
    x_, g_ = (a.reshape(-1, *a.shape[a.ndim - geometry.axes - 1 :]) for a in (x_, g_))
    out, per_group, _ = split_kernel("explain", "w.shape", w.shape, geometry.layout)
    lengths = per_group * geometry.taps, out // geometry.groups * geometry.taps, g_.size // max(out, 1)
    sums: Any = (oracle.conv, (x_, w_)), (oracle.conv_input_vjp, (g_, w_)), (oracle.conv_weight_vjp, (x_, g_))
    checks = []
    for name, (f, factors), length, value, other in zip(("y", "dx", "dw"), sums, lengths, ours, theirs, strict=True):
        exact = f(*factors, geometry).reshape(value.shape)
        squares = f(*(np.abs(a) ** 2 for a in factors), geometry).reshape(value.shape)
        flushed = np.zeros(value.shape)
        for k, factor in enumerate(factors):
            lost = flushed_part(factor, x.dtype)
            if lost.any():
                sizes = [lost if j == k else np.abs(a) for j, a in enumerate(factors)]
                flushed += f(*sizes, geometry).reshape(value.shape)
        beside = exact + oracle.to_double(value) - oracle.to_double(other)
        judged = (units(each, exact, squares, length, x.dtype, flushed) for each in (value, beside))
        checks.append(Check(name, *(float(each.max(initial=0)) for each in judged)))
    return tuple(checks)


def _random(geometry: Geometry) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Arrays of two channels for each group, and the options of the geometry."""
    random, channels = np.random.default_rng(0), 2 * geometry.groups
    n, k = geometry.input_size, geometry.kernel_size
    shapes = ((channels, *n), (channels, 2, *k)) if geometry.channels_first else ((*n, channels), (*k, 2, channels))
    x, w = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    return x, w, {name: getattr(geometry, name) for name in OPTIONS}
