"""What `check_vjp` returns: plain data, and a text that says what is wrong and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxconv.accuracy.error_model import C
from jaxconv.terminal.output import legible


@dataclass(frozen=True)
class VjpRow:
    """What was found of the gradient with respect to one input.

        units = max_i |got_i − expected_i| / scale_i ≤ limit

    Attributes:
        input: which input, as a path: ``args[0]['w']``.
        shape: of the input and of its gradient.
        dtype: of the input.
        passed: whether every element is right.
        verdict: one sentence.
        units: the largest distance from what is right, in units of the error model (`jaxconv.accuracy.error_model`).
        limit: the largest distance that is right, C.
        index: of the worst element; None where there is no element or no gradient to compare.
        got: what the rule gave there.
        expected: what is right there.
        difference: got − expected.
        ulp: the same in units in the last place of `dtype`.
        wrong: how many elements are outside.
        size: how many there are.
        pattern: in what way they are wrong, in words: "all by one factor: 1.0001".
        cause: "algebra", "rounding" or None.
        rerun: how that was told: what the rule gives at full precision.
        method: how the right answer was found.
        got_array: the whole gradient, for pictures; None where there is none.
        expected_array: the right one; where it was found along directions only, None.
        units_array: the distance of every element.
        refused: whether nothing could be judged; then `passed` is False, without anything wrong having been found.

    >>> VjpRow("args[0]", (2,), "float32", True, "right", 0.2).units
    0.2
    """

    input: str
    shape: tuple[int, ...]
    dtype: str
    passed: bool
    verdict: str
    units: float = 0.0
    limit: float = C
    index: tuple[int, ...] | None = None
    got: Any = None
    expected: Any = None
    difference: Any = None
    ulp: float | None = None
    wrong: int = 0
    size: int = 0
    pattern: str | None = None
    cause: str | None = None
    rerun: str = ""
    method: str = ""
    got_array: np.ndarray | None = field(default=None, repr=False, compare=False)
    expected_array: np.ndarray | None = field(default=None, repr=False, compare=False)
    units_array: np.ndarray | None = field(default=None, repr=False, compare=False)
    refused: bool = False

    @classmethod
    def of(cls, path: str, x: Any, passed: bool, verdict: str, **found: Any) -> VjpRow:
        """The row of one input.

        Args:
            path: where it stands among the arguments.
            x: the input, for its shape and dtype.
            passed: whether its gradient is right.
            verdict: the same in words.
            **found: other attributes.

        Returns:
            The row, with the shape, dtype and size of the input.

        Raises:
            TypeError: `found` names no attribute.

        Source: the attributes above.

        >>> VjpRow.of("x", np.zeros((2, 3)), True, "right").size
        6
        """
        return cls(path, tuple(x.shape), str(x.dtype), passed, verdict, size=x.size, **found)


@dataclass(frozen=True)
class TransformRow:
    """Whether the rule gives the same under one transform.

    Attributes:
        name: of the transform: "jit", "vmap", "grad of grad".
        passed: true also where the transform cannot apply; `detail` then says why.
        detail: one sentence.
    """

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class VjpReport:
    """What `check_vjp` found.

        passed  ⇔  every row is right, every transform agrees, no fault

    Attributes:
        name: of the function.
        rows: one `VjpRow` per differentiable input, in the order of the arguments.
        transforms: one row per transform: name, passed, detail.
        faults: what else is wrong, one sentence each: a structure, a dtype, a value, a leak.
        seconds: how long the check took.

    >>> VjpReport("f", (VjpRow("args[0]", (2,), "float32", True, "right", 0.2),)).passed
    True
    """

    name: str
    rows: tuple[VjpRow, ...]
    transforms: tuple[TransformRow, ...] = ()
    faults: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        rows: tuple[VjpRow | TransformRow, ...] = (*self.rows, *self.transforms)
        return not self.faults and all(row.passed for row in rows)

    @property
    def outcome(self) -> str:
        """In a word: "right", "WRONG" or, where nothing wrong was found but not all could be judged, "NOT JUDGED"."""
        rows: tuple[VjpRow | TransformRow, ...] = (*self.rows, *self.transforms)
        wrong = self.faults or not all(row.passed or getattr(row, "refused", False) for row in rows)
        return "WRONG" if wrong else "right" if self.passed else "NOT JUDGED"

    def raise_if_failed(self) -> VjpReport:
        """Raise AssertionError with the whole report as its text unless `passed`.

        Returns:
            The report itself, where it passed.
        """
        __tracebackhide__ = True
        if not self.passed:
            raise AssertionError(str(self))
        return self

    def plot(self) -> Any:
        """Got, expected and distance of every input as heat maps; needs matplotlib.

        Returns:
            A matplotlib Figure.
        """
        from jaxconv.check.faces.picture import plot

        return plot(self)

    def _repr_html_(self) -> str:
        from jaxconv.check.faces.page import html

        return html(self)

    def __str__(self) -> str:
        return legible("\n".join(_lines(self)))

    __repr__ = __str__


def number(value: Any) -> str:
    """A value as people read it: eight digits say more than seventeen."""
    if value is None:
        return "none"
    if isinstance(value, (complex, np.complexfloating)):
        return f"{value.real:.8g}{value.imag:+.8g}j"
    return f"{float(value):.8g}"


def place(row: VjpRow) -> str:
    """The worst element of a row with its index: ``args[0]['w'][2, 1]``."""
    inside = "" if not row.index else f"[{', '.join(map(str, row.index))}]"
    return f"{row.input}{inside}"


def cause(row: VjpRow) -> str:
    """Algebra or rounding, and how that was told: "rounding: agrees at precision highest"."""
    return ": ".join(filter(None, (row.cause, row.rerun)))


def mark(row: VjpRow) -> str:
    """ok, WRONG, or a question mark where nothing could be judged."""
    return "ok" if row.passed else "?" if row.refused else "WRONG"


def cells(row: VjpRow) -> dict[str, str]:
    """What a table shows of a row: column → text."""
    known = row.expected is not None
    return {
        "": mark(row),
        "input": f"{row.input} {row.dtype}{list(row.shape)}",
        "verdict": row.verdict,
        "pattern": "; ".join(filter(None, (row.pattern, cause(row)))),
        "worst at": place(row) if known else "",
        "got": number(row.got) if known else "",
        "right": number(row.expected) if known else "",
        "ulp": "" if row.ulp is None else f"{row.ulp:.3g}",
        "units": f"{row.units:.3g} (≤ {row.limit:g})",
        "wrong": "" if row.passed or row.refused else f"{row.wrong:,} of {row.size:,}",
        "compared with": row.method,
    }


def _lines(report: VjpReport) -> Iterator[str]:
    yield f"check_vjp of {report.name}: {report.outcome} ({report.seconds:.2f} s)"
    for fault in report.faults:
        yield f"  FAULT  {fault}"
    for row in report.rows:
        yield from _row_lines(row)
    for each in report.transforms:
        detail = f": {each.detail}" if each.detail else ""
        yield f"  {'ok   ' if each.passed else 'WRONG'}  under {each.name}{detail}"


def _row_lines(row: VjpRow) -> Iterator[str]:
    yield f"  {mark(row):<5}  {row.input} {row.dtype}{list(row.shape)}: {row.verdict}"
    if row.passed or row.refused:
        return
    if row.pattern:
        yield f"           pattern    {row.pattern}"
    if row.expected is not None:
        ulp = "" if row.ulp is None else f", {row.ulp:.3g} ulp"
        yield f"           worst      {place(row)}: got {number(row.got)}, right is {number(row.expected)}"
        units = f"{row.units:.3g} units of the error model (right: ≤ {row.limit:g})"
        yield f"           distance   {number(row.difference)}{ulp}, {units}"
        yield f"           wrong      {row.wrong:,} of {row.size:,} elements"
    if row.cause:
        yield f"           cause      {cause(row)}"
    if row.method:
        yield f"           compared   with {row.method}"
