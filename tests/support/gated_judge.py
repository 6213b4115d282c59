"""The recurrence of a case as the tests ask for it, and the judge of what comes: the error model about the oracle."""

from contextlib import nullcontext
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import gated_oracles as oracle
from gated_cases import WEIGHTS
from jaxconv import GatedParams, gated_scan
from jaxconv.accuracy import error_model

COTANGENTS = {"both": (1, 1), "last": (1, 0), "stack": (0, 1)}  # which of the two outputs the loss reads


def x64(dtype):
    return jax.enable_x64(True) if jnp.dtype(dtype) == np.float64 else nullcontext()


def cast(tree, dtype):
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), tree)


def scan(case, a, derivative="hand"):
    """`gated_scan` of the arrays in `a`."""
    params = GatedParams(*map(a.get, WEIGHTS))
    h_last, h = gated_scan(
        params,
        jnp.moveaxis(a["x"], 0, case.time_axis) if case.time_axis else a["x"],
        a.get("h0"),
        lengths=case.run["lengths"],
        reverse=case.reverse,
        time_axis=case.time_axis,
        unroll=case.unroll,
        residuals=case.residuals,
        derivative=derivative,
    )
    return h_last, jnp.moveaxis(h, case.time_axis, 0)


def losses(case, g_last, y_bar, derivative="hand"):
    """The losses that read both outputs, h_last alone and the stack alone, by name."""

    def loss(cotangents):
        def of(a):
            h_last, h = scan(case, a, derivative)
            on_last, on_stack = COTANGENTS[cotangents]
            return (jnp.vdot(h_last, g_last) if on_last else 0) + (jnp.vdot(h, y_bar) if on_stack else 0)

        return of

    return {cotangents: loss(cotangents) for cotangents in COTANGENTS}


@cache
def expected(case, dtype, quantity, cotangents="both", seed=0):
    """(exact, spread) of "states", "gradient" or "curvature", as dicts by name."""
    a, direction, g_last, y_bar = case.draw(dtype, seed)
    on_last, on_stack = COTANGENTS[cotangents]
    g_last, y_bar = on_last * g_last, on_stack * y_bar

    def f(rounded):
        if quantity == "states":
            return dict(zip(("h_last", "h"), oracle.forward(a, rounded, **case.run), strict=True))
        if quantity == "gradient":
            return oracle.adjoint(a, g_last, y_bar, rounded, **case.run)
        return oracle.curvature(a, direction, g_last, y_bar, rounded, **case.run)

    exact = f(oracle.same)
    spread = error_model.spread(lambda rounded: tuple(f(rounded).values()), dtype)
    return exact, dict(zip(exact, spread, strict=True))


def judge(case, computed, exact, spread, dtype):
    """Every element of every named array lies within the error model; returns the largest distance."""
    worst = 0.0
    assert computed.keys() == exact.keys()
    for name, value in computed.items():
        assert value.dtype == jnp.dtype(dtype), name
        assert value.shape == exact[name].shape, name
        found = error_model.measured_units(value, exact[name], spread[name], case.sums()[name], dtype)
        largest = found.max(initial=0.0)
        assert largest <= error_model.C, (
            f"{name}: {largest:.3g} units at {np.unravel_index(found.argmax(), found.shape)}"
        )
        worst = max(worst, largest)
    return worst
