"""`check_vjp` on the catalogue of rules: every wrong one is rejected, small and large; no right one is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import check_vjp
from jaxconv.check.call import Fixed
from rules_catalogue import RIGHT, WRONG

LARGE_ALWAYS = ("scaled_by_1_0001", "one_element")  # what a tolerance that grows with the array lets through

# One of each way to be wrong or to look it.
SOME_WRONG = (
    "scaled_by_1_0001", "one_element", "kernel_not_flipped", "bf16_inside", "zero", "conj_missing", "stale_residual",
    "chain_factor_missing", "wrong_shape",
)  # fmt: skip
SOME_RIGHT = ("nn_relu", "nn_silu_f16", "largest", "tiny_scale", "complex_modulus", "cancelling")


def report_of(rule, against, seed=0):
    reference = rule.reference if against else None
    return check_vjp(rule.f, *rule.args, reference=reference, seed=seed, transforms=False)


def words(report):
    """All that names a pattern: patterns, causes and faults."""
    said = [each for row in report.rows if not row.passed for each in (row.pattern, row.cause, row.verdict) if each]
    return " ".join([*said, *report.faults]).lower()


BOTH_WAYS = (True, False)


def reports(rule, ways=BOTH_WAYS):
    """With a reference and without one: of one rule, so that what both need is compiled once."""
    return [report_of(rule, against) for against in ways]


def assert_found(name, large, ways=BOTH_WAYS):
    """In all ways; the first report."""
    case = WRONG[name]
    found = reports(case.make(large, np.random.default_rng(0)), ways)
    for report, against in zip(found, ways, strict=True):
        assert not report.passed, f"{name} was taken for right, {'with a reference' if against else 'alone'}"
    return case, found[0]


@pytest.mark.short(*(f"^{name}$" for name in SOME_WRONG))
@pytest.mark.parametrize("name", WRONG)
def test_small_wrong_rules_are_rejected_and_named(name):
    case, report = assert_found(name, False)
    if case.named:
        assert any(word.lower() in words(report) for word in case.named), str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_ALWAYS)
def test_large_wrong_rules_are_rejected(name):
    assert_found(name, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WRONG if name not in LARGE_ALWAYS])
def test_every_large_wrong_rule_is_rejected(name):
    """Without a reference, the harder way: with one it is told by the same comparison as a small rule."""
    assert_found(name, True, ways=(False,))


@pytest.mark.short(*(f"^{name}$" for name in SOME_RIGHT))
@pytest.mark.parametrize("name", RIGHT)
def test_right_rules_pass(name):
    for report in reports(RIGHT[name](np.random.default_rng(0))):
        report.raise_if_failed()


def test_the_catalogue_is_large_enough():
    assert len(WRONG) >= 25
    assert sum(bool(case.named) for case in WRONG.values()) >= 30
    assert len(RIGHT) >= 25


@pytest.mark.slow
def test_what_has_changed_since_is_checked_anew():
    """Compilations are kept between calls, but not those of another rule or another constant."""

    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    weight = jnp.asarray(2.0)
    x = jnp.linspace(0.0, 1.0, 5)

    def within(x):
        return weight * f(x)

    for rule, passed in ((jnp.sin, False), (jnp.cos, True)):
        f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g, rule=rule: (g * rule(x),))
        for each in (f, within):
            assert check_vjp(each, x, transforms=False).passed == passed
    assert Fixed(partial(f, 1, k=2)) == Fixed(partial(f, 1, k=2)) != Fixed(partial(f, 1, k=3))
    weight = jnp.asarray(3.0)
    assert check_vjp(within, x, reference=lambda x: 3 * jnp.sin(x), transforms=False).passed


def test_a_function_that_has_changed_under_its_rule_is_checked_anew():
    factor = 1.0

    @jax.custom_vjp
    def f(x):
        return factor * jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    x = jnp.linspace(0.0, 1.0, 5)
    assert check_vjp(f, x, transforms=False).passed
    factor = 2.0
    report = check_vjp(f, x, transforms=False)
    assert not report.passed
    assert "the forward rule returns another value" in report.faults[0]
