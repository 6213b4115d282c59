"""The package's own float64 oracle of the recurrence against the one of this suite, written apart."""

import numpy as np
import pytest

import gated_oracles as mine
from gated_cases import BY_ID, CASES, WEIGHTS
from gated_judge import expected, judge
from jaxconv.accuracy import oracle


def arguments(case, seed=0):
    """The inputs of one case as (params, x, h0), and its cotangents."""
    a, direction, g_last, y_bar = case.draw(np.float64, seed)
    h0 = a.get("h0", np.zeros(g_last.shape))
    return (tuple(map(a.get, WEIGHTS)), a["x"], h0), direction, g_last, y_bar


def by_name(weights, dx, dh0, names):
    every = {**dict(zip(WEIGHTS, weights, strict=True)), "x": dx, "h0": dh0}
    return {name: every[name] for name in names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_states(case):
    inputs, *_ = arguments(case)
    run = oracle.gated_scan(*inputs)
    judge(case, {"h_last": run.h[-1], "h": run.h[1:]}, *expected(case, np.float64, "states"), np.float64)
    assert run.c.shape == run.v.shape == (case.time, *case.batch, case.m)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_gradients(case):
    inputs, _, g_last, y_bar = arguments(case)
    weights, dx, dh0 = oracle.gated_vjp(*inputs, y_bar, g_last)
    exact, spread = expected(case, np.float64, "gradient")
    assert [each is None for each in weights] == [name in case.absent for name in WEIGHTS]
    judge(case, by_name(weights, dx, dh0, exact), exact, spread, np.float64)


def test_gradient_through_the_stack_alone():
    case = BY_ID["two-batch-axes"]
    inputs, _, _, y_bar = arguments(case)
    exact, spread = expected(case, np.float64, "gradient", "stack")
    judge(case, by_name(*oracle.gated_vjp(*inputs, y_bar), exact), exact, spread, np.float64)


def test_complex_step_passes_through():
    """Im gated_vjp(inputs + iε d) / ε is the Hessian times d."""
    case = BY_ID["two-batch-axes"]
    (params, x, h0), d, g_last, y_bar = arguments(case)
    step = 1j * mine.EPSILON
    tilted = tuple(p + step * d[name] for p, name in zip(params, WEIGHTS, strict=True))
    weights, dx, dh0 = oracle.gated_vjp(tilted, x + step * d["x"], h0 + step * d["h0"], y_bar, g_last)
    exact, spread = expected(case, np.float64, "curvature")
    found = {name: value.imag / mine.EPSILON for name, value in by_name(weights, dx, dh0, exact).items()}
    judge(case, found, exact, spread, np.float64)


def test_gates_far_out():
    """A pre-activation of ±1000 is a gate of 0 or 1, without an overflow."""
    params = (np.array([[1000.0], [-1000.0]]), None, np.ones((2, 1)), None, None)
    run = oracle.gated_scan(params, np.ones((1, 1)), np.full(2, 5.0))
    np.testing.assert_array_equal(run.c[0], [1, 0])
    np.testing.assert_array_equal(run.h[1], [5, 1])
