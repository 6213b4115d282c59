"""Every wild case judged twice: by `check_vjp` without a reference, and by means that know nothing of it.

    false accept    the judge says wrong, `check_vjp` right
    false reject    the judge says right, `check_vjp` wrong
    refused         `check_vjp` says that it cannot judge, or raises

The judge is the function written once more (`case.truth`): in mpmath, differentiated with 40 digits, or as a closed
form in JAX; or a word, "right" or "wrong", where the rule was judged by reading. The judge compares in float64, to 1e-8
of the largest element: what agrees to less, but to 1e-4, is "approximate", which `check_vjp` may call either.

A rule that is right in float64 "rounds" where its own dtype's gradient is off by more than 32 ulp of what is typical of
it: `check_vjp` may say so, and may not call it wrong for another cause. It "cannot twice" where JAX, asked for the
second derivative, raises an error that is not its word for what it cannot differentiate, and "cannot under remat" where
`jax.checkpoint` of the function raises one: `check_vjp` must say so.
"""

from __future__ import annotations

import sys
import time
import warnings
from importlib import import_module

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

from cases import CASES
from jaxconv import check_vjp

LIMIT = 30.0  # seconds of processor time
ROUNDS = 32  # ulp of the input's dtype
ONCE = (
    "differentiation rule",
    "Reverse-mode differentiation does not work",
    "callbacks",
    "not support",
    "cannot be",
    "can't apply",
    "not differentiable",
    "Linearization failed",
    "not implemented",
    "unexpected tracer",
)


def mp_gradient(f, args, g):
    """The gradients of Σ g f(*args), f elementwise in mpmath, by differences with 40 digits."""
    mpmath.mp.dps = 40
    shape = np.broadcast_shapes(*(np.shape(a) for a in args))
    grads = [np.zeros(shape) for _ in args]
    for k in np.ndindex(shape):
        at = [mpmath.mpf(float(np.broadcast_to(a, shape)[k])) for a in args]
        for i, grad in enumerate(grads):
            order = tuple(int(j == i) for j in range(len(args)))
            grad[k] = float(mpmath.re(mpmath.diff(f, tuple(at), order))) * float(np.broadcast_to(g, shape)[k])
    return [_summed_to(grad, np.shape(a)) for grad, a in zip(grads, args, strict=True)]


def _summed_to(grad, shape):
    extra = grad.ndim - len(shape)
    grad = grad.sum(tuple(range(extra)))
    return grad.sum(tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] > 1), keepdims=True).reshape(shape)


def judged(case, f, args):
    """What the rule is, in one of the words above, and by how much of the largest element it is off."""
    if isinstance(case.truth, str):
        return case.truth, 0.0
    own, back = jax.vjp(f, *args)
    gs = jax.tree.map(lambda v: jnp.cos(1.0 + jnp.arange(v.size, dtype=v.dtype)).reshape(v.shape), own)
    single = back(gs)
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in args]
        g = jax.tree.map(lambda v: jnp.asarray(np.asarray(v, np.float64)), gs)
        got = jax.vjp(f, *wide)[1](g)
        right = mp_gradient(case.truth, wide, g) if case.by == "mpmath" else jax.vjp(case.truth, *wide)[1](g)
    off, rounding = 0.0, 0.0
    for a, b, c in zip(got, right, single, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        known = np.isfinite(b)
        size = np.abs(b[known]).max(initial=0.0) or 1.0
        off = max(off, float(np.nan_to_num(np.abs(a - b)[known], nan=np.inf).max(initial=0.0)) / size)
        unit = float(jnp.finfo(c.dtype).eps) * (np.abs(b) + np.sqrt(np.mean(b[known] ** 2)) if known.any() else 1.0)
        apart = np.abs(np.asarray(c, np.float64) - b) / np.maximum(unit, float(jnp.finfo(c.dtype).tiny))
        rounding = max(rounding, float(np.nan_to_num(apart[known], nan=np.inf).max(initial=0.0)))
    if off > 1e-8:
        return ("approximate" if off <= 1e-4 else "wrong"), off
    if not differentiated_twice(f, args, gs):
        return "cannot twice", off
    try:
        jax.vjp(jax.checkpoint(f), *args)[1](gs)
    except Exception as error:
        if not isinstance(error, NotImplementedError) and not any(word in str(error) for word in ONCE[:-1]):
            return "cannot under remat", off
    return (f"rounds, {rounding:.0f} ulp" if rounding > ROUNDS else "right"), off


def differentiated_twice(f, args, g):
    """Whether JAX finds the second derivative, or says that it cannot for a reason that is no fault of the rule."""

    def first(args, g):
        return sum(jnp.sum(jnp.where(jnp.isfinite(d), d, 0)) for d in jax.vjp(f, *args)[1](g))

    try:
        jax.grad(first, (0, 1))(tuple(args), g)
    except NotImplementedError:
        return True
    except Exception as error:
        return any(word in str(error) for word in ONCE)
    return True


def said(case):
    """(what the judge says, what check_vjp says, false?, seconds, in words)."""
    f, args = case.make()
    expected, off = judged(case, f, args)
    start = time.process_time()
    try:
        report = check_vjp(f, *args, **case.options)
        verdict, words = report.outcome, _worst(report)
        rounding = not report.faults and all(r.passed or r.cause == "rounding" for r in report.rows)
    except Exception as error:  # a refusal, too
        verdict, words, rounding = "refused", f"{type(error).__name__}: {error}", False
    seconds = time.process_time() - start
    verdict = {"WRONG": "wrong", "NOT JUDGED": "refused"}.get(verdict, verdict)
    may = {"right": "right", "wrong": "wrong", "cannot twice": "wrong", "cannot under remat": "wrong"}.get(
        expected, verdict
    )
    if expected.startswith("rounds") and verdict == "wrong" and not rounding:
        may = "right"
    false = ""
    if verdict != "refused" and verdict != may:
        false = "FALSE ACCEPT" if verdict == "right" else "FALSE REJECT"
    return expected, off, verdict, false, seconds, words


def _worst(report):
    bad = [*report.faults, *(f"{r.input}: {r.verdict} ({r.cause})" for r in report.rows if not r.passed)]
    bad += [f"under {t.name}: {t.detail}" for t in report.transforms if not t.passed]
    return bad[0] if bad else report.rows[0].verdict


def main(words):
    for module in ("special", "packages", "more"):
        import_module(module)

    chosen = [c for c in CASES if not words or any(w in c.name for w in words)]
    count = {"functions": 0, "FALSE ACCEPT": 0, "FALSE REJECT": 0, "refused": 0, "over": 0, "broken": 0}
    print(f"| function | judge | off by | check_vjp | | s | in words |\n|{'---|' * 7}")
    for case in chosen:
        try:
            expected, off, verdict, false, seconds, text = said(case)
        except Exception as error:  # the package itself, or the case
            count["broken"] += 1
            print(
                f"| {case.name} | | | cannot be called | | | {type(error).__name__}: {str(error)[:120]!r} |", flush=True
            )
            continue
        count["functions"] += 1
        count["refused"] += verdict == "refused"
        count["over"] += seconds > LIMIT
        if false:
            count[false] += 1
        text = " ".join(text.split()).replace("|", "¦")[:200]
        print(f"| {case.name} | {expected} | {off:.1e} | {verdict} | {false} | {seconds:.1f} | {text} |", flush=True)
    print(f"\njax {jax.__version__}: " + ", ".join(f"{value} {name}" for name, value in count.items()))
    return int(any(count[name] for name in ("FALSE ACCEPT", "FALSE REJECT", "over")))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
