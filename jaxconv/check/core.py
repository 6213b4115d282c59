"""`check_vjp`: the order of the checks.

First the protocol: structure, shapes, dtypes, the same twice. Then each gradient (`rows`): in float64,
where a wrong formula stands out by ten orders of magnitude (algebra), and in its own dtype (rounding). Then JAX's
transforms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import C, unit_roundoff
from jaxconv.accuracy.oracle import to_double
from jaxconv.check import ground_truth
from jaxconv.check import transforms as under
from jaxconv.check.call import Fixed, Subject, take_apart
from jaxconv.check.faces.report import TransformRow, VjpReport, VjpRow
from jaxconv.check.programs.room import make_room
from jaxconv.check.protocol import attempt, gradient_faults
from jaxconv.check.rows import Rows
from jaxconv.check.runs import after_another, pull, shapes, stamped, value_and_pull, with_laps
from jaxconv.sizes.arguments import integer, wrong_kind, wrong_value
from jaxconv.terminal.once import printed_once
from jaxconv.terminal.progress import Tell, shown, step

NAME = "check_vjp"


def check_vjp(
    f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    directions: int = 8,
    seed: int = 0,
    transforms: bool = True,
    allow: float | None = None,
    progress: bool | Tell | None = None,
) -> VjpReport:
    """Is the custom gradient of f right at `args`, and if not, where and in what way?

        ⟨rule(g), v⟩ = ⟨g, f'(x) v⟩        for every cotangent g and direction v

    Element by element, under the error model of `jaxconv.accuracy.error_model`, whose scale is measured: the spread of
    the right answer when every intermediate result is disturbed by u. First in float64, which tells a wrong formula
    from rounding, then in the dtype of `args`; what disagrees there alone is tried at precision "highest", too.

    Args:
        f: any function with a custom rule: pytrees in, pytrees out.
        args: its arguments. Arrays of floats are differentiated; integers, strings, functions, None and, beside an
            array, Python floats are passed through.
        reference: the same function without the rule. Without it the right answer is JAX's derivative of f with the
            rule left out, confirmed by differences of f's float64 values, or those differences alone.
        directions: how many random cotangents (and directions) are tried.
        seed: of what is drawn.
        transforms: whether to try the rule under jit, vmap, remat, scan, sharding and grad of grad too.
        allow: by how many ulp of the input's dtype an approximate gradient may be off; None: the error model alone.
        progress: whether to show on stderr how far a long check has come, or a function that is told (steps done, of
            how many about, what comes next). None: where stderr is a terminal.

    Returns:
        A `VjpReport`: ``.passed``, ``.rows``, ``.raise_if_failed()``, ``.plot()``, and a text.

    Raises:
        TypeError: f or `reference` is no function, no argument can be differentiated, or a number is none.
        ValueError: fewer than one direction, or a negative seed.

    Source: Ridders, Accurate computation of F'(x), Adv. Eng. Softw. 4 (1982), eq. 3, for the differences; Parker, Monte
    Carlo arithmetic, UCLA CSD-970002 (1997), section 4, for the measured spread.

    >>> import jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, g: (3 * x * g,))
    >>> report = check_vjp(square, jnp.array([1.0, -2.0, 3.0]))
    >>> report.passed, report.rows[0].pattern
    (False, 'all by one factor: 1.5')
    """
    start = time.perf_counter()
    directions = integer(NAME, "directions", directions, least=1)
    seed = integer(NAME, "seed", seed, least=0)
    if not isinstance(transforms, (bool, np.bool_)):
        wrong_kind(NAME, "`transforms` must be True or False", f"transforms={transforms!r}")
    if progress is not None and not isinstance(progress, (bool, np.bool_)) and not callable(progress):
        wrong_kind(NAME, "`progress` must be True, False, None or a function", f"progress={progress!r}")
    if allow is not None and not (isinstance(allow, (int, float, np.number)) and allow >= 0):
        wrong_value(NAME, "`allow` must be a number of ulp, at least 0, or None", f"allow={allow!r}")
    if reference is not None and not callable(reference):
        wrong_kind(NAME, "`reference` must be a function or None", f"reference={reference!r}")
    with jax.transfer_guard("allow"):
        call, xs, data, paths = take_apart(NAME, f, args)
    if not xs:
        wrong_kind(NAME, "`args` must hold an array of floats", f"{len(args)} arguments without any")
    if any(isinstance(x, jax.core.Tracer) for x in (*xs, *data)):
        wrong_value(NAME, "`args` must be concrete: call it outside jit, vmap and grad", "traced values")
    check = _Check(call, xs, data, paths, reference, directions, seed, allow)
    # What overflows or is no number is judged, and said in the report. The checker itself takes arrays from device to
    # host and back, whatever f may do in a program of its own.
    quiet = jax.transfer_guard("allow"), np.errstate(all="ignore")
    with printed_once(), quiet[0], quiet[1], shown(call.name, check.steps(bool(transforms)), progress):
        rows, table = check.run(bool(transforms))
    return VjpReport(call.name, rows, table, tuple(check.faults), time.perf_counter() - start)


class _Check:
    """One run; what it finds beside the rows it adds to `faults`."""

    def __init__(
        self,
        call: Subject,
        xs: Any,
        data: Any,
        paths: list[str],
        reference: Any,
        directions: int,
        seed: int,
        allow: float | None,
    ):
        self.allow = allow
        self.call, self.xs, self.data, self.paths = call, xs, data, paths
        self.directions, self.random = directions, np.random.default_rng(seed)
        self.reference = reference and replace(call, f=Fixed(reference))
        self.faults: list[str] = []
        self.draws = 16 if ground_truth.size_of(xs) < ground_truth.LARGE else 4

    def steps(self, transforms: bool) -> int:
        """About how many there are, each about as long as one pull-back."""
        return 2 + 4 * self.directions + self.draws + max(self.draws // 2, 4) + 6 * transforms

    def run(self, transforms: bool) -> tuple[tuple[VjpRow, ...], tuple[TransformRow, ...]]:
        step("the function and its rule")
        make_room()
        out, fault = attempt("the function", shapes, self.call, self.xs, self.data)
        if out is not None and not out:
            fault = "the function returns no array of floats: nothing to differentiate"
        if fault:
            return self._no_gradient(fault), ()
        draw = lambda like: jax.device_put(ground_truth.direction(like, self.random).astype(like.dtype))  # noqa: E731
        self.cotangents = [[draw(v) for v in out] for _ in range(self.directions)]
        g = self.cotangents[0]
        self.call, self.reference = (
            each and (attempt("", stamped, each, self.xs, self.data, g)[0] or each)  # it may need concrete values
            for each in (self.call, self.reference)
        )
        plain, fault = attempt("the rule", self._first, g)
        if not fault and any(np.isnan(to_double(v)).any() for v in plain[0]):
            # Of an output that is no number nothing is asked.
            self.cotangents = [numbers_alone(each, plain[0]) for each in self.cotangents]
            g = self.cotangents[0]
            plain, fault = attempt("the rule", self._first, g)
        if fault:
            return self._no_gradient(fault), ()
        self.call, self.reference = (
            each and (attempt("", with_laps, each, self.xs, self.data, g)[0] or each)
            for each in (self.call, self.reference)
        )
        self.faults += gradient_faults(self.paths, self.xs, plain[1])
        if self.faults:
            return self._no_gradient(self.faults.pop()), ()
        self._twice(plain)
        given = self.call, self.reference, self.xs, self.data, self.paths, self.cotangents, self.draws, self.random
        found = Rows(*given, self.faults, self.allow)
        rows = found.made()
        if not transforms:
            return rows, ()
        scene = under.Scene(self.call, self.xs, self.data, g, plain[1], found.spread, found.length)
        return rows, under.table(scene, 4 * C)

    def _no_gradient(self, fault: str) -> tuple[VjpRow, ...]:
        self.faults.append(fault)
        verdict = "no gradient to compare"
        each = zip(self.paths, self.xs, strict=True)
        return tuple(VjpRow.of(path, x, False, verdict, units=np.inf, wrong=x.size) for path, x in each)

    def _first(self, g: list[Any]) -> tuple[list[Any], list[Any]]:
        """Values and gradients as a user gets them; those of a big program as it was traced."""
        return (pull if self.call.big else value_and_pull)(self.call, self.xs, self.data, g)

    def _twice(self, plain: Any) -> None:
        """The same call once more must give the same, and so must a pull-back after another call.

        Of a big program, whose first call was traced, the second alone is made: the other where that differs.
        """
        later, fault = attempt("", after_another, self.call, self.xs, self.data, self.cotangents[0])
        if fault and self.call.laps and "leaks a residual" in fault:
            self.faults.append(fault)
            return
        differs = later is not None and not self._same(plain[1], later)
        if self.call.big and not differs:
            return
        again, fault = attempt("the second call", value_and_pull, self.call, self.xs, self.data, self.cotangents[0])
        if fault:
            self.faults.append(fault)
            return
        for what, first, second in zip(("value", "gradient"), plain, again, strict=True):
            if not self._same(first, second):
                self.faults.append(f"not deterministic: two calls with the same arguments give another {what}")
                return
        if differs:
            words = "the rule leaks a residual: its gradient changes if the function is called again in between"
            self.faults.append(f"{words}, so that it uses what was kept outside the forward pass")

    def _same(self, first: list[Any], second: list[Any]) -> bool:
        """But for what a parallel sum may round."""
        u = unit_roundoff(ground_truth.own_dtype(self.xs))
        for a, b in zip(map(to_double, first), map(to_double, second), strict=True):
            size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
            if not np.allclose(a, b, rtol=0, atol=1e4 * u * size, equal_nan=True):
                return False
        return True


def numbers_alone(cotangents: Any, values: Any) -> list[Any]:
    """The cotangents, 0 where the value is NaN."""
    return [jnp.where(jnp.isnan(v), jnp.zeros_like(g), g) for g, v in zip(cotangents, values, strict=True)]
