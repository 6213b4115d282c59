"""What is asked of a choice: rules first, then the least time; estimates of any call are positive, and grow with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import FEW, by_id, integers
from jaxconv import conv, conv_input_vjp, conv_weight_vjp
from jaxconv.algorithms import choose, cost
from jaxconv.algorithms.problem import Problem
from jaxconv.algorithms.reference import MAPS
from jaxconv.sizes.geometry import Geometry

pytestmark = pytest.mark.unoptimised


@st.composite
def problems(draw):
    """Of any sizes, from a handful of numbers to layers far larger than any that was measured."""
    axes = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes)))  # noqa: E731
    k = each(1, 40)
    n = tuple(size + draw(st.integers(0, 300)) for size in k)
    layout = draw(st.sampled_from(["channels_first", "channels_last"]))
    groups = draw(st.sampled_from([1, 1, 2, 64, 4096]))
    geometry = Geometry.of("conv", n, k, stride=each(1, 9), groups=groups, layout=layout)
    counts = draw(st.integers(1, 5000)), draw(st.integers(1, 5000)), draw(st.integers(1, 512))
    dtype = draw(st.sampled_from(["float32", "float64", "bfloat16", "float16", "complex64"]))
    return Problem(draw(st.sampled_from(MAPS)), geometry, *counts, dtype)


@given(problems())
def test_any_call_is_served_by_the_least_estimate(problem):
    times = choose.estimates(problem)
    assert all(np.isfinite(time) and time > 0 for time in times.values())
    name = choose.choose(problem)
    assert times[name] == min(times.values())
    assert choose.unsupported(name, problem) is None


@given(problems(), st.integers(2, 9))
def test_more_images_are_never_estimated_to_take_less(problem, times):
    fewer, more = cost.seconds(problem), cost.seconds(problem._replace(batch=times * problem.batch))
    assert all(more[name] >= 0.999 * fewer[name] for name in fewer)


@pytest.mark.parametrize("which", MAPS)
def test_rules_come_before_estimates(which):
    """Over several devices a loop would gather, and a long kernel in blocks compile for minutes."""
    short = Problem(which, Geometry.of("conv", (64,), (3,)), 4, 4, 2)
    long = Problem(which, Geometry.of("conv", (2000,), (400,)), 4, 4, 2)
    assert choose.choose(short._replace(partitioned=True)) == "blocks"
    assert choose.choose(long._replace(partitioned=True)) == "canonical"
    assert choose.choose(long) in ("canonical", "direct")


def test_a_mapped_weight_gradient_is_one_product():
    problem = Problem("conv_weight_vjp", Geometry.of("conv", (64,), (3,), groups=8), 4, 4, 2, mapped=True)
    assert choose.choose(problem) == "gemm"


def test_what_an_estimate_is_made_of_decides(monkeypatch):
    """An algorithm that costs nothing serves, where it can."""
    problem = Problem("conv", Geometry.of("conv", (9, 9), (3, 3), layout="channels_last"), 4, 4)
    free = {"planes": 0.0, "gemm": 1e-9, "canonical": 1e-3}  # planes have three axes
    monkeypatch.setattr(cost, "seconds", lambda _: free)
    assert choose.choose(problem) == "gemm"


@pytest.mark.short(*(f"(canonical|direct|taps|patches).*-{case.id}$" for case in FEW[:3]))
@pytest.mark.parametrize("case", **by_id(FEW))
@pytest.mark.parametrize("name", sorted(set(choose.ALGORITHMS) - {"reference", "onednn", "blocks"}))
def test_every_algorithm_by_its_name(name, case):
    """What can serve gives lax's numbers; what cannot says so in an error; its derivatives are there in any case."""
    x, w, g = integers(0, case.x_shape, case.w_shape, case.y_shape)
    if 0 in (x.size, w.size):
        return
    options = case.options
    windows = {key: value for key, value in options.items() if key != "padding_mode"}
    sizes = {"conv_input_vjp": {"input_size": case.input_size}, "conv_weight_vjp": {"kernel_size": case.kernel_size}}
    for function, operands in ((conv, (x, w)), (conv_input_vjp, (g, w)), (conv_weight_vjp, (x, g))):
        given = {**(options if function is conv else windows), **sizes.get(function.__name__, {})}
        try:
            made = function(*operands, **given, lowering=name)
        except ValueError as error:
            assert "that can serve this call" in str(error), name  # noqa: PT017
            continue
        np.testing.assert_array_equal(made, function(*operands, **given, lowering="reference"))


def test_derivatives_of_a_value_whose_algorithm_has_no_other_map():
    """`patches` makes no dx of windows that overlap, nor y; `planes` no map of two axes."""
    x, w = integers(0, (2, 8, 8, 3), (2, 2, 3, 4))
    options = {"stride": 2, "layout": "channels_last"}

    def gradients(lowering):
        return jax.grad(lambda x, w: (conv(x, w, **options, lowering=lowering) ** 2).sum(), (0, 1))(x, w)

    for made, right in zip(gradients("patches"), gradients("reference"), strict=True):
        np.testing.assert_array_equal(made, right)


def test_an_empty_batch_and_one_device_need_no_estimate():
    assert conv(jnp.ones((0, 2, 5)), jnp.ones((3, 2, 2))).shape == (0, 3, 4)
