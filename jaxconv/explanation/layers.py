"""Every convolution of a JAX function: what it is, what it costs, what it sees, and which algorithm serves it."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxconv.algorithms.choose import choose
from jaxconv.explanation.found import Found, convolutions, names
from jaxconv.lax.route import seconds_of
from jaxconv.sizes.arguments import wrong_kind
from jaxconv.sizes.geometry import Geometry
from jaxconv.sizes.receptive import ReceptiveField
from jaxconv.sizes.table import field_words, shape_words, table, window_words
from jaxconv.terminal.output import legible


class LayerRow(NamedTuple):
    """One convolution of a program.

    Attributes:
        name: the name stack at which it was traced.
        which: the map that it is, "conv", "conv_input_vjp" or "conv_weight_vjp"; "lax" where no map expresses it.
        geometry: of the convolution that the map belongs to; None where no map expresses it.
        shapes: of lhs, rhs and result, as they lie in the program.
        dtype: of the result.
        times: how often it runs in one call; None where the data decide.
        multiply_adds: of one run, products of two numbers that are no padding; complex ones count as one.
        multiply_adds_with_padding: with those that meet padding.
        bytes: of both operands and the result, each once.
        receptive_field: which of the function's inputs each position of the result reads, per axis; None where the
            program is no chain up to here.
        algorithm: that serves it on a CPU here; "lax", where none does.
        seconds: that it is estimated to take; None where nothing is estimated.
        why: why no map expresses it; "" where one does.
    """

    name: str
    which: str
    geometry: Geometry | None
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    times: int | None
    multiply_adds: int
    multiply_adds_with_padding: int
    bytes: int
    receptive_field: ReceptiveField | None
    algorithm: str
    seconds: float | None
    why: str


HEADINGS = ("", "map", "windows", "shapes", "times", "multiply-adds", "bytes", "reads", "algorithm", "ms")
RIGHT = frozenset(("times", "multiply-adds", "bytes", "ms"))


@dataclass(frozen=True)
class LayerReport:
    """What `layers` finds: a table in a terminal and in a notebook.

        total multiply-adds = Σ over the rows of times · multiply_adds

    Attributes:
        rows: one `LayerRow` for each convolution, in the order of the program.

    >>> LayerReport(()).multiply_adds
    0
    """

    rows: tuple[LayerRow, ...]

    @property
    def multiply_adds(self) -> int:
        """Of one call; what a loop of unknown length repeats counts once."""
        return sum(row.multiply_adds * (1 if row.times is None else row.times) for row in self.rows)

    def __str__(self) -> str:
        lines = table(HEADINGS, [_cells(row) for row in self.rows], RIGHT)
        return legible("\n".join([*lines, self._total()]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(each)}</th>" for each in HEADINGS)
        rows = "".join(f"<tr>{''.join(_html(*each) for each in zip(HEADINGS, _cells(row), strict=True))}</tr>"
                       for row in self.rows)  # fmt: skip
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{html.escape(self._total())}</p>"

    def _total(self) -> str:
        count = len(self.rows)
        return f"{count} convolution{'s' * (count != 1)}, {self.multiply_adds:,} multiply-adds in one call"


def layers(f: Callable[..., Any], *args: Any) -> LayerReport:
    """Every convolution in any JAX function: those inside calls, scans, branches, remat and custom rules, too.

        multiply_adds = b · o · (i/groups) · ∏ #{(j, q) : σ·j + δ·q − lo = λ·p for an index p of lhs}

    The function is traced, not run. If it is a gradient, the convolutions of both gradients are there. Of a scan the
    rows say how often they run; all branches of a `lax.cond` are listed.

    Args:
        f: the function.
        args: its arguments, arrays or `jax.ShapeDtypeStruct`, or trees of them.

    Returns:
        LayerReport: ``str()`` is a table, a notebook shows it as one, ``.rows`` has one `LayerRow` for each
        convolution. Receptive fields go from the function's inputs through convolutions, pooling, padding and what
        treats each number by itself; statistics of a normalisation are left out, and so are fields of gradients.

    Raises:
        TypeError: `f` cannot be called.
        Whatever `f` raises while it is traced.

    Source: `jaxconv.lax.read` for the maps, Araujo, Norris and Sim 2019 for the receptive fields.

    >>> import jax
    >>> x, w = jax.ShapeDtypeStruct((1, 5, 2), "float32"), jax.ShapeDtypeStruct((3, 2, 1), "float32")
    >>> numbers = ("NHC", "HIO", "NHC")
    >>> report = layers(lambda x, w: jax.lax.conv_general_dilated(x, w, (2,), "VALID", dimension_numbers=numbers), x, w)
    >>> [(row.which, row.multiply_adds, row.receptive_field.stride) for row in report.rows]
    [('conv', 12, (2,))]
    """
    if not callable(f):
        wrong_kind("layers", "`f` must be callable", f"f of type {type(f).__name__}")
    found = convolutions(f, *args)
    return LayerReport(tuple(map(_row, found, names(found))))


def _row(found: Found, name: str) -> LayerRow:
    problem, reading = found.problem, found.reading
    algorithm = "lax" if problem is None else choose(problem)
    read = not isinstance(reading, str)
    return LayerRow(
        name=name,
        which=reading.which if not isinstance(reading, str) else "lax",
        geometry=reading.geometry if not isinstance(reading, str) else None,
        shapes=(found.call.lhs_shape, found.call.rhs_shape, found.call.out_shape),
        dtype=found.dtype[1],
        times=found.times,
        multiply_adds=found.multiply_adds,
        multiply_adds_with_padding=found.multiply_adds_with_padding,
        bytes=found.bytes,
        receptive_field=found.field.field if found.field is not None else None,
        algorithm=algorithm,
        seconds=None if problem is None else seconds_of(problem, algorithm),
        why="" if read else str(reading),
    )


def _cells(row: LayerRow) -> tuple[str, ...]:
    lhs, rhs, out = map(shape_words, row.shapes)
    g = row.geometry
    return (
        row.name,
        row.which,
        row.why if g is None else window_words(g.kernel_size, g.stride, g.padding, g.dilation, g.groups),
        f"{lhs}, {rhs} → {out}",
        "?" if row.times is None else str(row.times),
        f"{row.multiply_adds:,}",
        f"{row.bytes:,}",
        field_words(row.receptive_field),
        row.algorithm,
        "" if row.seconds is None else f"{1e3 * row.seconds:.3g}",
    )


def _html(heading: str, cell: str) -> str:
    side = "right" if heading in RIGHT else "left"
    return f'<td style="text-align: {side}">{html.escape(cell)}</td>'
