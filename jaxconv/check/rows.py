"""The rows of a report: every gradient judged in float64, then in its own dtype; and told: algebra or rounding.

What is in float64 runs at precision "highest", whatever is in force: a wrong formula shows there, nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import C, unit_roundoff
from jaxconv.check import ground_truth
from jaxconv.check.call import LINEAR, Subject
from jaxconv.check.compare import (
    Found,
    approximated,
    by_directions,
    coarse,
    compare,
    doubles,
    in_ulp,
    measured,
    named,
    row,
    rule_itself,
    worst_of,
)
from jaxconv.check.counterfactuals import as_if
from jaxconv.check.faces.report import VjpRow
from jaxconv.check.ground_truth import to_x64
from jaxconv.check.nonsmooth import forgiven
from jaxconv.check.programs.interpret import narrowest
from jaxconv.check.programs.noise import longest
from jaxconv.check.protocol import attempt
from jaxconv.check.runs import Values, grads_of, outputs, program, pulled, with_roundoff
from jaxconv.check.spread import LIMIT, of_constants, spreads_of_inputs, steady, typical

FULL = ("highest", "float32", "F32_F32_F32")  # precisions at which a product rounds no factor
DOUBLE = (jnp.float64, jnp.complex128)


def in_force() -> Any:
    """The precision of products where none is asked for."""
    return getattr(jax.config, "jax_default_matmul_precision", None)


@dataclass
class Exact:
    """What is known in float64.

    Attributes:
        truth: the right answer.  rule: the rule's own gradients, None where it refuses float64.
        exact, ruled: spread of JAX's derivative and of the rule's, per unit of u.
        narrow: the coarsest dtype that the rule passes through.
    """

    truth: ground_truth.Truth
    rule: list[list[np.ndarray]] | None
    exact: list[np.ndarray]
    ruled: list[np.ndarray]
    narrow: Any


@dataclass
class Rows:
    """One check's inputs, and the rows they end in; what is found beside goes to `faults`."""

    call: Subject
    reference: Subject | None
    xs: list[Any]
    data: list[Any]
    paths: list[str]
    cotangents: list[list[Any]]
    draws: int
    random: np.random.Generator
    faults: list[str]
    allow: float | None = None
    spread: list[np.ndarray] = field(default_factory=list)
    length: int = 1
    own: Any = None
    _jax_grads: dict[Any, Any] = field(default_factory=dict)
    nonsmooth: dict[int, np.ndarray] = field(default_factory=dict)

    def made(self) -> tuple[VjpRow, ...]:
        """The rows; `spread` then holds what rounding may cost each gradient, per unit of u."""
        self.spread, self.length = [np.zeros(x.shape) for x in self.xs], self._length()
        self.own = grads_of(pulled(self.call, self.xs, self.data, self.cotangents, "the rule"))
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            self.xs64, self.gs64 = to_x64(self.xs), [to_x64(g) for g in self.cotangents]
            known, refused = self._known()
            first = [None if known is None else self._algebra(known, i) for i in range(len(self.xs))]
        if known is None:
            return self._without_float64(refused)
        self.spread = [np.maximum(a, b) for a, b in zip(known.exact, known.ruled, strict=True)]
        return tuple(found or self._rounding(known, i) for i, found in enumerate(first))

    # ------------------------------------------------------------------------------------------------- in float64

    def _known(self) -> tuple[Exact | None, str]:
        xs, gs = self.xs64, self.gs64
        self.call = attempt("", with_roundoff, self.call, xs, self.data)[0] or self.call
        runs, refused = attempt("the rule in float64", pulled, self.call, xs, self.data, gs, "the rule in float64")
        less = bool(runs) and any(v.dtype not in DOUBLE for v in runs[0][0])
        if less:
            refused, runs = "the function returns less than float64 for float64", None
        truth = self._truth(bool(refused), less)
        if truth is None:
            return None, refused or ""
        truth = ground_truth.where_f_is(truth, self.call, xs, self.data)
        zeros, rule = [np.zeros(x.shape) for x in self.xs], grads_of(runs) if runs else None
        own = right = narrow = None
        if rule:
            exact = [(runs[0][0], each) for each in rule]
            own = steady(self.call, xs, self.data, gs, exact, max(self.draws // 2, 4))
            narrow = self._narrowest(xs, gs[0])
        if truth.call and truth.grads and truth.values is not None:
            exact = [(truth.values, each) for each in truth.grads]
            right = steady(truth.call, xs, self.data, gs, exact, self.draws)
            if right and not self.reference and not refused:
                truth = ground_truth.at_jumps(truth, right.jumps, self.call, xs, self.data, gs)
        best = right or own
        if runs and own and best:
            self._compare_values(runs[0][0], truth, best.values)
        spread = (best.grads if best else zeros), (own.grads if own else zeros)
        return Exact(truth, rule, *spread, narrow or jnp.dtype("f8")), ""

    def _truth(self, refused: bool, less: bool) -> ground_truth.Truth | None:
        xs, gs = self.xs64, self.gs64
        if self.reference:
            method = "JAX's derivative of the reference, in float64"
            types, _ = attempt("", jax.eval_shape, lambda xs: self.reference.outputs(xs, self.data), list(xs))
            if types is not None and [t.shape for t in types] != [np.shape(g) for g in gs[0]]:
                theirs, ours = ([str(list(np.shape(v))) for v in each] for each in (types, gs[0]))
                returns = f"{', '.join(theirs) or 'nothing'} for {', '.join(ours)}"
                self.faults.append(f"the reference returns other shapes than the function: {returns}")
                return None
            truth, fault = attempt("the reference", ground_truth.by_jax, self.reference, xs, self.data, gs, method)
            if fault:
                self.faults.append(fault)
            return truth
        if less:  # its values have too few digits for differences
            return None
        # Where it is the rule that refuses float64, the function without it may still be had.
        how = (self.random, len(self.cotangents), not refused)
        truth, _ = attempt("", ground_truth.without_reference, self.call, xs, self.data, gs, *how)
        return truth

    def _compare_values(self, forward: Any, truth: ground_truth.Truth, spread: Any) -> None:
        """f's value with that of its forward rule, and with the reference's."""
        plain, fault = attempt("", outputs, self.call, self.xs64, self.data)
        if fault:  # it may need concrete values
            plain, _ = attempt("", self.call.outputs, self.xs64, self.data)
        if plain is not None:
            self._values(forward, plain, spread, "the forward rule returns another value than the function")
        if truth.values is not None and self.reference:
            self._values(plain or forward, truth.values, spread, "the value differs from the reference's")

    def _values(self, got: Any, right: Any, spread: Any, words: str) -> None:
        for k, (a, b, s) in enumerate(zip(got, right, spread, strict=True)):
            found = compare(a, b, s, ground_truth.own_dtype(self.xs), length=self.length)
            if found.worst > C:
                where = f" of output {k}" if len(got) > 1 else ""
                what = f"{found.got[found.at]:.8g} for {found.right[found.at]:.8g} at {list(found.at)}{where}"
                self.faults.append(f"{words}: {what}")

    def _algebra(self, known: Exact, i: int) -> VjpRow | None:
        """The row of an input whose gradient is wrong in float64; None where it is right or not to be had."""
        truth, rule, x = known.truth, known.rule, self.xs[i]
        if rule is None:
            return None
        if truth.grads is None:
            return self._by_directions(truth, rule, i)
        dtypes = [min((known.narrow, x.dtype), key=unit_roundoff), truth.dtype]
        dtype = max(dtypes, key=unit_roundoff) if known.narrow != jnp.float64 else truth.dtype
        spread = np.hypot(known.exact[i], known.ruled[i])

        def beside(dtype: Any, more: Any = 0.0) -> list[Found]:
            unsure = [10 * each[i] + more for each in truth.uncertainty] if truth.uncertainty else [more] * len(rule)
            three = zip(rule, truth.grads or [], unsure, strict=True)
            return [compare(a[i], b[i], spread, dtype, c, self.length) for a, b, c in three]

        each = self._excused(known, i, beside(dtype), beside)
        at = max(range(len(each)), key=lambda c: each[c].worst)
        if each[at].worst <= C:
            return None
        others = {p: truth.grads[at][k] for k, p in enumerate(self.paths) if k != i}
        found = row(self.paths[i], x, each[at], "algebra", truth.method, others)
        if found.pattern is None and truth.call:
            at_g = self.xs64, self.data, self.gs64[at]
            found = named(found, as_if(truth.call, *at_g, i, each[at].got, self.paths, self.large))
        if found.pattern and found.pattern.startswith("rounded") and not coarse(known.narrow, found.pattern):
            found = replace(found, pattern=None, cause="algebra", verdict=found.verdict.partition(": ")[0])
        found = approximated(found, each[at], spread, self.allow)
        if found.cause not in ("algebra", "rounding"):
            return found
        within = lambda narrow: worst_of(beside(narrow)).worst <= C  # noqa: E731
        return rule_itself(found, known.narrow, within, "wrong in float64 at precision highest too")

    def _excused(self, known: Exact, i: int, each: list[Found], beside: Callable[..., list[Found]]) -> list[Found]:
        """Without what is no fault of the rule: elements on a kink, and constants that are rounded themselves."""
        if worst_of(each).worst <= C:
            return each
        xs, gs = self.xs64, self.gs64
        values = Values(self.call, self.data)
        on, _ = attempt("", forgiven, values, doubles(xs), i, [doubles(g) for g in gs], each, self.large)
        if on is not None:
            self.nonsmooth[i] = on
            return [e.but_for(on) for e in each]
        if self.xs[i].dtype not in DOUBLE and worst_of(beside(jnp.float32)).worst <= 10 * C:
            calls = filter(None, (self.call, known.truth.call))
            dev = np.asarray(sum(of_constants(call, xs, self.data, gs, i) for call in calls))
            if np.max(dev, initial=0.0) > 0:
                return beside(known.truth.dtype, 8 * dev)
        return each

    def _by_directions(self, truth: ground_truth.Truth, rule: Any, i: int) -> VjpRow | None:
        """A row where values along some direction disagree."""
        at = self.call, self.xs64, self.data, i, self.gs64[0]
        found = ground_truth.along_directions(*at, rule[0][i], self.random, len(self.cotangents))
        if not found:
            return None
        return by_directions(self.paths[i], self.xs[i], found, rule[0][i], truth.method)

    # ------------------------------------------------------------------------------------------- in its own dtype

    def _rounding(self, known: Exact, i: int) -> VjpRow:
        """The row of an input whose gradient in float64, where there is one, is right."""
        x, truth = self.xs[i], known.truth
        answers = truth.grads or known.rule or []
        others = {p: answers[0][k] for k, p in enumerate(self.paths) if k != i} if truth.grads else {}
        # A rule may round more than JAX's derivative does, but not without bound.
        size = np.abs(answers[0][i]) + known.exact[i]
        limit = LIMIT * typical(size)
        spread = np.maximum(known.exact[i], np.minimum(known.ruled[i], limit))
        kinks = self.nonsmooth.get(i)

        def worst(grads: Any, by_jax: Any) -> Found:
            uncertainty = measured(by_jax, answers, i)
            unsure = [10 * off[i] for off in truth.uncertainty or []] or [0.0] * len(answers)
            three = zip(grads, answers, unsure, strict=True)
            each = [compare(a[i], b[i], spread, x.dtype, uncertainty + c, self.length) for a, b, c in three]
            return worst_of(each if kinks is None else [e.but_for(kinks) for e in each])

        method = truth.method + ("" if known.rule else "; the rule in its own dtype: it refuses float64")
        judged = worst(self.own, self._by_jax(truth.call))
        found = row(self.paths[i], x, judged, "rounding", method, others, True)
        if self.allow and not found.passed and (off := in_ulp(judged, spread, x.dtype)) <= self.allow:
            return replace(found, passed=True, verdict=f"right: {off:.2g} ulp of {x.dtype} off, {self.allow:g} allowed")
        if found.passed or found.refused:
            on = "" if kinks is None else f"; {kinks.sum():,} on a kink, between both derivatives there"
            return replace(found, verdict=found.verdict + on)
        if known.rule:
            found = replace(found, cause="rounding", rerun=f"agrees in float64, not in {x.dtype}")
        if str(in_force()) in FULL:
            return found if known.rule else self._told(found, spread, answers, i)
        with jax.default_matmul_precision("highest"):
            if worst(self._again, self._by_jax(truth.call)).worst <= C:
                return replace(found, cause="rounding", rerun="agrees at precision highest")
        if known.rule:
            return replace(found, rerun=f"{found.rerun}, at precision highest neither")
        return self._told(found, spread, answers, i)

    def _without_float64(self, why: str) -> tuple[VjpRow, ...]:
        """Everything in the function's own dtype."""
        call = self.reference or replace(self.call, bare=LINEAR)
        pull_backs = call, self.xs, self.data, self.cotangents
        with jax.default_matmul_precision("highest"):
            how = self.call, self.reference, *pull_backs[1:], why or "it refuses float64"
            truth, fault = attempt("JAX's derivative", ground_truth.in_own_dtype, *how)
        if fault:
            words = f"cannot be judged: there is nothing to compare with; {fault}"
            each = zip(self.paths, self.xs, strict=True)
            return tuple(VjpRow.of(path, x, False, words, refused=True) for path, x in each)
        spread = spreads_of_inputs(*pull_backs, 8, ground_truth.own_dtype(self.xs))[1]
        rows = []
        for i, (path, x) in enumerate(zip(self.paths, self.xs, strict=True)):
            scale = 4 * (spread[i] + typical(truth.grads[0][i]))
            pairs = list(zip(self.own, truth.grads, strict=True))
            unsure = [10 * off[i] for off in truth.uncertainty or []]
            found = row(path, x, self._worst_of(pairs, i, scale, x.dtype, unsure), "algebra", truth.method, {}, True)
            rows.append(found if found.passed else self._told(found, scale, truth.grads, i))
        return tuple(rows)

    def _told(self, found: VjpRow, spread: np.ndarray, answers: Any, i: int) -> VjpRow:
        """Algebra or rounding, where the rule refuses float64: once more at precision highest, and in float32."""
        x, again = self.xs[i], list(zip(self._again, answers, strict=True))
        there = self._worst_of(again, i, spread, x.dtype)
        if there.worst <= C:
            return replace(found, cause="rounding", rerun="agrees at precision highest")
        found = row(found.input, x, there, "algebra", found.method, {}, True)
        single, _ = attempt("", self._single)
        pairs = list(zip(single or [], answers, strict=False))
        if pairs and self._worst_of(pairs, i, spread, jnp.float32).worst <= C:
            return replace(found, cause="rounding", rerun=f"agrees in float32, not in {x.dtype}")
        with jax.default_matmul_precision("highest"):
            narrow = self._narrowest(self.xs, self.cotangents[0])
        within = lambda narrow: self._worst_of(again, i, spread, narrow).worst <= C  # noqa: E731
        return rule_itself(found, narrow, within, "wrong at precision highest too")

    def _worst_of(self, pairs: Any, i: int, spread: Any, dtype: Any, unsure: Any = None) -> Found:
        each = zip(pairs, unsure or [0.0] * len(pairs), strict=True)
        return worst_of(compare(a[i], b[i], spread, dtype, c, self.length) for (a, b), c in each)

    def _narrowest(self, xs: Any, g: Any) -> Any:
        """The coarsest dtype that the rule passes through; None where that cannot be seen."""
        return attempt("", lambda: narrowest(program(self.call, xs, self.data, g).jaxpr))[0]

    @property
    def large(self) -> bool:
        return ground_truth.size_of(self.xs) >= ground_truth.LARGE

    def _length(self) -> int:
        """L of the longest sum on the way to a gradient."""
        there, _ = attempt("", lambda: longest(program(self.call, self.xs, self.data, self.cotangents[0]).jaxpr))
        return there or 1  # it may need concrete values

    @cached_property
    def _again(self) -> list[list[np.ndarray]]:
        """The rule in its own dtype at full precision."""
        with jax.default_matmul_precision("highest"):
            return grads_of(pulled(self.call, self.xs, self.data, self.cotangents, "the rule at precision highest"))

    def _single(self) -> list[list[np.ndarray]] | None:
        """Half precision's rule in float32; None for others."""
        if unit_roundoff(ground_truth.own_dtype(self.xs)) < 1e-6:
            return None
        up = lambda values: [v.astype(np.promote_types(v.dtype, np.float32)) for v in values]  # noqa: E731
        with jax.default_matmul_precision("highest"):
            cotangents = [up(g) for g in self.cotangents]
            return grads_of(pulled(self.call, up(self.xs), self.data, cotangents, "the rule in float32"))

    def _by_jax(self, call: Subject | None) -> list[Any] | None:
        """JAX's own gradients in the dtype of the inputs, at the precision in force; None where they cannot be had."""
        if call is None:
            return None
        key = in_force()
        if key not in self._jax_grads:
            with jax.enable_x64(any(x.dtype in DOUBLE for x in self.xs)):
                runs, _ = attempt("", pulled, call, self.xs, self.data, self.cotangents, "JAX's derivative")
            self._jax_grads[key] = runs and grads_of(runs)
        return self._jax_grads[key]
