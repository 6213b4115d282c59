"""What is right: JAX's derivative, in float64, of the reference or of the function without its rule; else differences.

The rule itself is never asked: where it has no number, f's own values say whether there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.accuracy.error_model import unit_roundoff
from jaxconv.check import numeric
from jaxconv.check.call import ALL, LINEAR, Subject
from jaxconv.check.compare import doubles
from jaxconv.check.programs.interpret import narrowest
from jaxconv.check.protocol import attempt
from jaxconv.check.runs import InDouble, Values, grads_of, has_jvp_rules, outputs, program, pull, pull_each, push
from jaxconv.check.spread import typical
from jaxconv.terminal.progress import step

LARGE = 200_000  # elements from which fewer draws are made


class Truth(NamedTuple):
    """grads[c][i] of cotangent c and input i; None with a method where only single directions can be had."""

    grads: list[list[np.ndarray]] | None
    values: list[np.ndarray] | None
    method: str
    call: Subject | None
    uncertainty: list[list[Any]] | None = None
    dtype: Any = np.float64  # the coarsest that it passes through


def to_x64(values: Sequence[Any]) -> list[Any]:
    """As float64 or complex128, inside ``jax.enable_x64(True)``."""
    return [jax.device_put(v) for v in doubles(values)]


def size_of(xs: Sequence[Any]) -> int:
    return sum(int(np.size(x)) for x in xs)


def by_jax(call: Subject, xs: Any, data: Any, cotangents: Any, method: str) -> Truth:
    """JAX's own derivative of `call`, in whatever precision the arguments have."""
    runs = pull_each(pull, call, xs, data, cotangents, "JAX's derivative")
    dtype = narrowest(program(call, xs, data, cotangents[0]).jaxpr)
    return Truth(grads_of(runs), doubles(runs[0][0]), method, call, None, dtype)


def confirmed(call: Subject, bare: Subject, xs: Any, data: Any, random: np.random.Generator, directions: int) -> bool:
    """Whether differences of f's values agree with JAX's derivative of f without its rule, along random directions.

    An element in a hundred is free, for kinks, and one that is no number. What a loop ends at is known less well, and
    so are values that are rounded to float32 on the way.
    """
    at, close = doubles(xs), max(1e-3 if call.laps else 1e-6, 1e4 * call.roundoff)
    for _ in range(directions):
        step("differences of the values")
        vs = [direction(x, random) * numeric.scales(x) for x in at]
        exact = doubles(push(bare, xs, data, [jnp.asarray(v) for v in vs], 0))
        found, error = numeric.directional(Values(call, data), at, vs)
        for a, b, e in zip(exact, found, error, strict=True):
            known = np.isfinite(a) & np.isfinite(b) & np.isfinite(e)
            typical = np.sqrt(np.mean(np.abs(a[known]) ** 2)) if known.any() else 0.0
            bad = known & ~(np.abs(a - b) <= 10 * e + close * (np.abs(a) + typical))
            if bad.mean() > 0.01 if bad.size else False:
                return False
    return True


def direction(x: Any, random: np.random.Generator) -> np.ndarray:
    """Normal numbers of the shape of x, an array or what one looks like; complex where x is."""
    v = random.standard_normal(x.shape)
    return v + 1j * random.standard_normal(x.shape) if np.iscomplexobj(x) else v


def without_reference(
    call: Subject, xs: Any, data: Any, cotangents: Any, random: np.random.Generator, directions: int, differences: bool
) -> Truth | None:
    """The best that can be had: see the module; None where that is differences and they are not wanted.

    JAX's derivative backward, else forward; differences where that is no number, or for all of it.
    """
    bare = replace(call, bare=ALL)
    linear = replace(call, bare=LINEAR) if attempt("", has_jvp_rules, call, xs, data)[0] else bare
    count = 1 if call.big or size_of(xs) >= LARGE else min(directions, 4)
    coarse, _ = attempt("", lambda: narrowest(program(linear, xs, data, cotangents[0]).jaxpr))
    if coarse is not None and unit_roundoff(coarse) > 1e-6:  # its values are steps
        return between(Values(call, data), bare, linear, xs, data, cotangents, coarse)
    sure, _ = attempt("", confirmed, call, bare, xs, data, random, count)
    if not sure and call.roundoff > 1e-12:
        return between(Values(call, data), bare, linear, xs, data, cotangents, coarse or np.dtype(np.float32))
    method = "derivative of the function without its rule, in float64"
    method += f", confirmed by differences of its values along {count} random direction{'s' * (count > 1)}"
    truth = None
    if sure:
        truth, _ = attempt("", by_jax, bare, xs, data, cotangents, f"JAX's {method}")
        if truth is None and len(numeric.basis(doubles(xs))) <= numeric.FULL:
            truth, _ = attempt("", forward, bare, xs, data, cotangents, f"JAX's forward {method}")
    lost = [np.zeros(x.shape, bool) | (truth is None) for x in xs]
    for grads in truth.grads if truth else []:
        lost = [a | ~np.isfinite(g) for a, g in zip(lost, grads, strict=True)]
    if truth and not any(each.any() for each in lost):
        return truth
    return _by_differences(call, xs, data, cotangents, truth, lost, directions) if differences else None


def between(
    f: Values, bare: Subject, linear: Subject, xs: Any, data: Any, cotangents: Any, coarse: Any, where: str = ""
) -> Truth:
    """What is right where values are rounded on the way: JAX's derivative, unconfirmed, and what differences say.

    Where custom_jvp rules inside f and their bodies have one derivative, it is taken; a rule is never what it is
    compared with. Differences count where they are known to a twentieth, or tell the rule from its body. NaN elsewhere.
    """
    at, gs, u = doubles(xs), [doubles(g) for g in cotangents], unit_roundoff(coarse)
    by_body, fault = attempt("JAX's derivative", by_jax, bare, xs, data, cotangents, "")
    by_rule = by_body if linear is bare else attempt("", by_jax, linear, xs, data, cotangents, "")[0]
    if by_body is None and by_rule is None:
        raise ValueError(fault)
    nothing = [[np.full(np.shape(x), np.nan) for x in at] for _ in cotangents]
    bodies, rules = (each.grads if each and each.grads else nothing for each in (by_body, by_rule))
    near = lambda a, b: np.abs(a - b) <= 16 * u * (np.abs(a) + typical(a))  # noqa: E731
    agreed = [list(map(near, *pair)) for pair in zip(bodies, rules, strict=True)]
    wanted = [~np.all(each, axis=0) | (u < 1e-6) for each in zip(*agreed, strict=True)]
    size, found = sum(w.sum() * (1 + np.iscomplexobj(x)) for w, x in zip(wanted, at, strict=True)), None
    if 0 < size <= numeric.FULL:
        how = numeric.rough if u > 1e-6 else numeric.settled
        found, _ = attempt("", numeric.gradient, f, at, gs, wanted, how)
    four = zip(bodies, rules, agreed, *(found or (nothing, nothing)), strict=True)
    each = [[_told(*five) for five in zip(*lists, strict=True)] for lists in four]
    grads, unsure = ([[part[k] for part in row] for row in each] for k in (0, 1))
    pairs = [pair for both in zip(grads, bodies, strict=True) for pair in zip(*both, strict=True)]
    kept = all(((a == b) | np.isnan(a)).all() for a, b in pairs)
    method = "JAX's derivative of the function without its rule" + ("" if kept else " and differences of its values")
    values = (by_body or by_rule).values  # type: ignore[union-attr]
    method += where or f"; it passes through {coarse}"
    return Truth(grads, values, method, bare if kept else None, unsure, coarse)


def in_own_dtype(call: Subject, reference: Subject | None, xs: Any, data: Any, cotangents: Any, why: str) -> Truth:
    """JAX's derivative where there is none in float64, of the reference or of the function without its rule."""
    linear, own, where = replace(call, bare=LINEAR), own_dtype(xs), f", in the function's own dtype: {why}"
    if reference or not attempt("", has_jvp_rules, call, xs, data)[0]:
        name = "the reference" if reference else "the function without its rule"
        return by_jax(reference or linear, xs, data, cotangents, f"JAX's derivative of {name}{where}")
    f = InDouble(replace(call, roundoff=max(unit_roundoff(jnp.float32), unit_roundoff(own))), data)
    return between(f, replace(call, bare=ALL), linear, xs, data, cotangents, own, where)


def _told(
    body: np.ndarray, rule: np.ndarray, agreed: np.ndarray, found: np.ndarray, off: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is right of one gradient, and its error: see `between`."""
    with np.errstate(all="ignore"):
        known = off <= 0.05 * (np.abs(found) + typical(found))
        other = ~agreed & np.isfinite(found) & ~(np.abs(rule - found) <= off)  # the rule is not what f does
        plain = np.where(known, np.abs(body - found) <= 2 * off, agreed | (other & (np.abs(body - found) <= off)))
        by_values = ~plain & (known | other)
        apart = np.where(known & plain, np.abs(body - found), 0.0)
    grad = np.where(plain, body, np.where(by_values, found, np.nan))
    return grad, np.where(by_values, off, apart) / 10  # a bound, and ten times that is allowed


def _by_differences(
    call: Subject, xs: Any, data: Any, cotangents: Any, truth: Truth | None, lost: list[np.ndarray], directions: int
) -> Truth:
    """`truth`, where there is one, with the elements that are `lost` by differences; else all of them by these."""
    at, values = doubles(xs), doubles(outputs(call, xs, data))
    if sum(each.sum() * (1 + np.iscomplexobj(x)) for each, x in zip(lost, at, strict=True)) > numeric.FULL:
        return Truth(None, values, f"differences of its float64 values along {directions} random directions", None)
    found, errors = numeric.gradient(Values(call, data), at, [doubles(g) for g in cotangents], lost)
    if truth is None:
        return Truth(found, values, "differences of its float64 values, extrapolated, element by element", None, errors)
    pick = lambda new, old: [  # noqa: E731
        [np.where(where, a, b) for where, a, b in zip(lost, *each, strict=True)] for each in zip(new, old, strict=True)
    ]
    before = truth.uncertainty or [[np.zeros(x.shape) for x in at] for _ in found]
    method = f"{truth.method}; where that is no number, with differences"
    return truth._replace(grads=pick(found, truth.grads), uncertainty=pick(errors, before), method=method)


def forward(call: Subject, xs: Any, data: Any, cotangents: Any, method: str) -> Truth:
    """JAX's derivative pushed forward, one direction at a time: through a while loop there is no other.

    A loop that runs to a tolerance is known to what one more iteration changes, ten times that, where the next one
    changes less; a loop that counts is not run on. What it converges to is known to 12 digits of what is typical.
    """
    runs = [[[np.zeros(x.shape, np.asarray(x).dtype) for x in xs] for _ in cotangents] for _ in range(3)]
    at = doubles(xs)
    for i, k, unit in numeric.basis(at):
        vs = [np.zeros_like(x) for x in at]
        vs[i].flat[k] = unit
        for beyond, kept in enumerate(runs[: 3 if call.laps else 1]):
            d = doubles(push(call, xs, data, [jnp.asarray(v) for v in vs], beyond))
            for c, g in enumerate(cotangents):
                value = numeric.pairing(doubles(g), d)
                kept[c][i].flat[k] += value if unit == 1 else -1j * value
    known = [[np.zeros(x.shape) for x in xs] for _ in cotangents]
    for c, (first, second, third) in enumerate(zip(*runs, strict=True)):
        for i, (p, q, r) in enumerate(zip(first, second, third, strict=True)):
            known[c][i] += 1e-12 * typical(p) * bool(call.laps)
            off, size = np.abs(q - p).max(initial=0.0), np.abs(p).max(initial=0.0)
            if call.laps and off <= 1e-3 * size and np.abs(r - q).max(initial=0.0) < 0.9 * off:
                known[c][i] += off
    return Truth(runs[0], doubles(outputs(call, xs, data)), method, None, known)


def at_jumps(truth: Truth, jumps: list[np.ndarray], call: Subject, xs: Any, data: Any, cotangents: Any) -> Truth:
    """`truth`, JAX's derivative, where noise leaves a branch: there it may be that of the branch alone.

    It stays where differences agree with it; where these settle on another number, they count; else it is unknown.
    """
    at = doubles(xs)
    if not 0 < sum(each.sum() * (1 + np.iscomplexobj(x)) for each, x in zip(jumps, at, strict=True)) <= numeric.FULL:
        return truth
    found, errors = numeric.gradient(Values(call, data), at, [doubles(g) for g in cotangents], jumps)
    grads, unsure = [], []
    for c, (by_jax, new, off) in enumerate(zip(truth.grads or [], found, errors, strict=True)):
        before = truth.uncertainty[c] if truth.uncertainty else [np.zeros(x.shape) for x in at]
        each = [_agreed(*four) for four in zip(by_jax, new, off, jumps, strict=True)]
        grads.append([grad for grad, _ in each])
        unsure.append([np.where(j, e, b) for j, (_, e), b in zip(jumps, each, before, strict=True)])
    return truth._replace(grads=grads, uncertainty=unsure)


def _agreed(by_jax: np.ndarray, found: np.ndarray, off: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """JAX's derivative, or the differences, or NaN; and the error."""
    size = np.abs(found) + typical(by_jax)
    with np.errstate(all="ignore"):
        same = np.abs(found - by_jax) <= 10 * off + 1e-6 * size
        known = off <= 1e-3 * size
    grad = np.where(where & ~(same & known), np.where(known, found, np.nan), by_jax)
    return grad, np.where(same | ~known, 0.0, off)


def where_f_is(truth: Truth, call: Subject, xs: Any, data: Any) -> Truth:
    """`truth`, NaN for what a NaN among the values depends on, as far as JAX's derivative says so."""
    values = truth.values or []
    bad = [np.isnan(v) for v in values]
    if not truth.grads or not any(each.any() for each in bad):
        return truth
    random = np.random.default_rng(0)
    asked = [jnp.asarray(np.where(b, direction(b, random), 0), v.dtype) for b, v in zip(bad, values, strict=True)]
    run, _ = attempt("", pull, truth.call or replace(call, bare=ALL), xs, data, asked)
    lost = [each != 0 for each in doubles(run[1])] if run else []  # NaN is not 0
    kept = [[np.where(w, np.nan, g) for w, g in zip(lost, grads, strict=False)] or grads for grads in truth.grads]
    return truth._replace(grads=kept)


def along_directions(
    call: Subject, xs: Any, data: Any, i: int, g: Any, grad: np.ndarray, random: np.random.Generator, directions: int
) -> list[tuple[int, float, float]]:
    """The wrong elements of one gradient, told from values alone; empty where every direction agrees."""
    at, g = doubles(xs), doubles(g)
    for _ in range(directions):
        v = direction(at[i], random) * numeric.scales(at[i])
        vs = [v if k == i else np.zeros_like(x) for k, x in enumerate(at)]
        d, off = numeric.directional(Values(call, data), at, vs)
        got, right = numeric.pairing([grad], [v]), numeric.pairing(g, d)
        if np.isnan(got) or abs(got - right) > numeric.tolerance(g, d, off, grad, v):
            return numeric.bisect(Values(call, data), at, i, g, grad, v) or [(0, np.nan, np.nan)]
    return []


def own_dtype(xs: Sequence[Any]) -> Any:
    """The coarsest dtype among the inputs."""
    return max((x.dtype for x in xs), key=lambda dtype: float(jnp.finfo(dtype).eps))
