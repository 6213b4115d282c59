"""`check_vjp`: the order of the checks.

First in float64, where a wrong formula stands out by ten orders of magnitude (algebra); then in the function's own
dtype, against the same exact answer (rounding).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.arguments import integer, wrong_kind, wrong_value
from jaxconv.check import transforms as under
from jaxconv.check import truth as of
from jaxconv.check.call import Call, program, pull, stamped, take_apart, value_and_pull
from jaxconv.check.interpret import narrowest
from jaxconv.check.judge import Found, compare, row, wide
from jaxconv.check.protocol import attempt, gradient_faults
from jaxconv.check.report import TransformRow, VjpReport, VjpRow
from jaxconv.rounding import C, unit_roundoff

NAME = "check_vjp"


def check_vjp(
    f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    directions: int = 8,
    seed: int = 0,
    transforms: bool = True,
) -> VjpReport:
    """Is the custom gradient of f right at `args`, and if not, where and in what way?

        ⟨rule(g), v⟩ = ⟨g, f'(x) v⟩        for every cotangent g and direction v

    Element by element, under the error model of `jaxconv.rounding`, whose scale is measured: the spread of the right
    answer when every intermediate result is disturbed by u. First in float64, which tells a wrong formula from
    rounding, then in the dtype of `args`.

    Args:
        f: any function with a custom rule: pytrees in, pytrees out.
        args: its arguments. Arrays of floats are differentiated; integers, strings, functions, None and, beside an
            array, Python floats are passed through.
        reference: the same function without the rule. Without it the right answer is JAX's derivative of f with the
            rule left out, confirmed by differences of f's float64 values, or those differences alone.
        directions: how many random cotangents (and directions) are tried.
        seed: of what is drawn.
        transforms: whether to try the rule under jit, vmap, remat, scan, sharding and grad of grad too.

    Returns:
        A `VjpReport`: ``.passed``, ``.rows``, ``.raise_if_failed()``, ``.plot()``, and a text.

    Raises:
        TypeError: f or `reference` is no function, no argument can be differentiated, or a number is none.
        ValueError: fewer than one direction, or a negative seed.

    Source: Ridders, Accurate computation of F'(x), Adv. Eng. Softw. 4 (1982), eq. 3, for the differences; Parker, Monte
    Carlo arithmetic, UCLA CSD-970002 (1997), section 4, for the measured spread.

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
    if reference is not None and not callable(reference):
        wrong_kind(NAME, "`reference` must be a function or None", f"reference={reference!r}")
    call, xs, data, paths = take_apart(NAME, f, args)
    if not xs:
        wrong_kind(NAME, "`args` must hold an array of floats", f"{len(args)} arguments without any")
    if any(isinstance(x, jax.core.Tracer) for x in (*xs, *data)):
        wrong_value(NAME, "`args` must be concrete: call it outside jit, vmap and grad", "traced values")
    check = _Check(call, xs, data, paths, reference, directions, seed)
    rows, table = check.run(bool(transforms))
    return VjpReport(call.name, rows, table, tuple(check.faults), time.perf_counter() - start)


class _Check:
    """One run; what it finds beside the rows it adds to `faults`."""

    def __init__(self, call: Call, xs: Any, data: Any, paths: list[str], reference: Any, directions: int, seed: int):
        self.call, self.xs, self.data, self.paths = call, xs, data, paths
        self.directions, self.random = directions, np.random.default_rng(seed)
        self.reference = reference and replace(
            take_apart(NAME, reference, ())[0], treedef=call.treedef, kinds=call.kinds
        )
        self.faults: list[str] = []
        self.draws = 16 if of.size_of(xs) < of.LARGE else 4

    def run(self, transforms: bool) -> tuple[tuple[VjpRow, ...], tuple[TransformRow, ...]]:
        out, fault = attempt("the function", self.call.outputs, self.xs, self.data)
        if out is not None and not out:
            fault = "the function returns no array of floats: nothing to differentiate"
        if fault:
            return self._no_gradient(fault), ()
        self.cotangents = [[self._draw(v) for v in out] for _ in range(self.directions)]
        g = self.cotangents[0]
        with np.errstate(all="ignore"):
            plain, fault = attempt("the rule", value_and_pull, self.call, self.xs, self.data, g)
        if fault:
            return self._no_gradient(fault), ()
        self.call = (
            attempt("", stamped, self.call, self.xs, self.data, g)[0] or self.call
        )  # it may need concrete values
        if self.reference:
            call, _ = attempt("", stamped, self.reference, self.xs, self.data, g)
            self.reference = call or self.reference
        self.faults += gradient_faults(self.paths, self.xs, plain[1])
        if self.faults:
            return self._no_gradient(self.faults.pop()), ()
        self._twice(plain)
        grads, fault = attempt(
            "the rule under jit", lambda: [pull(self.call, self.xs, self.data, g)[1] for g in self.cotangents]
        )
        if fault:  # it may need concrete values
            grads = [value_and_pull(self.call, self.xs, self.data, g)[1] for g in self.cotangents]
        rows, spread = self._rows(grads)
        if not transforms:
            return rows, ()
        scene = under.Scene(self.call, self.xs, self.data, g, plain[1], spread)
        return rows, under.table(scene, 4 * C)

    def _draw(self, like: Any) -> Any:
        return jnp.asarray(of.direction(np.asarray(wide(like)), self.random)).astype(like.dtype)

    def _no_gradient(self, fault: str) -> tuple[VjpRow, ...]:
        self.faults.append(fault)
        return tuple(
            VjpRow(
                p,
                tuple(x.shape),
                str(x.dtype),
                False,
                "no gradient to compare",
                units=np.inf,
                size=x.size,
                wrong=x.size,
            )
            for p, x in zip(self.paths, self.xs, strict=True)
        )

    def _twice(self, plain: Any) -> None:
        """The same call once more must give the same, but for what a parallel sum may round."""
        again, fault = attempt("the second call", value_and_pull, self.call, self.xs, self.data, self.cotangents[0])
        if fault:
            self.faults.append(fault)
            return
        for what, first, second in zip(("value", "gradient"), plain, again, strict=True):
            for a, b in zip(first, second, strict=True):
                a, b = wide(a), wide(b)
                size = np.abs(a[np.isfinite(a)]).max(initial=0.0)
                u = unit_roundoff(of.own_dtype(self.xs))
                if not np.allclose(a, b, rtol=0, atol=1e4 * u * size, equal_nan=True):
                    self.faults.append(f"not deterministic: two calls with the same arguments give another {what}")
                    return

    # ------------------------------------------------------------------------------------------------ the comparison

    def _rows(self, grads: list[list[Any]]) -> tuple[tuple[VjpRow, ...], list[np.ndarray]]:
        with jax.enable_x64(True):
            xs, gs = of.widened(self.xs), [of.widened(g) for g in self.cotangents]
            runs, refused = attempt("the rule in float64", lambda: [pull(self.call, xs, self.data, g) for g in gs])
            if runs and any(v.dtype not in (jnp.float64, jnp.complex128) for v in runs[0][0]):
                refused, runs = "the function returns less than float64 for float64", None
            truth = self._truth(xs, gs, bool(refused))
            if truth is not None:
                rule = None if refused else [[wide(v) for v in each[1]] for each in runs]
                narrow = None if refused else self._narrowest(xs, gs[0])
                return self._judge(truth, rule, narrow, xs, gs, grads, runs[0][0] if runs else None)
        return self._without_float64(grads, refused or ""), [np.zeros(x.shape) for x in self.xs]

    def _narrowest(self, xs: Any, g: Any) -> Any:
        found, _ = attempt("", lambda: narrowest(program(self.call, xs, self.data, g).jaxpr))
        return found or jnp.dtype(jnp.float64)

    def _truth(self, xs: Any, gs: Any, refused: bool) -> of.Truth | None:
        if self.reference:
            method = "JAX's derivative of the reference, in float64"
            truth, fault = attempt("the reference", of.by_jax, self.reference, xs, self.data, gs, method)
            if truth and not all(np.shape(a) == np.shape(g) for a, g in zip(truth.values, gs[0], strict=True)):
                self.faults.append("the reference returns other shapes than the function")
                return None
            if fault:
                self.faults.append(fault)
            return truth
        if refused:
            return None
        return of.without_reference(self.call, xs, self.data, gs, self.random, self.directions)

    def _judge(
        self, truth: of.Truth, rule: Any, narrow: Any, xs: Any, gs: Any, grads: Any, values: Any
    ) -> tuple[tuple[VjpRow, ...], list[np.ndarray]]:
        own = of.spreads(self.call, xs, self.data, gs, max(self.draws // 2, 4)) if rule else None
        right = of.spreads(truth.call, xs, self.data, gs, self.draws) if truth.call else None
        zeros = [np.zeros(x.shape) for x in self.xs]
        ruled, exact = (own or (0, zeros))[1], (right or own or (0, zeros))[1]
        if values is not None and truth.values is not None and self.reference:
            self._values(values, truth.values, (right or own or (zeros,))[0])
        rows = []
        for i, (path, x) in enumerate(zip(self.paths, self.xs, strict=True)):
            both = np.hypot(exact[i], ruled[i])
            found = self._algebra(truth, rule, narrow, i, both, xs, gs)
            if isinstance(found, VjpRow):
                rows.append(found)
                continue
            others = {p: wide(truth.grads[0][k]) for k, p in enumerate(self.paths) if k != i} if truth.grads else {}
            if found is not None and found.worst > C:
                others = {p: truth.grads[self.worst_at][k] for k, p in enumerate(self.paths) if k != i}  # type: ignore[index]
                rows.append(row(path, x, found, "algebra", truth.method, others))
                continue
            answers = truth.grads or rule
            apart = self._measured(truth, answers, i, x)
            # A rule may round more than JAX's derivative does, but not without bound.
            limit = 16 * float(np.sqrt(np.mean((exact[i] + np.abs(answers[0][i])) ** 2))) if x.size else 0.0
            spread = np.maximum(exact[i], np.minimum(ruled[i], limit))
            each = [compare(grads[c][i], answers[c][i], spread, x.dtype, apart) for c in range(len(grads))]
            method = truth.method if rule else truth.method + "; the rule in its own dtype: it refuses float64"
            rows.append(
                row(path, x, max(each, key=lambda e: e.worst), "rounding" if rule else "algebra", method, others)
            )
        return tuple(rows), [np.maximum(a, b) for a, b in zip(exact, ruled, strict=True)]

    def _algebra(
        self, truth: of.Truth, rule: Any, narrow: Any, i: int, spread: np.ndarray, xs: Any, gs: Any
    ) -> Found | VjpRow | None:
        """The rule in float64 beside the right answer; None where it refuses float64."""
        if rule is None:
            return None
        if truth.grads is None:
            return self._by_directions(truth, rule, i, xs, gs)
        x = self.xs[i]
        dtypes = [min((d for d in (narrow, x.dtype) if d), key=unit_roundoff), truth.dtype]
        dtype = max(dtypes, key=unit_roundoff) if narrow != jnp.float64 else truth.dtype
        each = [
            compare(rule[c][i], truth.grads[c][i], spread, dtype, 10 * truth.apart[c][i] if truth.apart else 0.0)
            for c in range(len(gs))
        ]
        self.worst_at = max(range(len(each)), key=lambda c: each[c].worst)
        return each[self.worst_at]

    def _by_directions(self, truth: of.Truth, rule: Any, i: int, xs: Any, gs: Any) -> VjpRow | None:
        """A row where values along some direction disagree."""
        wrong = of.along_directions(self.call, xs, self.data, i, gs[0], rule[0][i], self.random, self.directions)
        if not wrong:
            return None
        x, (k, got, right) = self.xs[i], max(wrong, key=lambda w: abs(w[1] - w[2]))
        index = tuple(int(v) for v in np.unravel_index(k, x.shape))
        name = f"one element: {list(index)}" if len(wrong) == 1 and np.isfinite(got) else None
        verdict = "the gradient is wrong" + (f": {name}" if name else ", as directions that halve show")
        return VjpRow(
            self.paths[i], tuple(x.shape), str(x.dtype), False, verdict, units=np.inf, index=index, got=got,
            expected=right, difference=got - right, wrong=len(wrong), size=x.size, pattern=name, cause="algebra",
            method=truth.method, got_array=rule[0][i],
        )  # fmt: skip

    def _measured(self, truth: of.Truth, answers: Any, i: int, x: Any) -> np.ndarray | float:
        """What JAX's own derivative is off by in the same dtype: its root mean square, and at each element."""
        if truth.call is None:
            return 0.0
        largest: np.ndarray | float = 0.0
        for g, right in zip(self.cotangents, answers, strict=True):
            with jax.enable_x64(x.dtype in (jnp.float64, jnp.complex128)):
                run, fault = attempt("", pull, truth.call, self.xs, self.data, g)
            if fault:
                return largest
            with np.errstate(all="ignore"):
                off = np.abs(wide(run[1][i]) - right[i])
            finite = np.where(np.isfinite(off), off, 0.0)
            largest = np.maximum(largest, np.maximum(finite, np.sqrt(np.mean(finite**2)) if finite.size else 0.0))
        return largest

    def _values(self, got: Any, right: Any, spread: Any) -> None:
        for k, (a, b, s) in enumerate(zip(got, right, spread, strict=True)):
            dtype = of.own_dtype(self.xs)
            found = compare(a, b, s, dtype)
            if found.worst > C:
                at = tuple(int(i) for i in np.unravel_index(int(np.argmax(found.units)), found.units.shape))
                where = f" of output {k}" if len(got) > 1 else ""
                what = f"{found.got[at]:.8g} for {found.right[at]:.8g} at {list(at)}{where}"
                self.faults.append(f"the value differs from the reference's: {what}")

    def _without_float64(self, grads: list[list[Any]], why: str) -> tuple[VjpRow, ...]:
        """Everything in the function's own dtype."""
        call = self.reference or replace(self.call, bare=True)
        name = "the reference" if self.reference else "the function without its rule"
        method = f"JAX's derivative of {name}, in the function's own dtype: {why or 'it refuses float64'}"
        truth, fault = attempt("JAX's derivative", of.by_jax, call, self.xs, self.data, self.cotangents, method)
        if fault:
            return self._no_gradient(f"nothing to compare with: {fault}")
        dtype = of.own_dtype(self.xs)
        spread = of.spreads_of_inputs(call, self.xs, self.data, self.cotangents, 8, dtype)[1]
        rows = []
        for i, (path, x) in enumerate(zip(self.paths, self.xs, strict=True)):
            scale = 4 * (spread[i] + np.sqrt(np.mean(np.abs(truth.grads[0][i]) ** 2)) if x.size else spread[i])
            each = [compare(g[i], t[i], scale, x.dtype) for g, t in zip(grads, truth.grads, strict=True)]
            worst = max(each, key=lambda e: e.worst)
            rows.append(row(path, x, worst, "algebra" if worst.worst > 1e3 else "rounding", method, {}))
        return tuple(rows)
